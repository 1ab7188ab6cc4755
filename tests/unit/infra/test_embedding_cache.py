from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from src.errors import ResourceClosedError, ServiceUnavailableError
from src.infra.providers.embedding_cache import CachedEmbedder
from src.util.aio import run_sync

DIMS = 4


class CountingEmbedder:
    """A real, tiny embedder: the vector follows from the text. It records what it was asked."""

    def __init__(self, model: str = "tiny/1") -> None:
        self.model = model
        self.dims = DIMS
        self.asked: list[str] = []
        self.calls = 0
        self.closed = False
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        self.asked += texts
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return np.array([vector_of(text, self.model) for text in texts], np.float32).reshape(-1, DIMS)

    async def aclose(self) -> None:
        self.closed = True


def vector_of(text: str, model: str = "tiny/1") -> list[float]:
    crc = zlib.crc32(f"{model}{text}".encode("utf-8", "surrogatepass"))
    values = np.array([(crc >> (8 * place)) % 256 + 1 for place in range(DIMS)], np.float32)
    return list(values / np.linalg.norm(values))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "embeddings.sqlite"


async def ask(path: Path, texts: list[str], model: str = "tiny/1", max_entries: int = 100) -> list[str]:
    """Embed through a new cache over a new embedder; returns what the embedder was asked."""
    inner = CountingEmbedder(model)
    cache = CachedEmbedder(inner, path, max_entries)
    vectors = await cache.embed(texts)
    assert np.allclose(vectors, [vector_of(text, model) for text in texts])
    await cache.aclose()
    assert inner.closed
    return inner.asked


