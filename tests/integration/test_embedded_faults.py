"""What the embedded engine survives: kill -9, lost and damaged views, folders that cannot be written, full disks, corruption."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.core.identity import AccessScope, Identity, access_scope, system_scope
from src.core.search import AnyOf, SearchRequest
from src.errors import StorageCorruptError, StorageError
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.embedded.truth import FILE_NAME

from .embedded_writer import DIMS, EMBEDDER, item

SCRIPT = Path(__file__).with_name("embedded_writer.py")
SCOPE: AccessScope = access_scope(Identity("ann"))
NOBODY = 65534


def start(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), *arguments], stdout=subprocess.PIPE, text=True, **options)


def lines_of(folder: Path, *arguments: str, **options: Any) -> list[dict[str, Any]]:
    """Run to the end; what was printed."""
    process = start(folder, *arguments, **options)
    out, _ = process.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines()]


def engine_on(folder: Path) -> EmbeddedSearch:
    return EmbeddedSearch(folder, embedder=EMBEDDER, dims=DIMS)


async def filled(folder: Path, documents: int = 30) -> None:
    engine = engine_on(folder)
    await engine.write([item(f"doc{number}", number) for number in range(documents)])
    await engine.aclose()


async def check_whole(folder: Path) -> dict[str, int]:
    """Every document is whole and in both views, none double or half; returns the version of each."""
    engine = engine_on(folder)
    versions = {}
    cursor = None
    while True:
        page = await engine.list_documents(SCOPE, limit=50, cursor=cursor)
        for document in page.documents:
            assert document.id not in versions
            versions[document.id] = int(document.metadata["version"])  # type: ignore[arg-type]  # written as int
            chunks = await engine.get_chunks(document.id, SCOPE)
            expected = item(document.id, versions[document.id])
            assert chunks == expected.chunks
        cursor = page.next_cursor
        if cursor is None:
            break
    info = await engine.info()
    assert info.documents == len(versions)
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    wanted = Counter({key: len(item(key, version).chunks) for key, version in versions.items()})
    for mode in ("bm25", "knn"):
        found: Counter[str] = Counter()
        vector = item("probe", 1).vectors[0]
        request = SearchRequest("part0 part1 part2 part3 part4", mode=mode, vector=vector, top_k=10_000)  # type: ignore[arg-type]  # one of the modes
        for hit in (await engine.search(request, SCOPE)).hits:
            assert f"version{versions[hit.document_id]} " in hit.text
            found[hit.document_id] += 1
        assert found == wanted
    await engine.aclose()
    return versions


ROUNDS = [pytest.param(seed, marks=[] if seed <= 3 else pytest.mark.long) for seed in range(1, 21)]


@pytest.mark.parametrize("seed", ROUNDS)
async def test_kill_9_at_a_random_moment_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: dict[str, int] = {}
    doubtful: set[str] = set()
    for life in (2 * seed, 2 * seed + 1):  # the second one begins with what the first one's death left behind
        process = start(tmp_path, "endless", str(life))
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"ready": True}
        pause = rng.uniform(0.05, 2.0)
        killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep({pause}); os.kill({process.pid}, {signal.SIGKILL:d})"])
        for line in process.stdout:
            entry = json.loads(line) if line.endswith("\n") else {}
            acknowledged.update(entry.get("written", {}))
            doubtful -= set(entry.get("written", {}))
            if "deleting" in entry:
                doubtful.add(entry["deleting"])
            if "deleted" in entry:
                acknowledged.pop(entry["deleted"], None)
                doubtful.discard(entry["deleted"])
        assert process.wait() == -signal.SIGKILL
        killer.wait()
        process.stdout.close()
        versions = await check_whole(tmp_path)
        for key, version in acknowledged.items():
            if key not in doubtful:
                assert versions[key] >= version
        acknowledged, doubtful = dict(versions), set()


@pytest.mark.parametrize("view", ["lexical", "vector", "."])
async def test_a_view_deleted_while_closed_is_rebuilt(tmp_path: Path, view: str) -> None:
    await filled(tmp_path)
    shutil.rmtree(tmp_path / "views" / view)
    assert len(await check_whole(tmp_path)) == 30


@pytest.mark.parametrize("view", ["lexical", "vector", "."])
async def test_a_view_deleted_while_open_is_rebuilt(tmp_path: Path, view: str) -> None:
    await filled(tmp_path)
    engine = engine_on(tmp_path)
    before = await engine.search(SearchRequest("part0", mode="bm25"), SCOPE)
    shutil.rmtree(tmp_path / "views" / view)
    after = await engine.search(SearchRequest("part0", mode="bm25"), SCOPE)
    assert [hit.chunk_id for hit in after.hits] == [hit.chunk_id for hit in before.hits]
    assert (tmp_path / "views" / "lexical" / "position.json").exists()
    await engine.write([item("more", 77)])
    await engine.aclose()
    assert len(await check_whole(tmp_path)) == 31


def view_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "views").rglob("*") if path.is_file() and path.stat().st_size and not path.name.startswith("."))


@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "garbage"])
async def test_each_damaged_file_of_a_view_is_noticed_and_the_view_rebuilt(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    original = tmp_path / "original"
    await filled(original)
    for number, path in enumerate(view_files(original)):
        folder = tmp_path / f"{number}"
        shutil.copytree(original, folder)
        victim = folder / path.relative_to(original)
        data = bytearray(victim.read_bytes())
        if how == "flip":
            data[len(data) // 3] ^= 0x10
        damaged = {"flip": bytes(data), "truncate": bytes(data[: len(data) // 2]), "garbage": os.urandom(len(data)), "remove": b""}[how]
        victim.unlink()
        if how != "remove":
            victim.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level("INFO"):
            assert len(await check_whole(folder)) == 30
        # A change inside the spaces or numbers of position.json can leave a position that is merely older.
        assert "view" in caplog.text or victim.name == "position.json"


async def test_a_view_of_another_index_is_not_used(tmp_path: Path) -> None:
    await filled(tmp_path / "a", 30)
    await filled(tmp_path / "b", 10)
    shutil.rmtree(tmp_path / "b" / "views")
    shutil.copytree(tmp_path / "a" / "views", tmp_path / "b" / "views")
    assert len(await check_whole(tmp_path / "b")) == 10


async def test_an_older_index_put_back_gets_views_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await filled(folder, 10)
    shutil.copy(folder / "index.sqlite", tmp_path / "backup")
    engine = engine_on(folder)
    await engine.write([item(f"doc{number}", number + 100) for number in range(20)])
    await engine.aclose()
    shutil.copy(tmp_path / "backup", folder / "index.sqlite")
    assert len(await check_whole(folder)) == 10


async def test_an_index_taken_away_under_an_open_engine_is_not_written_into_the_void(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await filled(folder, 10)
    engine = engine_on(folder)
    await engine.write([item("before", 1)])
    assert (await engine.info()).documents == 11
    folder.rename(tmp_path / "gone")  # at once: the engine's own threads may still be tidying while a tree is removed file by file
    with pytest.raises(StorageError, match="gone"):
        await engine.info()
    await engine.write([item("after", 2)])
    assert (await engine.info()).documents == 1
    await engine.aclose()
    assert await check_whole(folder) == {"after": 2}


async def test_an_index_that_is_gone_is_an_outage_and_not_an_empty_result(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    server = engine_on(tmp_path)
    assert await server.count(system_scope()) > 0
    (tmp_path / FILE_NAME).rename(tmp_path / "moved")
    for engine in (server, engine_on(tmp_path)):  # one that had it open, and one that finds its views alone
        with pytest.raises(StorageError, match="gone"):
            await engine.search(SearchRequest("word", mode="bm25"), system_scope())
        with pytest.raises(StorageError, match="gone"):
            await engine.ping()
    (tmp_path / "moved").rename(tmp_path / FILE_NAME)
    assert await server.count(system_scope()) > 0
    await server.aclose()


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip_everywhere(data: bytearray) -> None:
    rng = random.Random(1)
    for start_of_page in range(4096, len(data), 4096):
        for at in rng.sample(range(4096), 64):
            data[min(start_of_page + at, len(data) - 1)] ^= 0xFF


def cut_in_half(data: bytearray) -> None:
    del data[len(data) // 2 :]


def cut_to_a_few_bytes(data: bytearray) -> None:
    del data[50:]


def cut_to_nothing(data: bytearray) -> None:
    data.clear()


def garbage_header(data: bytearray) -> None:
    data[:100] = os.urandom(100)


def not_a_database(data: bytearray) -> None:
    data[:] = b"hello\n" * 10_000


DAMAGE = [flip_everywhere, cut_in_half, cut_to_a_few_bytes, cut_to_nothing, garbage_header, not_a_database]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
async def test_a_corrupt_database_is_an_error_and_stays_as_it_is(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    await filled(tmp_path, 200)
    path = tmp_path / "index.sqlite"
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    engine = engine_on(tmp_path)
    with pytest.raises(StorageCorruptError, match="Nothing was overwritten"):
        await engine.write([item("new", 1)])
    with pytest.raises(StorageCorruptError):
        await engine.search(SearchRequest("part0 part1 part2 part3", mode="bm25", top_k=1000), SCOPE)
    await engine.aclose()
    assert path.read_bytes() == bytes(data)


async def test_a_flipped_bit_in_a_text_is_never_served(tmp_path: Path) -> None:
    await filled(tmp_path, 30)
    path = tmp_path / "index.sqlite"
    data = path.read_bytes()
    assert data.count(b"doc7 version7 part0") >= 1
    path.write_bytes(data.replace(b"doc7 version7 part0", b"doc7 version8 part0"))
    engine = engine_on(tmp_path)
    with pytest.raises(StorageCorruptError, match="checksum"):
        await engine.search(SearchRequest("version7 part0", mode="bm25", filters=(AnyOf("document_id", ("doc7",)),)), SCOPE)
    await engine.aclose()


@pytest.fixture
def without_permission(tmp_path: Path) -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Runs `attempt` on a folder as somebody who may read it and not write it."""
    pytests_own = [folder for folder in tmp_path.parents if Path(tempfile.gettempdir()) in folder.parents]
    for folder in [tmp_path, *pytests_own]:  # which it makes for its owner alone
        folder.chmod(0o755)
    paths: list[Path] = []

    def run(folder: Path) -> dict[str, Any]:
        if os.geteuid() == 0:  # permissions mean nothing to root: the process becomes another user
            return lines_of(folder, "attempt", str(NOBODY))[0]
        paths.extend([tmp_path, *tmp_path.rglob("*")])
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        return lines_of(folder, "attempt")[0]

    yield run
    for path in paths:
        path.chmod(0o755)


