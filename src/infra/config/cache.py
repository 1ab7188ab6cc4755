"""`[cache]`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .section import Section


class CacheCfg(Section):
    """`[cache]`: what is kept to save work, and can be made again."""

    path: Path | None = Field(None, description="Folder for what can be made again (the prepared model, evaluation indices); default ~/.cache/founders-rag.")
    ttl_s: float = Field(300.0, gt=0, description="Seconds a cached answer of a service stays.")
    max_entries: int = Field(1000, ge=1, description="Entries of an in-memory cache.")
    clients: int | None = Field(None, ge=1, description="Clients of each kind kept open; unset is as many as the configuration needs, 2 at least.")
