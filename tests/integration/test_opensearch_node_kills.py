"""A node that is killed while it is written to: what was acknowledged is there once, whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from src.errors import ServiceUnavailableError
from src.infra.search.protocol import DocumentWrite
from tests.contract.search.builders import MEMBER, write
from tests.integration.opensearch_store import Store, everything
from tests.servers.opensearch.node import OpenSearchNode

MakeNode = Callable[..., OpenSearchNode]


@dataclass
class Journal:
    """What writers were told, and what they were waiting for when the server went away."""

    held: dict[str, DocumentWrite | None] = field(default_factory=dict)
    """The last acknowledged state; None where a delete was acknowledged."""
    open: dict[str, DocumentWrite | None] = field(default_factory=dict)

    def begin(self, group: dict[str, DocumentWrite | None]) -> None:
        self.open |= group

    def acknowledged(self, group: dict[str, DocumentWrite | None]) -> None:
        self.held |= group
        for key in group:
            del self.open[key]


async def keep_writing(store: Store, journal: Journal, name: str, rng: random.Random) -> None:
    """Write, replace and delete groups of this writer's own documents until the server is gone."""
    for turn in range(10_000):
        keys = rng.sample([f"{name}-{number:03d}" for number in range(60)], rng.randint(1, 15))
        group: dict[str, DocumentWrite | None]
        if turn % 5 == 4:
            group = dict.fromkeys(keys)
            journal.begin(group)
            await store.writer.delete(keys, MEMBER)
        else:
            group = {key: write(key, [f"{name} {turn} {at}" for at in range(rng.randint(0, 12))]) for key in keys}
            journal.begin(group)
            await store.writer.write([item for item in group.values() if item is not None])
        journal.acknowledged(group)


async def check_journal(store: Store, journal: Journal) -> None:
    for key, item in journal.held.items():
        if key in journal.open:
            continue
        found = await store.documents.get_document(key, MEMBER)
        assert found == (None if item is None else item.document), key
        assert await store.documents.get_chunks(key, MEMBER) == (() if item is None else item.chunks), key


async def kill_round(node: OpenSearchNode, alias: str, seed: int) -> tuple[int, int]:
    """Acknowledged documents, and those on their way when the node was killed."""
    rng, journal = random.Random(seed), Journal()
    store = Store.at(node.url, alias, bulk_actions=rng.choice([7, 40, 500]), max_retries=1, bulk_timeout_s=5)  # gives up soon
    writers = [asyncio.create_task(keep_writing(store, journal, f"{seed}-{name}", random.Random(seed * 10 + name))) for name in range(3)]
    while len(journal.held) < 40:  # an index that is being made has nothing to lose
        await asyncio.sleep(0.05)
    await asyncio.sleep(rng.uniform(0.0, 1.0))
    node.kill9()
    ended = await asyncio.gather(*writers, return_exceptions=True)
    await store.transport.aclose()
    assert all(isinstance(error, ServiceUnavailableError) for error in ended), ended
    await asyncio.to_thread(node.restart)

    store = Store.at(node.url, alias)
    try:
        await check_journal(store, journal)
        # What was on its way is written, or deleted, again: as a command that is run again does.
        again = {key: item for key, item in journal.open.items() if item is not None}
        gone = [key for key, item in journal.open.items() if item is None]
        await asyncio.gather(store.writer.write(list(again.values())), store.writer.delete(gone, MEMBER))
        journal.acknowledged(dict(journal.open))
        await check_journal(store, journal)
        assert await store.torn() == []
        wanted = {chunk.id for item in journal.held.values() if item is not None for chunk in item.chunks}
        entries = (await everything(store.transport, alias)).values()
        found = [entry["payload"]["id"] for entry in entries if entry["kind"] == "chunk" and str(entry["payload"]["document"]).startswith(f"{seed}-")]
        assert sorted(found) == sorted(wanted)
    finally:
        await store.transport.aclose()
    return len(journal.held), len(again) + len(gone)


async def test_a_node_that_is_killed_while_it_is_written_to_keeps_every_acknowledged_document_once(opensearch_node: MakeNode) -> None:
    node = opensearch_node("knn", "384m")
    for seed in (1, 2):
        await kill_round(node, "kills", seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_twenty_kills(opensearch_node: MakeNode) -> None:
    node = opensearch_node("knn", "384m")
    totals = [await kill_round(node, "kills", seed) for seed in range(100, 120)]
    print(f"{sum(held for held, _ in totals):,} documents acknowledged, {sum(open_ for _, open_ in totals):,} on their way, in {len(totals)} kills")
    assert sum(open_ for _, open_ in totals) > 0
