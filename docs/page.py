"""A page of this folder that a script writes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def keep(page: Path, text: str, arguments: list[str]) -> int:
    """Write the page; with ``--check`` among the script's own arguments only say whether it is current. The exit code."""
    script, *options = arguments
    if "--check" in options:
        current = page.is_file() and page.read_text(encoding="utf-8") == text
        print(f"{page.relative_to(ROOT)} is {'current' if current else f'not current: run docs/{Path(script).name}'}")
        return 0 if current else 1
    page.write_text(text, encoding="utf-8")
    print(f"wrote {page.relative_to(ROOT)}")
    return 0
