"""Settings for each way of keeping conversations, sealed and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src.infra.config import PersistenceCfg, Settings, StorageCfg

BACKENDS = ["memory", "sqlite", "sqlite-sealed", "postgres", "postgres-sealed"]
KEYS = "one:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def settings_for(backend: str, tmp_path: Path, dsn: str | None = None) -> Settings:
    """One of `BACKENDS`, in a folder of its own or at a connection string."""
    name, _, sealed = backend.partition("-")
    options: dict[str, Any] = {"encryption_keys": SecretStr(KEYS)} if sealed else {}
    if dsn is not None:
        options["dsn"] = SecretStr(dsn)
    return Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend=name, **options))  # type: ignore[arg-type] - from the list above


def own_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Those of a fixture's parameter, on a new database where it is PostgreSQL."""
    if not request.param.startswith("postgres"):
        return settings_for(request.param, tmp_path)
    server = request.getfixturevalue("postgres")
    return settings_for(request.param, tmp_path, server.dsn(server.database()))
