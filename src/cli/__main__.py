"""`python -m src.cli`: as `rag`."""

from __future__ import annotations

from .main import main

main(prog_name="rag")
