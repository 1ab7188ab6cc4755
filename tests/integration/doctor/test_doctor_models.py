"""`rag doctor` at the services of models and their identity: deployments, dimensions, tokens, keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from src.infra.config import Settings
from src.infra.doctor import diagnose
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Reply
from tests.emulators.certificates import Issued, issue
from tests.emulators.entra import CLIENT, TENANT, EntraEmulator, EntraReply
from tests.integration.doctor.checks import azure_values, checked, settings_of, states, text_of

# -- the services


async def test_a_model_is_asked_for_one_token_and_one_vector_once_each(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    report = await diagnose(settings_of(tmp_path, azure_values(azure)))
    assert report.ok
    chat, embed = sorted(azure.requests, key=lambda one: one.path.endswith("embeddings"))
    assert chat.body["max_tokens"] == 1
    assert embed.body["input"] == ["word"]
    assert report.hop("chat").cost
    assert report.hop("embed").cost


async def test_nothing_is_written(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert (await diagnose(settings_of(tmp_path, azure_values(azure)))).ok
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_missing_deployment_names_the_model_and_a_place_to_write_it(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    report = await diagnose(settings_of(tmp_path, azure_values(azure, chat__model="gpt-9", embed__model="embed-9")), hops=["chat", "embed"])
    for name in ("chat", "embed"):
        hop = report.hop(name)
        assert (hop.step, hop.setting) == ("service", f"{name}.model")
        assert [(fix.key, fix.ready) for fix in hop.worst.told.fixes] == [(f"{name}.model", False)]


async def test_vectors_of_another_length_name_dims_and_the_printed_value_mends_it(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    values = azure_values(azure, embed__dims=1536)
    hop = await checked(settings_of(tmp_path, values), "embed")
    assert (hop.step, hop.setting) == ("service", "embed.dims")
    (fix,) = hop.worst.told.fixes
    assert (fix.key, fix.value, fix.ready) == ("embed.dims", "8", True)
    assert (await checked(settings_of(tmp_path, values | {fix.key: fix.value}), "embed")).status == "ok"


@pytest.mark.parametrize(("status", "setting"), [(401, "azure_openai.api_key"), (403, "azure_openai.api_key"), (500, "chat.api_base"), (503, "chat.api_base")])
async def test_a_refusal_is_the_service_s_step_and_is_not_repeated(status: int, setting: str, azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    azure.script.append(Reply(status, {"error": {"code": str(status), "message": "no"}}))
    hop = await checked(settings_of(tmp_path, azure_values(azure)), "chat")
    assert (hop.step, hop.status) == ("service", "failed")
    assert setting in hop.setting
    assert len(azure.requests) == 1


async def test_a_model_without_room_is_an_overload_told_at_once(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    azure.script.append(Reply(429, {"error": {"code": "429", "message": "slow down"}}, {"retry-after": "60"}))
    hop = await checked(settings_of(tmp_path, azure_values(azure)), "chat")
    assert (hop.step, hop.code) == ("service", "overloaded")
    assert "60 s" in hop.hint


async def test_a_slow_model_says_that_it_was_the_doctor_who_left(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    azure.script.append(Reply(delay_s=60))
    hop = await checked(settings_of(tmp_path, azure_values(azure)), "chat", timeout_s=4)
    assert (hop.step, hop.setting, hop.code) == ("service", "chat.timeout_s", "deadline")
    assert "--timeout" in hop.hint


@pytest.mark.parametrize(
    ("missing", "setting"), [("chat__api_base", "chat.api_base"), ("chat__api_version", "chat.api_version"), ("azure_openai__api_key", "azure_openai.api_key")]
)
async def test_what_no_client_can_be_made_of_fails_before_anything_is_sent(missing: str, setting: str, azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    hop = await checked(settings_of(tmp_path, azure_values(azure, **{missing: None})), "chat")
    assert (hop.step, hop.status) == ("settings", "failed")
    assert setting in hop.setting
    assert azure.requests == []


async def test_an_address_that_is_inherited_names_the_key_that_holds_it(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, azure_values(azure, chat__api_base="https://no-such-host.invalid"))
    hop = await checked(settings, "embed")
    assert hop.step == "name"
    assert "chat.api_base" in f"{hop.setting} {hop.source}"


# -- the identity


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def entra(authority: trustme.CA, certificate: Issued) -> Iterator[EntraEmulator]:
    with EntraEmulator(authority).running() as emulator:
        emulator.apps[CLIENT].certificates.append(certificate.certificate)
        yield emulator


@pytest.fixture
def certificate() -> Issued:
    return issue()


@pytest.fixture
def resource(authority: trustme.CA, entra: EntraEmulator, tmp_path: Path) -> Iterator[AzureOpenAIEmulator]:
    with AzureOpenAIEmulator(tmp_path, ca=authority).running() as emulator:
        emulator.problem_of = entra.problem_of
        yield emulator


@pytest.fixture
def values(resource: AzureOpenAIEmulator, entra: EntraEmulator, certificate: Issued, tmp_path: Path) -> dict[str, Any]:
    """Chat and embeddings under a certificate."""
    identity = {
        "azure.tenant_id": TENANT,
        "azure.client_id": CLIENT,
        "azure.certificate_path": str(certificate.written(tmp_path / "identity.pem")),
        "azure.authority_host": entra.url,
    }
    return azure_values(resource, azure_openai__api_key=None) | identity


async def test_one_token_serves_all_hops_and_its_claims_are_told(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    report = await diagnose(settings_of(tmp_path, values))
    assert report.ok
    assert entra.token_requests == 1
    hop = report.hop("identity")
    assert list(states(hop)) == ["certificate", "name", "tcp", "tls", "token"]
    assert "audience https://cognitiveservices.azure.com" in hop.message
    assert "60 minutes" in hop.message
    assert "roles Cognitive Services OpenAI User" in hop.message


async def test_no_token_is_in_the_report(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    report = await diagnose(settings_of(tmp_path, values))
    said = text_of(report)
    assert entra.issued
    assert not [token for token in entra.issued if token.split(".")[2] in said or token.split(".")[1] in said]


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"azure.client_id": "66666666-7777-8888-9999-000000000001"}, "azure.client_id"),
        ({"azure.tenant_id": "99999999-2222-3333-4444-555555555555"}, "azure.tenant_id"),
        ({"azure.scope": "https://other.azure.com/.default"}, "azure.scope"),
    ],
)
async def test_a_refusal_of_the_authority_is_the_token_s_step_and_the_identity_step_of_each_model(
    changed: dict[str, Any], setting: str, values: dict[str, Any], tmp_path: Path
) -> None:
    report = await diagnose(settings_of(tmp_path, values | changed), hops=["identity", "chat", "embed"])
    assert (report.hop("identity").step, report.hop("identity").setting) == ("token", setting)
    for name in ("chat", "embed"):
        assert (report.hop(name).step, report.hop(name).setting) == ("identity", setting)
        assert states(report.hop(name))["service"] == "not reached"


async def test_a_certificate_that_cannot_be_used_fails_before_the_network(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    late = issue(ends=timedelta(hours=-1)).written(tmp_path / "late.pem")
    for path in (tmp_path / "gone.pem", late):
        hop = await checked(settings_of(tmp_path, values | {"azure.certificate_path": str(path)}), "identity")
        assert (hop.step, hop.setting) == ("certificate", "azure.certificate_path")
        assert hop.hint
    assert entra.connections == 0


async def test_a_certificate_that_ends_soon_is_a_warning(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    soon = issue(ends=timedelta(days=9))
    entra.apps[CLIENT].certificates.append(soon.certificate)
    hop = await checked(settings_of(tmp_path, values | {"azure.certificate_path": str(soon.written(tmp_path / "soon.pem"))}), "identity")
    assert (hop.status, hop.step, hop.setting) == ("warning", "certificate", "azure.certificate_path")


async def test_an_authority_whose_issuer_is_unknown_is_the_identity_s_fault_and_not_the_model_s(values: dict[str, Any], tmp_path: Path) -> None:
    with EntraEmulator(trustme.CA(organization_name="Strangers")).running() as other:
        report = await diagnose(settings_of(tmp_path, values | {"azure.authority_host": other.url}), hops=["identity", "chat"])
    assert (report.hop("identity").step, report.hop("identity").setting) == ("tls", "network.ca_bundle")
    assert "Strangers" in report.hop("identity").message
    assert (report.hop("chat").step, states(report.hop("chat"))["tls"]) == ("identity", "ok")


async def test_a_key_that_stands_in_is_a_warning_and_the_model_still_answers(
    values: dict[str, Any], entra: EntraEmulator, resource: AzureOpenAIEmulator, tmp_path: Path
) -> None:
    fallback = {"azure.allow_api_key_fallback": True, "azure_openai.api_key": KEY, "azure.client_id": "66666666-7777-8888-9999-000000000001"}
    report = await diagnose(settings_of(tmp_path, values | fallback))
    assert report.hop("identity").status == "failed"
    for name in ("chat", "embed"):
        assert (report.hop(name).status, report.hop(name).step) == ("warning", "identity")
        assert "API key stands in" in report.hop(name).message
    assert {request.headers.get("api-key") for request in resource.requests} == {KEY}


async def test_an_authority_without_room_or_out_of_order_is_told_within_the_time(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    entra.script.extend(EntraReply(503, {"error": "temporarily_unavailable"}) for _ in range(4))
    hop = await checked(settings_of(tmp_path, values), "identity", timeout_s=30)
    assert (hop.step, hop.setting) == ("token", "azure.authority_host")


async def test_a_silent_authority_ends_with_the_hop_s_time(values: dict[str, Any], entra: EntraEmulator, tmp_path: Path) -> None:
    entra.script.append(EntraReply(delay_s=60))
    hop = await checked(settings_of(tmp_path, values), "identity", timeout_s=4)
    assert (hop.status, hop.step, hop.setting) == ("failed", "token", "azure.timeout_s")
    assert "--timeout" in hop.hint


def secrets_of(settings: Settings) -> list[str]:
    return [KEY, settings.azure_openai.api_key.get_secret_value() if settings.azure_openai.api_key else KEY]


async def test_no_key_is_in_the_report(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, azure_values(azure, embed__dims=3, chat__model="gpt-9"))
    said = text_of(await diagnose(settings))
    assert not [secret for secret in secrets_of(settings) if secret in said]
