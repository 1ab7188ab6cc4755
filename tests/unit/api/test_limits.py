"""How much a request may send, how long it may take."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from src.api.app import create_app
from src.api.limits import BodyLimit, Deadline
from src.infra.resource_manager import ResourceManager


async def test_bytes_are_counted_as_they_come_whatever_the_request_declares(client_of: Any) -> None:
    async def endless() -> Any:
        yield b'{"query": "'
        for _ in range(5):
            yield b"x" * 500
        yield b'"}'

    async with client_of(max_request_bytes=1_000) as client:
        response = await client.post("/v1/search", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    problem = response.json()
    assert (problem["code"], problem["setting"]) == ("too-large", "api.max_request_bytes")


async def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read(asgi: Any) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("the app was called")

    app = BodyLimit(never, lambda _: (10, "api.max_request_bytes"))
    for length in (b"11", b"9" * 5000):
        status, _ = await asgi(app, {"headers": [(b"content-length", length)]}, [])
        assert status == 413


async def test_a_body_of_exactly_the_limit_passes(asgi: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    assert await asgi(BodyLimit(app, lambda _: (10, "x")), {}, [b"12345", b"67890"]) == (200, b"10")


async def test_an_upload_over_its_limit_is_a_413_that_names_the_upload_setting(client_of: Any) -> None:
    async with client_of(max_upload_bytes=2_000, max_request_bytes=1_000) as client:
        response = await client.post("/v1/documents", files={"files": ("a.txt", b"x" * 2_500)})
        assert response.status_code == 413
        assert response.json()["setting"] == "api.max_upload_bytes"
        response = await client.post("/v1/documents", files={"files": ("a.txt", b"x" * 9_500)})
        assert response.status_code == 413
        assert response.json()["setting"] == "api.max_upload_bytes"


async def test_a_request_that_takes_too_long_is_a_504_and_its_work_is_cancelled(client_of: Any) -> None:
    cancelled = asyncio.Event()

    class Slow:
        async def search(self, *_: object, **__: object) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    async with client_of({"retriever": Slow()}, request_timeout_s=1.0) as client:
        response = await client.post("/v1/search", json={"query": "x"})
    assert response.status_code == 504
    assert response.json()["setting"] == "api.request_timeout_s"
    assert cancelled.is_set()


async def test_a_response_that_has_begun_is_not_cut_by_the_deadline(asgi: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"whole"})

    assert await asgi(Deadline(app, 0.02), {}, []) == (200, b"whole")


async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline(asgi: Any) -> None:
    async def app(*_: object) -> None:
        raise TimeoutError("another one")

    with pytest.raises(TimeoutError, match="another one"):
        await asgi(Deadline(app, 60), {}, [])


async def test_every_answer_carries_the_security_headers(client_of: Any) -> None:
    async with client_of() as client:
        answers = [await client.get("/"), await client.get("/static/app.js"), await client.get("/v1/nothing"), await client.get("/health/live")]
        answers.append(await client.get("/", headers={"Host": "evil.com"}))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "permissions-policy" in answer.headers
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    assert "script-src 'self'" in answers[0].headers["content-security-policy"]
    assert "script-src" not in answers[2].headers["content-security-policy"]


async def test_the_page_names_no_other_origin_and_has_no_inline_script_or_style(client_of: Any) -> None:
    async with client_of() as client:
        page = (await client.get("/")).text
        description = (await client.get("/openapi.json")).json()
        described = await client.get("/docs")
    for word in ("http://", "https://", "onclick", "style=", "<style", "javascript:"):
        assert word not in page
    assert described.status_code == 200
    assert json.dumps(description).count("/v1/chat") >= 1
    assert {"/v1/chat", "/v1/search", "/v1/documents", "/v1/threads", "/health"} <= set(description["paths"])


async def test_a_switched_off_feature_is_neither_served_nor_offered(make_settings: Any) -> None:
    settings = make_settings()
    features = settings.features.model_copy(update={"upload": False, "openapi": False})
    resources = ResourceManager(settings.model_copy(update={"features": features}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=create_app(resources)), base_url="http://127.0.0.1") as client:
        assert (await client.post("/v1/documents", files={"files": ("a.txt", b"x")})).status_code == 405
        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.get("/docs")).status_code == 404
        assert 'data-upload="off"' in (await client.get("/")).text
    await resources.aclose()
