"""Fixes, certificates, tokens, sources and the order of steps. Pure, or without any network."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from src.errors import ConfigurationError, TlsError, UnreachableError
from src.infra.configuring.schema import find
from src.infra.doctor import certificates, diagnose, fixes
from src.infra.doctor.handshake import Inspector, Seen, seen
from src.infra.doctor.identity import claims_of, fits
from src.infra.doctor.report import Fix
from src.infra.doctor.runner import steps_of
from src.infra.doctor.sources import outranking, settings_of, source_text
from src.infra.doctor.targets import Target, targets_of
from src.infra.doctor.walk import Site, Step, Walk, walk
from src.infra.exporting.plan import refusal
from src.infra.hops import Hop
from src.infra.network.faults import Fault
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings

NOW = time.time()
LEAF = Seen("CN=chat", "CN=Issuing CA, O=Bank", ("chat.bank.test", "*.bank.test"), NOW + 86_400 * 90)
MIDDLE = Seen("CN=Issuing CA, O=Bank", "CN=Root, O=Bank", (), NOW + 86_400 * 900)


def settings(**values: Any) -> Any:
    return load_settings([], {name.replace("__", "."): value for name, value in values.items()}, environ={})


def chat(address: str = "https://old.bank.test:8443") -> Target:
    return Target("chat", "chat", address, "The model's service", "chat.api_base")


# -- certificates


def test_the_missing_authority_is_who_issued_the_last_certificate_that_was_sent() -> None:
    assert certificates.missing_authority((LEAF,)) == "CN=Issuing CA, O=Bank"
    assert certificates.missing_authority((LEAF, MIDDLE)) == "CN=Root, O=Bank"
    assert certificates.missing_authority(()) == ""


def test_a_chain_without_its_intermediate_says_so() -> None:
    assert "sends no intermediate" in certificates.why("tls-authority", (LEAF,), "chat.bank.test")
    assert "sends no intermediate" not in certificates.why("tls-authority", (LEAF, MIDDLE), "chat.bank.test")


def test_the_certificate_of_the_chain_that_has_ended_is_the_one_that_is_named() -> None:
    old = Seen("CN=Issuing CA, O=Bank", "CN=Root", (), 86_400.0)
    assert "CN=Issuing CA" in certificates.why("tls-expired", (LEAF, old), "x").partition("signed by")[0]
    assert "1970-01-02" in certificates.why("tls-expired", (LEAF, old), "x")


def test_without_certificates_nothing_is_made_up() -> None:
    for kind in ("tls-authority", "tls-expired", "tls-name", "tls-other"):
        assert certificates.why(kind, (), "x") == ""  # type: ignore[arg-type] # each is one of the kinds


def test_names_in_a_certificate_cannot_begin_a_line_or_steer_a_terminal() -> None:
    info = {
        "subject": ((("commonName", "a\nfake  ok\x1b[2J"),),),
        "issuer": (),
        "subjectAltName": (("DNS", "x\ny"), ("URI", "u")),
        "notAfter": "Jan  1 00:00:00 2030 GMT",
    }
    found = seen(info)
    assert (found.subject, found.issuer, found.names) == ("CN=a?fake  ok?[2J", "(no name)", ("x?y",))


# -- fixes


def test_another_name_of_the_certificate_replaces_the_host_and_leaves_port_and_path() -> None:
    cfg = settings(chat__api_base="https://old.bank.test:8443/openai")
    (fix,) = fixes.of_tls(cfg, chat(), Fault("tls-name"), (LEAF,))
    assert fix == Fix("chat.api_base", "https://chat.bank.test:8443/openai", note=fix.note)


def test_of_several_hosts_only_the_one_at_fault_is_rewritten() -> None:
    cfg = settings(search__host="https://a.bank.test:9200, https://b.bank.test")
    target = next(one for one in targets_of(cfg) if one.hop == "search-2")
    (fix,) = fixes.of_tls(cfg, target, Fault("tls-name"), (LEAF,))
    assert (fix.key, fix.value) == ("search.host", "https://a.bank.test:9200, https://chat.bank.test")


@pytest.mark.parametrize("name", ["*.bank.test", "${AZURE_OPENAI__API_KEY}", "a b", "x;y", "a#b"])
def test_a_name_that_is_no_host_is_never_offered_as_one(name: str) -> None:
    stranger = Seen("CN=x", "CN=y", (name,), NOW)
    assert fixes.of_tls(settings(), chat(), Fault("tls-name"), (stranger,)) == []


@pytest.mark.parametrize("embedder", ["azure:${SECRET}", "azure:a\nb", "azure:", "unknown:x", "", None, 7])
def test_a_model_s_name_that_is_none_is_never_offered(embedder: object) -> None:
    assert fixes.of_index(settings(), embedder, 12) == []
    assert fixes.of_index(settings(), "azure:good", "${SECRET}") == []


def test_an_address_is_never_offered_with_what_may_be_secret_in_it() -> None:
    cfg = settings(chat__api_base="https://old.bank.test/openai?sig=s3cret")
    for kind in ("tls-name", "tls-none"):
        (fix,) = fixes.of_tls(cfg, chat("https://old.bank.test"), Fault(kind), (LEAF,))  # type: ignore[arg-type] # both are kinds
        assert fix.value.endswith(".bank.test/openai")
        assert "s3cret" not in fix.value


def test_a_proxy_s_own_certificate_never_rewrites_the_address_behind_it() -> None:
    assert fixes.of_tls(settings(), chat(), Fault("tls-name", at_proxy=True), (LEAF,)) == []


def test_a_proxy_is_suggested_only_where_none_is_configured() -> None:
    late = Fault("connect-timeout")
    assert [fix.key for fix in fixes.of_fault(settings(), chat(), late)] == ["network.proxy"]
    assert fixes.of_fault(settings(network__proxy="http://p.bank.test:1"), chat(), late) == []
    assert fixes.of_fault(settings(), chat(), Fault("refused")) == []


def test_dims_are_taken_from_the_error_s_own_words() -> None:
    error = ConfigurationError("The model's vectors have 3072 dimensions, embed.dims says 8.", setting="embed.dims")
    assert [(fix.key, fix.value) for fix in fixes.of_error(settings(), error)] == [("embed.dims", "3072")]
    assert fixes.of_error(settings(), ConfigurationError("else", setting="embed.dims")) == []


def test_a_key_without_a_value_gets_an_example_and_a_service_that_is_down_gets_none() -> None:
    (line,) = fixes.example(ConfigurationError("none", setting="azure_openai.api_key or azure.certificate_path"), "Set it.")
    assert line == Fix("azure_openai.api_key", "${AZURE_OPENAI_API_KEY}", ready=False, note="Set it.")
    assert fixes.example(UnreachableError("refused", setting="chat.api_base"), "Check it.") == ()
    assert fixes.example(TlsError("none", setting="network.ca_bundle"), "Add it.")
    assert fixes.example(ConfigurationError("late", setting="chat.timeout_s"), "Raise it.") == ()


def test_every_example_is_of_a_key_that_there_is() -> None:
    assert [key for key in fixes.EXAMPLES if find(key) is None] == []


# -- tokens


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"x.{body}.y"


@pytest.mark.parametrize("value", ["", "opaque", "a.b.c", "a.!!.c", token([1]), token("x")])
def test_a_token_that_is_no_jwt_has_no_claims(value: str) -> None:
    assert claims_of(value) == {}


def test_claims_are_read_whatever_the_padding() -> None:
    for length in range(8):
        assert claims_of(token({"aud": "a" * length})) == {"aud": "a" * length}


def test_an_audience_fits_the_scope_s_host_and_an_application_s_id_fits_any() -> None:
    scope = "https://cognitiveservices.azure.com/.default"
    assert fits("https://cognitiveservices.azure.com", scope)
    assert fits("https://cognitiveservices.azure.com/", scope)
    assert fits("7d312290-28c8-473c-a0ed-8e53749b6d6d", scope)
    assert not fits("https://management.azure.com", scope)


# -- sources


def test_a_source_is_the_file_and_line_the_variable_or_the_secret_file(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[network]\nproxy = http://p.bank.test:1\n[chat]\napi_base = https://x.bank.test\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "network__proxy_password").write_text("s3cret")
    cfg = load_settings([tmp_path / "a.ini"], environ={"RAG_EMBED__DIMS": "12"}, secrets_dir=secrets)
    assert source_text(cfg, "network.proxy") == f"file {tmp_path / 'a.ini'}:2"
    assert source_text(cfg, "embed.dims") == "environment RAG_EMBED__DIMS"
    assert source_text(cfg, "network.proxy_password") == f"secret {secrets / 'network__proxy_password'}"
    assert source_text(cfg, "chat.model") == "default"
    assert source_text(cfg, "") == ""


def test_what_is_inherited_names_the_key_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[network]\nproxy = http://user:word@p.bank.test:1\n[azure_openai]\napi_key = k\n")
    cfg = load_settings([tmp_path / "a.ini"], environ={})
    assert source_text(cfg, "network.proxy_username") == f"network.proxy: file {tmp_path / 'a.ini'}:2"
    assert source_text(cfg, "azure_openai.api_key or azure.certificate_path") == f"azure_openai.api_key: file {tmp_path / 'a.ini'}:4"
    assert settings_of("a.b or c.d") == ("a.b", "c.d")


def test_only_what_outranks_a_file_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[embed]\ndims = 4\n")
    cfg = load_settings([tmp_path / "a.ini"], environ={"RAG_CHAT__MODEL": "m"})
    assert outranking(cfg, "embed.dims") == ""
    assert outranking(cfg, "embed.model") == ""
    assert outranking(cfg, "chat.model") == "environment RAG_CHAT__MODEL"


# -- OTLP


REFUSALS = [
    (401, "service-credentials"),
    (403, "service-credentials"),
    (404, "configuration"),
    (302, "foreign-service"),
    (429, "overloaded"),
    (500, "unavailable"),
]


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_a_collector_s_refusal_names_the_endpoint(status: int, code: str) -> None:
    error = refusal(status, Hop("The OTLP collector", "https://otel.bank.test:4317", "telemetry.endpoint"), 4317)
    assert (error.code, error.setting) == (code, "telemetry.endpoint")
    assert error.hint


# -- steps


async def said(_walk: Walk) -> str:
    return "done"


def fails(error: Exception) -> Any:
    async def act(_walk: Walk) -> str:
        raise error

    return act


async def hop(*steps: Step, timeout_s: float = 5.0) -> Any:
    cfg = settings()
    return await walk(Site(cfg, ResourceManager(cfg), timeout_s, Inspector(cfg.network)), chat(), steps)


def shape(report: Any) -> list[tuple[str, str]]:
    return [(step.step, step.status) for step in report.steps]


async def test_after_a_failed_step_the_others_are_not_reached() -> None:
    report = await hop(Step("a", said), Step("b", fails(ConfigurationError("no", setting="chat.model"))), Step("c", said))
    assert shape(report) == [("a", "ok"), ("b", "failed"), ("c", "not reached")]
    assert report.hint == "Check chat.model."


async def test_trust_that_a_later_request_lacks_is_told_at_the_step_about_trust() -> None:
    late = TlsError("no", setting="network.client_certificate", hop="https://old.bank.test:8443")
    report = await hop(Step("tls", said), Step("identity", said), Step("service", fails(late)))
    assert shape(report) == [("tls", "failed"), ("identity", "not reached"), ("service", "not reached")]


async def test_a_proxy_that_a_later_request_meets_is_told_at_its_step() -> None:
    late = UnreachableError("no", setting="network.proxy", hop="proxy to https://old.bank.test:8443")
    report = await hop(Step("proxy", said), Step("tls", said), Step("service", fails(late)))
    assert shape(report) == [("proxy", "failed"), ("tls", "not reached"), ("service", "not reached")]


async def test_trust_in_another_hop_stays_where_it_was_met() -> None:
    other = TlsError("no", setting="network.ca_bundle", hop="https://login.bank.test")
    assert shape(await hop(Step("tls", said), Step("identity", fails(other)))) == [("tls", "ok"), ("identity", "failed")]


async def test_what_was_not_foreseen_fails_one_step_and_repeats_no_text() -> None:
    report = await hop(Step("a", fails(KeyError("s3cret"))))
    assert (report.status, report.code) == ("failed", "unforeseen")
    assert "s3cret" not in repr(report)


async def test_a_step_that_never_ends_is_ended_with_the_hop_s_time() -> None:
    async def for_ever(_walk: Walk) -> str:
        await asyncio.Event().wait()
        return ""

    report = await hop(Step("service", for_ever), Step("more", said), timeout_s=0.05)
    assert shape(report) == [("service", "failed"), ("more", "not reached")]
    assert (report.code, report.setting) == ("deadline", "network.read_timeout_s")


def test_a_hop_through_a_proxy_has_its_step_and_one_of_plain_http_has_none_of_tls() -> None:
    def names(**values: Any) -> list[str]:
        cfg = settings(chat__provider="openai", chat__api_key="k", **values)
        site = Site(cfg, ResourceManager(cfg), 1, Inspector(cfg.network))
        return [step.name for step in steps_of(site, next(one for one in targets_of(cfg) if one.hop == "chat"))]

    assert names() == ["settings", "name", "tcp", "tls", "identity", "service"]
    assert names(network__proxy="http://p.bank.test:1") == ["settings", "name", "tcp", "proxy", "tls", "identity", "service"]
    assert names(network__proxy="http://p.bank.test:1", network__no_proxy="api.openai.com") == names()
    assert names(chat__api_base="http://x.bank.test/v1") == ["settings", "name", "tcp", "identity", "service"]


async def test_a_hop_that_is_not_configured_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="'chat'") as found:
        await diagnose(settings(), hops=["chat"])
    assert "data, model, index" in found.value.hint


async def test_the_environment_s_variables_are_a_warning_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[network]\ntrust_env = true\n[chat]\nprovider = openai\napi_key = k\n")
    cfg = load_settings([tmp_path / "a.ini"], {"storage.path": str(tmp_path)}, environ={"HTTPS_PROXY": "http://p.bank.test:1"})
    report = (await diagnose(cfg, hops=["network"])).hop("network")
    assert (report.status, report.step, report.setting, report.source) == ("warning", "policy", "network.trust_env", f"file {tmp_path / 'a.ini'}:2")
    assert "HTTPS_PROXY" in report.message


async def test_a_cache_smaller_than_what_is_configured_is_a_warning_with_the_number_that_would_do(tmp_path: Path) -> None:
    values = {"azure.tenant_id": "t", "azure.client_id": "c", "azure.client_secret": "s", "azure.allow_api_key_fallback": True, "azure_openai.api_key": "k"}
    models = {"chat.provider": "azure", "chat.api_base": "https://x.bank.test", "chat.api_version": "1", "cache.clients": 1}
    cfg = load_settings([], values | models, environ={})
    report = (await diagnose(cfg, hops=["network"])).hop("network")
    assert (report.status, report.step, report.setting) == ("warning", "clients", "cache.clients")
    assert [(fix.key, fix.value) for fix in report.worst.told.fixes] == [("cache.clients", "2")]
