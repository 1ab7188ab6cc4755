"""`[storage]`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .section import Section


class StorageCfg(Section):
    """`[storage]`: the data folder."""

    path: Path = Field(Path(".rag"), description="Data folder: index, threads, caches of this deployment.")
