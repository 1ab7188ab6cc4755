"""The page of the configuration commands shows what they print."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_the_committed_page_is_what_the_commands_print(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_config_commands.py"))["render"]()
    assert (root / "docs" / "config-commands.md").read_text(encoding="utf-8") == page, "run docs/generate_config_commands.py"
    assert "correct-horse" not in page
    assert "Traceback" not in page
