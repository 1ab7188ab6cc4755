"""Ways to break the company's network, each with what the product must say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.emulators.azure_openai import Recorded, Reply


@dataclass(frozen=True)
class Break:
    """``code`` and ``setting``: of the error that it leads to. ``reply``: what Azure OpenAI answers; without it the `Company` is built otherwise."""

    means: str
    code: str
    setting: str
    reply: Callable[[Recorded], Reply | None] = lambda _: None


def _refused(_: Recorded) -> Reply:
    return Reply(401, {"error": {"code": "401", "message": "Access denied."}})


def _no_room(request: Recorded) -> Reply | None:
    return Reply(429, {"error": {"code": "429", "message": "Requests exceed the rate limit."}}, {"retry-after": "1"}) if request.body.get("stream") else None


def _slow(request: Recorded) -> Reply | None:
    return Reply(delay_s=600) if request.body.get("stream") else None


def _dropped(request: Recorded) -> Reply | None:
    return Reply(cut_after=3) if request.body.get("stream") else None


BREAKS = {
    "wrong-ca": Break("ca.pem holds another authority than the one that signed the servers' certificates", "tls", "network.ca_bundle"),
    "expired-certificate": Break("the certificate of openai.company.test has expired", "tls", "chat.api_base"),
    "wrong-name": Break("the certificate of openai.company.test is for another name", "tls", "chat.api_base"),
    "no-client-certificate": Break("config.ini names no client certificate, which gateway.company.test demands", "tls", "network.client_certificate"),
    "expired-identity": Break("the certificate of the application has expired", "configuration", "azure.certificate_path"),
    "unknown-identity": Break("Entra ID does not know the certificate of the application", "identity", "azure.certificate_path"),
    "proxy-password": Break("config.ini has a wrong password for the proxy (407)", "unreachable", "network.proxy_username"),
    "proxy-forbids": Break("the proxy forbids the way to openai.company.test (403)", "unreachable", "network.proxy"),
    "401": Break("Azure OpenAI refuses every token", "model-credentials", "azure.scope", _refused),
    "429": Break("the chat model has no room, for a second at a time", "overloaded", "chat.max_retries", _no_room),
    "slow": Break("the first byte of an answer takes ten minutes", "deadline", "chat.timeout_s", _slow),
    "dropped-stream": Break("each streamed answer breaks off after three events", "stream-interrupted", "chat.api_base", _dropped),
}