async def test_a_folder_that_cannot_be_written_still_answers_and_refuses_to_write(tmp_path: Path, without_permission: Callable[[Path], dict[str, Any]]) -> None:
    await filled(tmp_path)
    before = snapshot(tmp_path)
    outcome = without_permission(tmp_path)
    assert outcome["write"] == "StorageReadOnlyError"
    assert str(tmp_path) in outcome["message"]
    chunks = sum(len(item(f"doc{number}", number).chunks) for number in range(30))
    assert (outcome["hits"], outcome["views"]) == (30, {"lexical": chunks, "vector": chunks})
    assert snapshot(tmp_path) == before


async def test_a_folder_that_cannot_be_written_answers_from_memory_where_its_views_are_gone(
    tmp_path: Path, without_permission: Callable[[Path], dict[str, Any]]
) -> None:
    await filled(tmp_path)
    shutil.rmtree(tmp_path / "views")
    before = snapshot(tmp_path)
    outcome = without_permission(tmp_path)
    assert (outcome["hits"], outcome["write"]) == (30, "StorageReadOnlyError")
    assert snapshot(tmp_path) == before


async def test_a_new_index_in_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path, without_permission: Callable[[Path], dict[str, Any]]) -> None:
    outcome = without_permission(tmp_path / "new")
    assert outcome["write"] == "StorageReadOnlyError"
    assert outcome["hits"] == 0


