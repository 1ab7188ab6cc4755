"""Who may see the operator's view, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException

from src.api import admin
from src.api.admin import Throttle, is_admin
from src.api.auth import dump_tokens, hash_token
from src.core.identity import Identity
from src.infra.config import ApiCfg
from src.infra.health import Finding, HealthChecker

MakeClient = Callable[..., Any]


@pytest.mark.parametrize(
    ("cfg", "groups", "allowed"),
    [
        (ApiCfg(), (), True),
        (ApiCfg(auth="tokens"), ("rag-admins",), False),
        (ApiCfg(auth="tokens", admin_group="ops"), ("ops",), True),
        (ApiCfg(auth="tokens", admin_group="ops"), ("Ops", "ops ", ""), False),
        (ApiCfg(auth="tokens", admin_group="ops"), (), False),
    ],
)
def test_operators_are_members_of_the_configured_group_or_the_local_user(cfg: ApiCfg, groups: tuple[str, ...], allowed: bool) -> None:
    assert is_admin(Identity("ana", groups=groups), cfg) is allowed


def test_each_caller_has_so_many_requests_a_minute() -> None:
    now = 1_800_000_045.0
    throttle = Throttle(3, lambda: now)
    for _ in range(3):
        throttle.admit(Identity("ana"))
    throttle.admit(Identity("bea"))
    with pytest.raises(HTTPException) as caught:
        throttle.admit(Identity("ana"))
    assert caught.value.status_code == 429
    assert caught.value.headers == {"Retry-After": "15"}
    now += 15
    throttle.admit(Identity("ana"))


async def test_too_many_requests_are_a_problem_document_that_says_when_to_come_again(client_of: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PER_MINUTE", 0)
    async with client_of() as client:
        refused = await client.get("/v1/admin/degraded")
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
    assert int(refused.headers["Retry-After"]) <= 60


async def test_where_no_group_is_named_no_token_opens_the_view(client_of: MakeClient, tmp_path: Any) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(dump_tokens({hash_token("t"): Identity("ana", groups=("rag-admins",))}))
    async with client_of(auth="tokens", tokens_file=str(file)) as client:
        refused = await client.get("/v1/admin/hotspots", headers={"Authorization": "Bearer t"})
        page = await client.get("/admin")
    assert (refused.status_code, refused.json()["setting"]) == (403, "api.admin_group")
    assert "names no group" in refused.json()["hint"]
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_without_anything_recorded_the_report_is_empty_and_no_file_is_made(client_of: MakeClient, tmp_path: Any) -> None:
    async with client_of() as client:
        report = (await client.get("/v1/admin/hotspots?since=1d")).json()
    assert (report["stages"], report["worst"], report["requests"]) == ([], [], {})
    assert not (tmp_path / "data" / "hotspots.sqlite").exists()


async def test_what_is_wrong_with_a_component_is_told_to_operators_alone(client_of: MakeClient, tmp_path: Any) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(dump_tokens({hash_token("o"): Identity("op", groups=("ops",)), hash_token("b"): Identity("bob")}))
    checker = HealthChecker()
    checker.register_component("printer", lambda: Finding("degraded", "/srv/spool is full"))
    async with client_of({"health": checker}, auth="tokens", tokens_file=str(file), admin_group="ops") as client:
        told = {token: (await client.get("/health", headers={"Authorization": f"Bearer {token}"})).json()["components"]["printer"] for token in "ob"}
    assert told["o"]["message"] == "/srv/spool is full"
    assert "message" not in told["b"]
    assert told["b"]["status"] == "degraded"
