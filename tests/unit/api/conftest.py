"""An application in this process, over the real parts unless a test hands in its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from src.api.app import create_app
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager

LOCAL = "http://127.0.0.1"
MakeClient = Callable[..., Any]


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with a data folder of the test's own; keywords are keys of `[api]`."""

    def make(**api: Any) -> Settings:
        return Settings.model_validate({"storage": {"path": tmp_path / "data"}, "api": api})

    return make


@pytest.fixture
def client_of(make_settings: Callable[..., Settings]) -> MakeClient:
    """`async with client_of(overrides, **api) as client`: a client of an app with these parts."""

    @asynccontextmanager
    async def open_client(overrides: dict[str, object] | None = None, **api: Any) -> AsyncIterator[httpx2.AsyncClient]:
        resources = ResourceManager(make_settings(**api), overrides=overrides)
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=LOCAL) as client:
            yield client
        await resources.aclose()

    return open_client


async def call_asgi(app: Callable[..., Awaitable[None]], scope: dict[str, Any], chunks: list[bytes]) -> tuple[int, bytes]:
    """Call an ASGI app with a body that comes in these pieces; returns status and body of the answer."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks] + [{"type": "http.request", "body": b"", "more_body": False}]
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    await app({"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "headers": [], "state": {}, **scope}, receive, send)
    return status, body


@pytest.fixture
def asgi() -> Callable[..., Awaitable[tuple[int, bytes]]]:
    return call_asgi
