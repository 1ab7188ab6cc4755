"""Feedback on every backend: the caller's own answers alone, gone with its thread or user, sealed as the threads are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from src.core.chat import Citation, Turn
from src.core.identity import Identity
from src.errors import InputError, NotFoundError, StorageCorruptError
from src.infra.config import Settings
from src.infra.persistence import get_checkpointer_and_store
from src.infra.persistence.feedback import COMMENT_CHARS, PAGE, FeedbackRecords, FeedbackService
from src.infra.persistence.retention import Retention
from src.infra.persistence.sealing import SealedSerializer
from src.infra.persistence.threads import ThreadService
from src.infra.persistence.turns import save_turns, turn_to_dict
from tests.contract.persisted import BACKENDS, own_settings

ANNE, BOB, ELSEWHERE = Identity("anne.smith@acme.example", "acme"), Identity("bob", "acme"), Identity("anne.smith@acme.example", "other")
COMMENT = "canary-comment-about-salaries"


@dataclass
class Parts:
    settings: Settings
    checkpointer: Any
    store: Any
    threads: ThreadService
    records: FeedbackRecords
    service: FeedbackService

    async def thread(self, who: Identity = ANNE, turns: int = 1) -> str:
        async with self.threads.turn(None, who, "How many days?") as thread_id:
            await save_turns(self.checkpointer, thread_id, [turn_to_dict(a_turn(number)) for number in range(1, turns + 1)], who)
            await self.threads.finished(thread_id, turns)
        return thread_id

    async def everything(self, tenant: str | None = None) -> list[tuple[str, str]]:
        return sorted([(one.tenant, one.message_id) async for one in self.records.everything(tenant)])


def a_turn(number: int) -> Turn:
    cited = tuple(Citation(place, f"c{place}", name, "T", "/t", "quote", 0.5) for place, name in enumerate(("leave.md", "leave.md", "pay.md"), start=1))
    return Turn(
        f"m{number}", "How many days?", "Thirty [1].", cited, False, (), "2026-11-21T10:00:00Z", retrieved=("leave.md", "x.md"), versions={"chat": "gpt-4"}
    )


@pytest.fixture(params=BACKENDS)
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parts]:
    settings = own_settings(request, tmp_path)
    checkpointer, store = get_checkpointer_and_store(settings)
    records = FeedbackRecords(store, checkpointer.serde)
    threads = ThreadService(settings, checkpointer, [records])
    yield Parts(settings, checkpointer, store, threads, records, FeedbackService(threads, records))
    for part in (checkpointer, store):
        if hasattr(part, "aclose"):
            await part.aclose()


async def test_what_is_kept_says_what_it_takes_to_learn_from_it_and_the_last_word_counts(parts: Parts) -> None:
    thread_id = await parts.thread()
    await parts.service.give(thread_id, "m1", ANNE, "down", COMMENT)
    given = await parts.service.give(thread_id, "m1", ANNE, "up", "  better now ")
    assert await parts.service.of_thread(thread_id, ANNE) == [given]
    assert (given.rating, given.comment, given.question) == ("up", "better now", "How many days?")
    assert (given.retrieved, given.cited, dict(given.versions)) == (("leave.md", "x.md"), ("leave.md", "pay.md"), {"chat": "gpt-4"})
    assert [one async for one in parts.records.everything()] == [given]
    await parts.service.withdraw(thread_id, "m1", ANNE)
    await parts.service.withdraw(thread_id, "m1", ANNE)
    assert await parts.service.of_thread(thread_id, ANNE) == []


async def test_what_was_said_of_an_answer_that_was_replaced_stays_until_it_is_taken_back(parts: Parts) -> None:
    thread_id = await parts.thread(turns=2)
    await parts.service.give(thread_id, "m2", ANNE, "down", COMMENT)
    await save_turns(parts.checkpointer, thread_id, [turn_to_dict(a_turn(number)) for number in (1, 3)], ANNE)
    assert [one.message_id for one in await parts.service.of_thread(thread_id, ANNE)] == ["m2"]
    with pytest.raises(NotFoundError):
        await parts.service.give(thread_id, "m2", ANNE, "up")
    with pytest.raises(NotFoundError):
        await parts.service.withdraw(thread_id, "m2", BOB)
    await parts.service.withdraw(thread_id, "m2", ANNE)
    assert await parts.everything() == []
    with pytest.raises(NotFoundError):
        await parts.service.withdraw(thread_id, "m2", ANNE)


@pytest.mark.parametrize("stranger", [BOB, ELSEWHERE])
async def test_a_foreign_answer_is_like_one_that_does_not_exist(parts: Parts, stranger: Identity) -> None:
    thread_id = await parts.thread()
    await parts.service.give(thread_id, "m1", ANNE, "up")
    for attempt in (
        parts.service.give(thread_id, "m1", stranger, "down"),
        parts.service.of_thread(thread_id, stranger),
        parts.service.withdraw(thread_id, "m1", stranger),
        parts.service.give(thread_id, "m2", ANNE, "down"),
        parts.service.withdraw("01890000-0000-7000-8000-000000000000", "m1", ANNE),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert [one.rating for one in await parts.service.of_thread(thread_id, ANNE)] == ["up"]


@pytest.mark.parametrize(("rating", "comment"), [("good", ""), ("", ""), ("up", "x" * (COMMENT_CHARS + 1)), ("up", "a\0b")])
async def test_what_is_no_feedback_is_refused_and_what_was_there_stays(parts: Parts, rating: str, comment: str) -> None:
    thread_id = await parts.thread()
    await parts.service.give(thread_id, "m1", ANNE, "down")
    with pytest.raises(InputError):
        await parts.service.give(thread_id, "m1", ANNE, rating, comment)
    assert [one.rating for one in await parts.service.of_thread(thread_id, ANNE)] == ["down"]


async def test_it_goes_with_its_thread_and_with_its_user_and_with_nothing_else(parts: Parts) -> None:
    first, second = await parts.thread(), await parts.thread()
    others = {who: await parts.thread(who) for who in (BOB, ELSEWHERE)}
    for thread_id, who in ((first, ANNE), (second, ANNE), *((thread_id, who) for who, thread_id in others.items())):
        await parts.service.give(thread_id, "m1", who, "up", COMMENT)
    assert len(await parts.everything()) == 4
    await parts.threads.delete(first, ANNE)
    assert len(await parts.everything("acme")) == 2
    await Retention(parts.threads, parts.store, parts.settings.persistence).erase(ANNE.tenant, ANNE.user)
    assert await parts.everything() == [("acme", "m1"), ("other", "m1")]
    assert len(await parts.service.of_thread(others[BOB], BOB)) == 1


async def test_tenants_whose_names_begin_alike_are_told_apart(parts: Parts) -> None:
    for tenant in ("acme", "acme2", "acm_", "acme.eu"):
        who = replace(ANNE, tenant=tenant)
        await parts.service.give(await parts.thread(who), "m1", who, "up")
    assert await parts.everything("acme") == [("acme", "m1")]
    assert await parts.everything("acm_") == [("acm_", "m1")]
    assert await parts.everything("acme.eu") == [("acme.eu", "m1")]


async def test_more_than_a_page_is_read_whole(parts: Parts) -> None:
    thread_id = await parts.thread(turns=1)
    one = await parts.service.give(thread_id, "m1", ANNE, "up")
    for number in range(2, PAGE + 3):
        await parts.records.put(replace(one, message_id=f"m{number}"))
    assert len(await parts.everything()) == PAGE + 2
    assert len(await parts.service.of_thread(thread_id, ANNE)) == PAGE + 2
    await parts.threads.delete(thread_id, ANNE)
    assert await parts.everything() == []


async def test_where_threads_are_sealed_so_is_feedback(parts: Parts) -> None:
    if not isinstance(parts.checkpointer.serde, SealedSerializer):
        return
    thread_id = await parts.thread()
    await parts.service.give(thread_id, "m1", ANNE, "down", COMMENT)
    stored = [item.value for item in await parts.store.asearch(("users",))]
    assert stored
    assert COMMENT not in repr(stored)
    assert "days" not in repr(stored)
    place = tuple((await parts.store.asearch(("users",)))[0].namespace)
    await parts.store.aput(place, "m1", {"thread_id": thread_id, "comment": "put there by somebody"})
    with pytest.raises(StorageCorruptError):
        await parts.service.of_thread(thread_id, ANNE)
