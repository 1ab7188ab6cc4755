"""Who may look at figures, and what an answer of `/metrics` is."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics import parser

from src.api.app import create_app
from src.api.auth import hash_token
from src.infra.config import Settings
from src.infra.metrics import current_store, start_metrics, stop_metrics
from src.infra.resource_manager import ResourceManager

read: Callable[[str], Iterable[Any]] = parser.text_string_to_metric_families


@asynccontextmanager
async def client_of(folder: Path, *, started: bool = True, api: dict[str, Any] | None = None, **telemetry: Any) -> AsyncIterator[httpx2.AsyncClient]:
    settings = Settings.model_validate({"storage": {"path": folder / "data"}, "api": api or {}, "telemetry": telemetry})
    running = started and start_metrics(settings)
    async with ResourceManager(settings) as resources:
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client
    if running:
        stop_metrics()


def with_tokens(folder: Path) -> dict[str, Any]:
    people = {"ana-token": {"user": "ana"}, "ops-token": {"user": "ops", "groups": ["operators"]}}
    (folder / "tokens.json").write_text(json.dumps({hash_token(token): who for token, who in people.items()}), encoding="utf-8")
    return {"auth": "tokens", "tokens_file": folder / "tokens.json"}


async def status(client: httpx2.AsyncClient, token: str = "") -> int:
    return (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})).status_code


async def test_on_this_machine_everybody_may_look_unless_a_token_is_set(tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        assert await status(client) == 200
        assert (await client.get("/metrics", headers={"Host": "rag.example"})).status_code == 421
    async with client_of(tmp_path, metrics_token="scrape") as client:
        assert [await status(client, token) for token in ("", "wrong", "scrape")] == [401, 401, 200]


async def test_who_signs_in_may_look_as_an_operator_or_with_the_token_only(tmp_path: Path) -> None:
    api = with_tokens(tmp_path)
    async with client_of(tmp_path, api=api) as client:
        assert [await status(client, token) for token in ("", "ana-token", "ops-token", "nobody")] == [401, 401, 401, 401]
    async with client_of(tmp_path, api={**api, "admin_group": "operators"}) as client:
        assert [await status(client, token) for token in ("", "ana-token", "ops-token")] == [401, 401, 200]
    async with client_of(tmp_path, api={**api, "admin_group": "operators"}, metrics_token="scrape") as client:
        assert [await status(client, token) for token in ("ana-token", "ops-token", "scrape")] == [401, 200, 200]
        refused = await client.get("/metrics")
        assert "telemetry.metrics_token" in refused.json()["hint"]
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/v1/threads", headers={"Authorization": "Bearer scrape"})).status_code == 401


async def test_a_listener_of_its_own_and_switched_off_close_the_api_s_port(tmp_path: Path) -> None:
    async with client_of(tmp_path, metrics_port=0) as client:
        answer = await client.get("/metrics")
        assert (answer.status_code, answer.json()["hint"]) == (404, "They have a listener of their own: telemetry.metrics_port.")
    async with client_of(tmp_path, metrics=False) as client:
        assert "telemetry.metrics = true" in (await client.get("/metrics")).json()["hint"]


async def test_requests_are_counted_by_route_and_never_by_what_stands_in_it(tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        await client.get("/v1/threads/secret-thread-id")
        await client.get("/no/such/secret-path")
        await client.request("SECRETVERB", "/health/live")
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert "secret" not in answer.text.lower()
    families = {family.name: family for family in read(answer.text)}
    counts = [s for s in families["http_server_request_duration_seconds"].samples if s.name.endswith("_count")]
    assert {s.labels.get("http_route", "") for s in counts} >= {"/v1/threads/{thread_id}", ""}
    assert {s.labels["http_request_method"] for s in counts} == {"GET", "_OTHER"}
    assert families["http_server_active_requests"].samples[0].value >= 1


@pytest.mark.parametrize("accept", ["gzip", "br;q=1, gzip"])
async def test_an_answer_is_compressed_where_it_may_be(tmp_path: Path, accept: str) -> None:
    async with client_of(tmp_path) as client, client.stream("GET", "/metrics", headers={"Accept-Encoding": accept}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert b"rag_chats_active" in gzip.decompress(b"".join([piece async for piece in answer.aiter_raw()]))


async def test_figures_are_kept_while_the_server_runs(tmp_path: Path) -> None:
    settings = Settings.model_validate({"storage": {"path": tmp_path / "data"}})
    app = create_app(ResourceManager(settings))
    async with app.router.lifespan_context(app):
        assert current_store() is not None
    assert current_store() is None
