"""docs/secrets.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from src.infra.configuring.schema import find
from src.infra.secrets.live import live_secrets
from src.infra.settings import load_settings, source_of


def test_the_sample_loads_and_its_references_are_what_the_page_says(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "secrets.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    (tmp_path / "rag.ini").write_text(sample)
    settings = load_settings(tmp_path / "rag.ini", environ={})
    assert {name for name, _ in live_secrets(settings)} == {"chat.api_key", "search.password", "persistence.password"}
    assert "(Azure Key Vault rag-prod, secret openai-key)" in str(source_of(settings, "chat.api_key"))
    assert "(Azure Key Vault rag-prod, secret openai-key)" in page


def test_every_key_it_names_is_one(root: Path) -> None:
    page = (root / "docs" / "secrets.md").read_text(encoding="utf-8")
    named = re.findall(r"`\[(\w+)\] (\w+)`", page)
    assert len(named) > 8
    assert [f"{section}.{key}" for section, key in named if find(f"{section}.{key}") is None] == []
