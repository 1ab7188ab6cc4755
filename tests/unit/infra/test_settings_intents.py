"""`[intent:NAME]` sections: read from every kind of file, merged, explained, and checked like the fixed sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.errors import ConfigurationError, Problem
from src.infra.configuring.schema import find, shown, specs_of, value_of
from src.infra.settings import load, load_settings, source_of

INI = """\
[intent:procedure]
pattern = ^how (do|can) i\\b
examples =
    how do I, please
    steps to
boosts = kind=procedure ^0.5
[intent:error-code]
pattern = \\d+
mode = bm25
enabled = no
"""
YAML = """\
intent:procedure:
  pattern: '^how (do|can) i\\b'
  examples: ["how do I, please", steps to]
  boosts: |
    kind=procedure ^0.5
intent:error-code:
  pattern: \\d+
  mode: bm25
  enabled: no
"""


def write(folder: Path, text: str, name: str = "rag.ini") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[Problem]:
    return list(load(write(folder, text), environ={}).problems)


@pytest.mark.parametrize(("text", "name"), [(INI, "rag.ini"), (YAML, "rag.yaml")])
def test_rules_are_read_item_by_item(tmp_path: Path, text: str, name: str) -> None:
    intents = dict(load_settings(write(tmp_path, text, name), environ={}).intents)
    assert intents["procedure"].examples == ("how do I, please", "steps to")
    assert intents["procedure"].boosts == ("kind=procedure ^0.5",)
    assert (intents["error-code"].mode, intents["error-code"].enabled) == ("bm25", False)


def test_layers_merge_key_by_key_and_are_remembered(tmp_path: Path) -> None:
    files = [write(tmp_path, INI), write(tmp_path, "[intent:procedure]\nmode = knn\n", "more.ini")]
    settings = load_settings(files, {"intent:error-code.enabled": True}, environ={})
    intents = dict(settings.intents)
    assert (intents["procedure"].mode, intents["procedure"].pattern) == ("knn", r"^how (do|can) i\b")
    assert intents["error-code"].enabled is True
    assert source_of(settings, "intent:procedure.mode").where == str(tmp_path / "more.ini")
    assert source_of(settings, "intent:error-code.enabled").kind == "override"
    assert hash(settings) == hash(load_settings(files, {"intent:error-code.enabled": True}, environ={}))


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, INI), environ={})
    specs = [spec for spec in specs_of(settings) if spec.section == "intent:procedure" and value_of(settings, spec)]
    lines = ["[intent:procedure]", *(f"{spec.key} = {shown(settings, spec)}".replace("\n", "\n    ") for spec in specs)]
    again = load_settings(write(tmp_path, "\n".join(lines), "again.ini"), environ={})
    assert dict(again.intents)["procedure"] == dict(settings.intents)["procedure"]


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    text = "[intent:a]\npatern = x\nmode = hybird\nenabled = perhaps\n[intent:b]\n[intent:Not Good]\nmode = knn\n"
    found = {(problem.line, problem.key, problem.nearest) for problem in problems(tmp_path, text)}
    assert found == {
        (2, "intent:a.patern", "pattern"),
        (3, "intent:a.mode", "hybrid"),
        (4, "intent:a.enabled", ""),
        (5, "intent:b", ""),
        (6, "intent:Not Good", ""),
    }


def test_a_key_is_explained_also_where_no_rule_of_that_name_is_configured() -> None:
    spec = find("intent:anything.boosts")
    assert spec is not None
    assert spec.type_words == "a list, one item a line"
    with pytest.raises(ConfigurationError, match=r"intent:anything\.boosts"):
        source_of(load_settings([], environ={}), "intent:anything.boost")
    with pytest.raises(ConfigurationError, match=r"It is a section; its keys are intent:anything\.enabled"):
        source_of(load_settings([], environ={}), "intent:anything")