def entries(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
    connection.close()
    return int(count)


async def test_a_text_is_embedded_once_even_over_a_restart(path: Path) -> None:
    assert await ask(path, ["a", "b", "a"]) == ["a", "b"]
    assert await ask(path, ["b", "c", "a"]) == ["c"]
    assert await ask(path, ["c"]) == []


async def test_another_model_never_gets_these_vectors(path: Path) -> None:
    await ask(path, ["a"])
    assert await ask(path, ["a"], model="tiny/2") == ["a"]


async def test_the_text_itself_is_not_kept(path: Path) -> None:
    await ask(path, ["the secret salary of Ms Example"])
    for file in path.parent.iterdir():
        assert b"salary" not in file.read_bytes()


async def test_the_least_recently_used_leave_first(path: Path) -> None:
    await ask(path, ["a"], max_entries=3)
    await ask(path, ["b"], max_entries=3)
    await ask(path, ["c"], max_entries=3)
    await ask(path, ["a"], max_entries=3)
    await ask(path, ["d"], max_entries=3)
    assert entries(path) == 3
    assert await ask(path, ["a", "c", "d"], max_entries=3) == []
    assert await ask(path, ["b"], max_entries=3) == ["b"]


async def test_a_batch_over_the_limit_is_answered_and_cut_to_the_limit(path: Path) -> None:
    texts = [f"text {place}" for place in range(50)]
    assert await ask(path, texts, max_entries=10) == texts
    assert entries(path) == 10


async def test_identical_texts_at_once_are_embedded_once(path: Path) -> None:
    inner = CountingEmbedder()
    inner.gate = asyncio.Event()
    cache = CachedEmbedder(inner, path, 100)
    calls = [asyncio.ensure_future(cache.embed(["same", f"own {place}"])) for place in range(5)]
    while inner.calls < 5:
        await asyncio.sleep(0.001)
    inner.gate.set()
    results = await asyncio.gather(*calls)
    assert inner.asked.count("same") == 1
    assert all((result[0] == results[0][0]).all() for result in results)
    await cache.aclose()


async def test_when_the_one_who_embeds_is_cancelled_another_takes_over(path: Path) -> None:
    inner = CountingEmbedder()
    inner.gate = asyncio.Event()
    cache = CachedEmbedder(inner, path, 100)
    first = asyncio.ensure_future(cache.embed(["same"]))
    while not inner.calls:
        await asyncio.sleep(0.001)
    second = asyncio.ensure_future(cache.embed(["same"]))
    await asyncio.sleep(0.01)
    first.cancel()
    inner.gate.set()
    assert np.allclose(await second, [vector_of("same")])
    with pytest.raises(asyncio.CancelledError):
        await first
    await cache.aclose()


async def test_an_outage_reaches_everyone_who_waits_and_is_not_remembered(path: Path) -> None:
    inner = CountingEmbedder()
    inner.failure = ServiceUnavailableError("down")
    cache = CachedEmbedder(inner, path, 100)
    results = await asyncio.gather(cache.embed(["a"]), cache.embed(["a"]), return_exceptions=True)
    assert all(isinstance(result, ServiceUnavailableError) for result in results)
    inner.failure = None
    assert np.allclose(await cache.embed(["a"]), [vector_of("a")])
    await cache.aclose()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look like one" * 50, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_a_corrupt_file_is_set_aside_and_begun_anew(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert await ask(path, ["a"]) == ["a"]
    assert "begun anew" in caplog.text
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content
    await ask(path, ["a"])
    assert await ask(path, ["a"]) == []


async def test_a_page_that_rots_is_a_miss_or_a_new_file_never_a_wrong_vector(path: Path) -> None:
    texts = [f"text {place}" for place in range(400)]
    await ask(path, texts)
    data = bytearray(path.read_bytes())
    for place in range(4096 + 100, len(data), 997):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    await ask(path, texts)  # compares every vector with the right one


async def test_an_entry_of_the_wrong_length_or_sum_is_a_miss(path: Path) -> None:
    await ask(path, ["a", "b"])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE vectors SET vector = zeroblob(20) WHERE rowid = 1")
    connection.execute("UPDATE vectors SET vector = substr(vector, 2) WHERE rowid = 2")
    connection.commit()
    connection.close()
    assert await ask(path, ["a", "b"]) == ["a", "b"]
    assert await ask(path, ["a", "b"]) == []


async def test_a_file_of_another_shape_is_set_aside(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE vectors (name TEXT)")
    connection.close()
    assert await ask(path, ["a"]) == ["a"]
    assert await ask(path, ["a"]) in ([], ["a"])
    assert await ask(path, ["a"]) == []


async def test_where_nothing_can_be_written_it_embeds_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    inner = CountingEmbedder()
    cache = CachedEmbedder(inner, Path("/proc/nothing/embeddings.sqlite"), 100)
    with caplog.at_level(logging.WARNING):
        await cache.embed(["a"])
        await cache.embed(["b"])
        await cache.aclose()
    assert inner.asked == ["a", "b"]
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


async def test_a_busy_file_costs_entries_not_answers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.infra.providers.vector_file._WAIT_S", 0.01)
    await ask(path, ["a"])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await ask(path, ["a", "b"]) == ["b"]
    other.execute("ROLLBACK")
    other.close()
    assert await ask(path, ["b"]) == ["b"]


async def test_several_processes_share_one_file(path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nsys.path.insert(0, {here!r})\n"
        "from test_embedding_cache import ask\n"
        "asyncio.run(ask(Path({path!r}), [f'text {{place}}' for place in range({start}, {start} + 60)], max_entries=1000))"
    )
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(here=here, path=str(path), start=start)], cwd=Path(__file__).parents[3]) for start in (0, 40, 80)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert await ask(path, [f"text {place}" for place in range(140)], max_entries=1000) == []


async def test_it_works_from_several_event_loops(path: Path) -> None:
    cache = CachedEmbedder(CountingEmbedder(), path, 100)
    here = await cache.embed(["a", "b"])
    there = await asyncio.to_thread(lambda: run_sync(cache.embed(["b", "a"])))
    assert (here[::-1] == there).all()
    await cache.aclose()


async def test_a_caller_who_changes_a_result_changes_no_other(path: Path) -> None:
    cache = CachedEmbedder(CountingEmbedder(), path, 100)
    (await cache.embed(["a"]))[:] = 7
    assert np.allclose(await cache.embed(["a"]), [vector_of("a")])
    await cache.aclose()


async def test_after_close_it_is_an_error_and_closing_again_is_harmless(path: Path) -> None:
    cache = CachedEmbedder(CountingEmbedder(), path, 100)
    await cache.aclose()
    await cache.aclose()
    with pytest.raises(ResourceClosedError):
        await cache.embed(["a"])
    assert not path.exists(), "nothing is opened before the first text"