@pytest.mark.parametrize("limit", [60_000, 400_000, 1_500_000])
async def test_a_reached_file_size_limit_is_a_clear_error_and_loses_nothing_acknowledged(tmp_path: Path, limit: int) -> None:
    if limit == 60_000:
        await filled(tmp_path, 5)
    lines = lines_of(tmp_path, "fill", str(limit))
    failed = [line for line in lines if "failed" in line]
    assert [line["failed"] for line in failed] == ["StorageFullError"]
    assert str(tmp_path) in failed[0]["message"]
    acknowledged = {key for line in lines for key in line.get("written", {})}
    engine = engine_on(tmp_path)
    known = set(await engine.content_hashes(sorted(acknowledged), "default"))
    assert known == acknowledged
    info = await engine.info()
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    await engine.write([item("goes on", 1)])
    await engine.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(mount)], check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


async def test_a_full_disk_is_a_clear_error_and_loses_nothing_acknowledged(small_disk: Path, tmp_path: Path) -> None:
    lines = lines_of(small_disk / "data", "fill", "0")
    assert [line["failed"] for line in lines if "failed" in line] == ["StorageFullError"]
    acknowledged = {key for line in lines for key in line.get("written", {})}
    shutil.copytree(small_disk / "data", tmp_path / "copy")
    engine = engine_on(tmp_path / "copy")
    assert set(await engine.content_hashes(sorted(acknowledged), "default")) == acknowledged
    info = await engine.info()
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    await engine.aclose()


async def test_resetting_takes_another_embedder_and_empties_the_views(tmp_path: Path) -> None:
    await filled(tmp_path)
    server = engine_on(tmp_path)
    assert (await server.info()).documents == 30
    other = EmbeddedSearch(tmp_path, embedder="other/1", dims=4)
    await other.reset()
    info = await other.info()
    assert (info.documents, info.chunks, info.views, info.embedder) == (0, 0, {"lexical": 0, "vector": 0}, "other/1")
    assert await other.count(system_scope()) == 0
    await other.aclose()
    await server.aclose()


async def test_files_of_a_commit_that_was_killed_halfway_are_not_in_the_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(tmp_path, 10)
    lexical = tmp_path / "views" / "lexical"
    before = {path: path.read_bytes() for path in [*lexical.glob("g*/meta.json"), lexical / "position.json"]}
    engine = engine_on(tmp_path)
    await engine.write([item("doc3", 103)])
    await engine.aclose()
    for path, data in before.items():  # as if the process had died between writing the files and announcing them
        path.write_bytes(data)
    with caplog.at_level("WARNING"):
        assert (await check_whole(tmp_path))["doc3"] == 103
    assert not caplog.records


async def test_a_lexical_commit_ahead_of_its_position_is_made_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(tmp_path, 10)
    position = tmp_path / "views" / "lexical" / "position.json"
    before = position.read_bytes()
    engine = engine_on(tmp_path)
    await engine.write([item("doc3", 103), item("new", 5)])
    await engine.aclose()
    position.write_bytes(before)
    with caplog.at_level("WARNING"):
        assert len(await check_whole(tmp_path)) == 11
    assert not caplog.records
