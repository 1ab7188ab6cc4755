"""What is kept of answers for a while, on every backend: claimed once, read in order, gone in time and with its thread or user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from src.core.identity import Identity
from src.errors import StorageCorruptError
from src.infra.config import Settings, StorageCfg
from src.infra.persistence import get_checkpointer_and_store
from src.infra.persistence.journal import MAX_ENTRIES, Addition, Entry, Journal, Key, journal_of
from src.infra.persistence.journal.sealed import SealedJournal
from src.infra.persistence.retention import Retention
from src.infra.persistence.threads import ThreadService
from tests.contract.persisted import BACKENDS, own_settings

ANNE = Identity("anne", "acme")
KEY = Key("acme", "anne", "run:1")
LONG = 600.0


@pytest.fixture(params=BACKENDS)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    settings = own_settings(request, tmp_path)
    checkpointer, _ = get_checkpointer_and_store(settings)
    yield journal_of(settings, checkpointer)
    if hasattr(checkpointer, "aclose"):
        await checkpointer.aclose()


async def test_a_key_is_claimed_by_one_alone_and_its_parts_are_read_in_order(journal: Journal) -> None:
    claims = await asyncio.gather(*(journal.begin(KEY, b"head", LONG) for _ in range(8)))
    assert sorted(claims) == [False] * 7 + [True]
    assert await journal.append(KEY, [(2, b"two"), (1, b"one")], LONG)
    assert await journal.append(KEY, [(3, b"\0\xff")], LONG)
    assert await journal.read(KEY) == Entry(b"head", ((1, b"one"), (2, b"two"), (3, b"\0\xff")))
    assert await journal.read(KEY, 2) == Entry(b"head", ((3, b"\0\xff"),))
    assert await journal.read(KEY, 9) == Entry(b"head", ())


async def test_parts_of_several_entries_are_added_at_once_and_those_that_are_gone_passed_over(journal: Journal) -> None:
    other, gone = Key("acme", "bob", "run:2"), Key("acme", "anne", "run:3")
    for key in (KEY, other):
        await journal.begin(key, b"head", 1.0)
    await journal.append_all([Addition(gone, [(1, b"x")], LONG), Addition(KEY, [(1, b"one"), (2, b"two")], LONG, "t1"), Addition(other, [], -1.0)])
    assert await journal.read(KEY) == Entry(b"head", ((1, b"one"), (2, b"two")))
    assert await journal.read(other) is None
    assert await journal.read(gone) is None
    await journal.forget_thread("t1")
    assert await journal.read(KEY) is None


async def test_what_is_not_there_is_not_written_to(journal: Journal) -> None:
    assert not await journal.append(KEY, [(1, b"one")], LONG)
    assert await journal.read(KEY) is None
    await journal.remove(KEY)
    await journal.begin(KEY, b"", LONG)
    await journal.append(KEY, [(1, b"one")], LONG)
    await journal.remove(KEY)
    assert await journal.read(KEY) is None
    assert await journal.begin(KEY, b"again", LONG)
    assert await journal.read(KEY) == Entry(b"again", ())


async def test_an_entry_past_its_time_is_not_there_and_its_key_is_free(journal: Journal) -> None:
    await journal.begin(KEY, b"old", LONG)
    await journal.append(KEY, [(1, b"one")], -1.0)
    assert await journal.read(KEY) is None
    assert not await journal.append(KEY, [], LONG)
    assert await journal.begin(KEY, b"new", LONG)
    assert await journal.read(KEY) == Entry(b"new", ())


async def test_entries_are_of_their_users_alone(journal: Journal) -> None:
    others = [Key("acme", "bob", "run:1"), Key("other", "anne", "run:1")]
    for key in (KEY, *others):
        assert await journal.begin(key, key.user.encode(), LONG)
    assert await journal.forget_user("acme", "anne") == 1
    assert await journal.read(KEY) is None
    assert [entry.head for key in others if (entry := await journal.read(key))] == [b"bob", b"anne"]


async def test_what_was_answered_in_a_thread_goes_with_it(journal: Journal) -> None:
    other, begun = Key("acme", "anne", "run:2"), Key("acme", "anne", "run:3")
    await journal.begin(begun, b"", LONG, "t1")
    for key, thread in ((KEY, "t1"), (other, "t2")):
        await journal.begin(key, b"", LONG)
        await journal.append(key, [(1, b"one")], LONG, thread)
        await journal.append(key, [], LONG)
    await journal.forget_thread("t1")
    assert [await journal.read(KEY), await journal.read(begun)] == [None, None]
    assert await journal.read(other) is not None


async def test_of_one_user_the_oldest_give_way(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory", "sqlite", "postgres"):
        monkeypatch.setattr(f"src.infra.persistence.journal.{module}.MAX_ENTRIES", 3)
    assert MAX_ENTRIES > 100
    keys = [Key("acme", "anne", f"run:{n}") for n in range(5)]
    bob = Key("acme", "bob", "run:0")
    await journal.begin(bob, b"", LONG)
    for key in keys:
        assert await journal.begin(key, b"", LONG)
    assert [await journal.read(key) is not None for key in keys] == [False, False, True, True, True]
    assert await journal.read(bob) is not None
    assert not await journal.begin(keys[2], b"", LONG)


@pytest.mark.parametrize("journal", ["sqlite-sealed", "postgres-sealed"], indirect=True)
async def test_sealed_entries_hold_no_readable_text_and_plain_ones_are_refused(journal: Journal) -> None:
    assert isinstance(journal, SealedJournal)
    await journal.begin(KEY, b"canary-head", LONG)
    await journal.append(KEY, [(1, b"canary-part")], LONG)
    inside = journal._inner
    assert b"canary" not in repr(await inside.read(KEY)).encode()
    await inside.append(KEY, [(2, b"msgpack\nplain")], LONG)
    with pytest.raises(StorageCorruptError):
        await journal.read(KEY)


async def test_a_thread_that_is_deleted_and_a_user_that_is_erased_take_their_answers_along(tmp_path: Path) -> None:
    settings = Settings(storage=StorageCfg(path=tmp_path))
    checkpointer, store = get_checkpointer_and_store(settings)
    threads = ThreadService(settings, checkpointer)
    for number in range(2):
        async with threads.turn(None, ANNE, "How many days?") as thread_id:
            await threads.finished(thread_id, 1)
        key = Key(ANNE.tenant, ANNE.user, f"run:{number}")
        await threads.journal.begin(key, b"", LONG)
        await threads.journal.append(key, [(1, b"answer")], LONG, thread_id)
        if number == 0:
            await threads.delete(thread_id, ANNE)
        else:
            await threads.journal.begin(Key(ANNE.tenant, ANNE.user, "idem:x"), b"", LONG)
            await Retention(threads, store, settings.persistence).erase(ANNE.tenant, ANNE.user)
    for name in ("run:0", "run:1", "idem:x"):
        assert await threads.journal.read(Key(ANNE.tenant, ANNE.user, name)) is None
    await checkpointer.aclose()  # type: ignore[attr-defined] - ours has it
    await store.aclose()  # type: ignore[attr-defined] - ours has it
