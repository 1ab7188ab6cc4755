"""What the source scan says about readers is what mypy's types say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from src.infra.configuring.readers import READ_BY_NAME, scan, shapes
from src.infra.configuring.schema import all_names, find, schema

CONFIG = "[mypy]\npython_version = 3.11\nplugins = pydantic.mypy, {plugin}\nignore_missing_imports = True\n"


@pytest.mark.long
def test_the_scan_agrees_with_mypy(root: Path, tmp_path: Path) -> None:
    config, record = tmp_path / "mypy.ini", tmp_path / "record"
    config.write_text(CONFIG.format(plugin=Path(__file__).with_name("mypy_readers.py")))
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), "-p", "src"]
    done = subprocess.run(command, cwd=root, env=os.environ | {"READERS_RECORD": str(record)}, capture_output=True, text=True, check=False, timeout=280)
    assert record.is_file(), done.stdout + done.stderr
    sections = {type(spec_section).__name__: section for section, spec_section in _sections().items()}
    seen: dict[str, set[str]] = defaultdict(set)
    properties: dict[str, set[str]] = defaultdict(set)  # mypy sees who reads a property; the scan counts that as reading the property's keys
    for line in set(record.read_text().splitlines()):
        path, _, name = line.partition(" ")
        owner, _, key = name.partition(".")
        module = Path(path).resolve().relative_to(root / "src").with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        if owner in sections and module not in shapes():
            section = sections[owner]
            (seen[f"{section}.{key}"] if find(f"{section}.{key}") else properties[section]).add(f"src.{module}")
    found = {name: {reader.module for reader in readers} for name, readers in scan(root / "src").items()}
    for name in all_names():
        more = found.get(name, set()) - seen[name] - {f"src.{READ_BY_NAME.get(name)}"}
        assert seen[name] <= found.get(name, set()), name
        assert more <= properties[name.partition(".")[0]], name


def _sections() -> dict[str, object]:
    from src.infra.config import Settings

    settings = Settings()
    return {section: getattr(settings, section) for section in schema()}
