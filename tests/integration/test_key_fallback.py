"""An identity that is silent where a key may stand in: the key answers soon, and the identity is used again once it gives a token."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from src.core.chat import Message
from src.errors import UnreachableError
from src.infra.providers.key_fallback import SHORT_FOR_S, SHORT_S, ChatWithKeyFallback, EmbedderWithKeyFallback, Patience
from tests.emulators.azure_openai import KEY
from tests.emulators.entra import EntraReply
from tests.integration.agent_parts import ScriptedChat
from tests.integration.entra_world import World

HELLO = [Message("user", "hello")]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_after_a_wait_in_vain_the_next_are_short_until_half_a_minute_is_over_or_a_token_came() -> None:
    clock = Clock()
    patience = Patience(8.0, clock)
    assert patience.seconds == 2.0
    patience.spent(2.0)
    assert patience.seconds == SHORT_S
    clock.now += SHORT_FOR_S - 1
    patience.spent(SHORT_S)
    assert patience.seconds == SHORT_S
    clock.now += 1
    assert patience.seconds == 2.0
    patience.spent(2.0)
    patience.rewarded()
    assert patience.seconds == 2.0


@given(st.floats(0.01, 1000), st.lists(st.tuples(st.floats(0, 60), st.booleans()), max_size=30))
def test_no_call_waits_more_than_a_quarter_of_the_models_time(timeout_s: float, calls: list[tuple[float, bool]]) -> None:
    clock = Clock()
    patience = Patience(timeout_s, clock)
    last_given_up = -1000.0
    for pause_s, answered in calls:
        clock.now += pause_s
        wait_s = patience.seconds
        assert wait_s <= timeout_s / 4
        if clock.now < last_given_up + SHORT_FOR_S:
            assert wait_s <= SHORT_S
        if answered:
            patience.rewarded()
            last_given_up = -1000.0
        else:
            patience.spent(wait_s)
            last_given_up = clock.now if wait_s == timeout_s / 4 else last_given_up


class Silent:
    """An identity that answers when it is let."""

    hop = "https://login.test"
    last_error: Exception | None = None

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def token(self) -> str:
        await self.answers.wait()
        return "token"

    def invalidate(self, token: str) -> bool:
        return False


async def test_the_key_answers_for_an_identity_that_is_silent_and_the_answer_says_why() -> None:
    tokens = Silent()
    chat = ChatWithKeyFallback(ScriptedChat(lambda _content: [], "identity"), ScriptedChat(lambda _content: [], "key"), tokens, 0.2)
    async with asyncio.timeout(30):
        for _ in range(2):
            answer = await chat.generate(HELLO)
            assert (answer.content, answer.degraded) == ("key", ("the API key stood in for the Azure identity (deadline)",))
        tokens.last_error = UnreachableError("no way there")
        assert (await chat.generate(HELLO)).degraded == ("the API key stood in for the Azure identity (unreachable)",)
    tokens.answers.set()
    answer = await chat.generate(HELLO)
    assert (answer.content, answer.degraded) == ("identity", ())


async def test_an_authority_that_is_slow_costs_the_model_a_part_of_its_time_and_is_used_when_it_answers(world: World) -> None:
    world.entra.script.append(EntraReply(delay_s=2.0))
    keys: dict[str, dict[str, Any]] = {
        "azure_openai": {"api_key": KEY},
        "azure": {"allow_api_key_fallback": True},
        "chat": {"timeout_s": 2.0},
        "embed": {"timeout_s": 2.0},
    }
    async with world.resources(**keys) as resources:
        assert isinstance(resources.embedder, EmbedderWithKeyFallback)
        embedded = asyncio.create_task(resources.embedder.embed(["a"]))
        answers = await asyncio.gather(*(resources.chat.generate("hello") for _ in range(3)))
        await embedded
        assert resources.embedder.degraded
        assert {answer.degraded for answer in answers} == {("the API key stood in for the Azure identity (deadline)",)}
        assert all(request.headers.get("api-key") == KEY for request in world.openai.requests)
        async with asyncio.timeout(30):
            while resources.tokens is None or resources.tokens.expires_at is None:
                await asyncio.sleep(0.05)
        assert (await resources.chat.generate("hello")).degraded == ()
        await resources.embedder.embed(["a"])
        assert resources.embedder.degraded == ()
    assert "api-key" not in world.openai.requests[-1].headers
    assert world.entra.token_requests == 1
