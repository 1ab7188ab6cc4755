"""What is written about the configuration is true."""

from __future__ import annotations

import runpy
from pathlib import Path

from src.infra.configuring.profiles import PROFILES
from src.infra.configuring.schema import all_names, find, schema


def test_the_committed_page_is_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_configuration.py"))["render"]()
    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == page, "run docs/generate_configuration.py"


def test_every_key_is_documented() -> None:
    assert [name for name in all_names() if len(getattr(find(name), "description", "")) < 5] == []


def test_every_type_has_words() -> None:
    assert [spec.name for keys in schema().values() for spec in keys.values() if spec.type_words.startswith("a JSON") and "dict" not in str(spec.kind)] == []


def test_profiles_name_known_keys_only() -> None:
    assert [name for values in PROFILES.values() for name in values if find(name) is None] == []
