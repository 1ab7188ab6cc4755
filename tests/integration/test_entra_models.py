"""Models under an identity, and what never leaks."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    IdentityError,
    MissingExtraError,
    ModelCredentialsError,
    RagError,
    ServiceUnavailableError,
)
from src.infra.azure_auth import make_token_provider
from src.infra.azure_auth.certificates import read_certificate
from src.infra.config import AzureCfg
from src.infra.providers.key_fallback import ChatWithKeyFallback
from tests.emulators.azure_openai import KEY, Reply
from tests.emulators.certificates import issue, rsa_key
from tests.emulators.entra import EntraReply
from tests.integration.agent_parts import ScriptedChat, agent_over, events_of, number_of
from tests.integration.entra_world import PASSWORD, SECRET, World, failure


class TestModels:
    async def test_chat_and_embeddings_use_one_identity_and_one_token(self, world: World) -> None:
        async with world.resources() as resources:
            answers = await asyncio.gather(
                resources.chat.generate("hello"), resources.embedder.embed(["a"]), *(resources.chat.generate("again") for _ in range(20))
            )
            assert answers[0].content
            assert answers[0].degraded == ()
        assert world.entra.token_requests == 1
        assert all("api-key" not in request.headers for request in world.openai.requests)

    async def test_a_refused_token_is_replaced_once_and_the_request_repeated_once(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            before = len(world.openai.requests)
            assert (await resources.chat.generate("hello")).content
            assert len(world.openai.requests) - before == 2
            assert world.entra.token_requests == 2
            world.entra.revoke_all()
            assert len([piece async for piece in resources.chat.stream("hello")]) > 1
            world.entra.revoke_all()
            assert (await resources.embedder.embed(["a"])).shape == (1, world.openai.dims)

    async def test_many_refusals_of_one_token_bring_one_new_one(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            answers = await asyncio.gather(*(resources.chat.generate("hello") for _ in range(30)))
            assert all(answer.content for answer in answers)
        assert world.entra.token_requests == 2

    async def test_a_token_that_is_refused_twice_is_an_error_of_this_servers_credential(self, world: World) -> None:
        world.openai.problem_of = lambda _token: "revoked"
        async with world.resources() as resources:
            with pytest.raises(ModelCredentialsError, match="neither the identity's token nor a new one") as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.scope"
        assert len(world.openai.requests) == 2
        assert world.entra.token_requests == 2

    async def test_an_identity_that_fails_while_a_token_is_replaced_is_what_is_told(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            world.app.certificates.clear()
            with pytest.raises(IdentityError) as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.certificate_path"

    async def test_the_clients_own_repeats_do_not_hide_what_the_identity_says(self, world: World) -> None:
        async with world.resources(chat={"max_retries": 2}) as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            world.app.certificates.clear()
            with pytest.raises(IdentityError):
                await resources.chat.generate("hello")
            with pytest.raises(IdentityError):
                [piece async for piece in resources.chat.stream("hello")]

    async def test_a_key_beside_an_identity_is_not_used_unless_that_is_allowed(self, world: World) -> None:
        world.app.certificates.clear()
        async with world.resources(azure_openai={"api_key": KEY}) as resources:
            with pytest.raises(IdentityError):
                await resources.chat.generate("hello")
            assert not (await resources.health.check_all()).ready
        assert world.openai.requests == []

    async def test_an_allowed_key_stands_in_and_the_answer_says_so(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.app.certificates.clear()
        keys = {"azure_openai": {"api_key": KEY}, "azure": {"allow_api_key_fallback": True}}
        async with world.resources(**keys) as resources:
            answer = await resources.chat.generate("hello")
            pieces = [piece async for piece in resources.chat.stream("hello")]
            assert (await resources.embedder.embed(["a"])).shape == (1, world.openai.dims)
            health = {component.name: component for component in (await resources.health.check_all()).components}
            assert resources.embedder.degraded == answer.degraded
        assert answer.degraded == ("the API key stood in for the Azure identity (identity)",)
        assert pieces[0].degraded == answer.degraded
        assert pieces[-1].finish_reason == "stop"
        assert "stands in" in caplog.text
        assert (health["identity"].status, health["identity"].required) == ("unhealthy", False)

    async def test_a_key_that_may_stand_in_does_not_where_the_identity_serves(self, world: World) -> None:
        async with world.resources(azure_openai={"api_key": KEY}, azure={"allow_api_key_fallback": True}) as resources:
            assert (await resources.chat.generate("hello")).degraded == ()
            world.openai.script.append(Reply(503, {}))
            with pytest.raises(ServiceUnavailableError):
                await resources.chat.generate("hello")
        assert all("api-key" not in request.headers for request in world.openai.requests)

    async def test_a_profile_that_asks_for_a_certificate_names_the_key_where_there_is_none(self, world: World) -> None:
        keys = {"environment": {"cloud_profile": "jpmc_azure"}, "azure": {"certificate_path": None}, "network": {"proxy": "", "ca_bundle": world.ca_file}}
        async with world.resources(azure_openai={"api_key": KEY}, **keys) as resources:
            with pytest.raises(ConfigurationError) as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.certificate_path"

    async def test_health_tells_of_the_identity_and_of_a_certificate_near_its_end(self, world: World) -> None:
        ending = issue(key=rsa_key(3), ends=timedelta(days=20))
        ending.written(world.certificate)
        world.app.certificates[:] = [ending.certificate]
        async with world.resources() as resources:
            health = await resources.health.check_all()
        found = {component.name: component for component in health.components}
        assert found["identity"].status == "healthy"
        assert found["certificate"].status == "unhealthy"
        assert "expires in 20 days" in found["certificate"].message
        assert not found["certificate"].required


async def test_the_answer_tells_that_a_key_stood_in(tmp_path: Path, model_cache: Path) -> None:
    class NoToken:
        async def token(self) -> str:
            raise IdentityError("refused")

        def invalidate(self, token: str) -> bool:
            return False

    by_key = ScriptedChat(lambda content: [f"Crews reach most customers within 90 minutes [{number_of(content, 'Crews')}]."])
    chat = ChatWithKeyFallback(ScriptedChat(lambda _content: ["never asked"]), by_key, NoToken())
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):  # type: ignore[arg-type] - it takes any chat model
        _tokens, others = await events_of(agent, "How long until a crew reaches customers?")
    assert others[-1].answer.degraded == ("the API key stood in for the Azure identity (identity)",)


class TestNothingLeaks:
    async def test_no_secret_is_in_a_log_an_error_a_repr_or_a_traceback(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        path = world.issued.written(world.folder / "id.pfx", PASSWORD)
        said: list[str] = []
        echo = {"error": "invalid_client", "error_description": f"AADSTS7000215: {SECRET} {PASSWORD}", "access_token": "canary-token"}
        plain, half = {"certificate_path": None, "client_secret": SecretStr(SECRET)}, {"certificate_path": path, "certificate_password": SecretStr(PASSWORD)}
        for keys in (plain, half):
            tokens = world.tokens(**keys)
            said += [repr(tokens), repr(tokens._identity), repr(vars(tokens))]
            assert await tokens.token()
            for reply in (EntraReply(401, echo), EntraReply(200, echo), EntraReply(429, echo), EntraReply(302, echo), EntraReply(200, b"canary-token")):
                world.entra.script.extend([reply] * 3)
                try:
                    await world.tokens(**keys, timeout_s=1).token()
                except RagError as error:
                    said += [str(error), repr(error), "".join(traceback.format_exception(error)), repr(error.__context__)]
                world.entra.script.clear()
        said += [repr(read_certificate(path, SecretStr(PASSWORD))), caplog.text, *(str(vars(record)) for record in caplog.records)]
        canaries = [SECRET, PASSWORD, "canary-token", "PRIVATE KEY", *world.entra.issued]
        assert [(canary, text) for canary in canaries for text in said if canary in text] == []


def test_configuring_an_identity_reads_and_connects_nothing(world: World) -> None:
    world.certificate.unlink()
    world.tokens()
    assert make_token_provider(AzureCfg(), world.network()) is None
    assert world.entra.connections == 0


def test_without_the_extra_the_first_token_names_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    error = failure(world.tokens())
    assert isinstance(error, MissingExtraError)
    assert "founders-rag[azure]" in error.hint


def test_only_models_on_azure_get_tokens(world: World) -> None:
    resources = world.resources(chat={"provider": "openai", "api_base": world.openai.url + "/v1"}, embed={"provider": "local"})
    with resources, pytest.raises(ConfigurationError, match="has no credential"):
        asyncio.run(resources.chat.generate("hello"))
    assert world.entra.token_requests == 0
