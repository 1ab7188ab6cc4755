"""LangGraph's own conformance suite against each checkpointer as it is configured here."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from pydantic import SecretStr

from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import build_checkpointer

KEYS = SecretStr(f"one:{base64.b64encode(bytes(range(32))).decode()}")
BASE = {"put", "put_writes", "get_tuple", "list", "delete_thread"}


def configured(name: str, folder: Path, request: pytest.FixtureRequest) -> Settings:
    backend, _, sealed = name.partition("-")
    options: dict[str, Any] = {"encryption_keys": KEYS} if sealed else {}
    if backend in ("postgres", "pgbouncer"):
        server = request.getfixturevalue("postgres")
        database = server.database()
        where = request.getfixturevalue("pgbouncer") if backend == "pgbouncer" else server
        options |= {"dsn": SecretStr(where.dsn(database))}
        backend = "postgres"
    return Settings(storage=StorageCfg(path=folder), persistence=PersistenceCfg(backend=backend, **options))  # type: ignore[arg-type] - parametrised below


@pytest.mark.parametrize("name", ["memory", "sqlite", "sqlite-sealed", "postgres", "postgres-sealed", "pgbouncer"])
async def test_langgraphs_conformance_suite_passes(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = configured(name, tmp_path, request)

    async def saver() -> AsyncGenerator[Any, None]:
        made = build_checkpointer(settings)
        yield made
        if hasattr(made, "aclose"):
            await made.aclose()

    report = await validate(RegisteredCheckpointer(name, saver))
    failures = {capability: result.failures for capability, result in report.results.items() if result.failures}
    assert failures == {}
    assert {capability for capability, result in report.results.items() if result.passed} >= BASE
