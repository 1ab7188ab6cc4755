"""SQLite keeps a value of a checkpoint once for each of its versions, and reads what LangGraph's own checkpointer wrote."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from src.errors import StorageCorruptError
from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import THREADS_FILE, build_checkpointer
from tests.integration.postgres_parts import Said, config, graph_on

LONG = "word " * 100


class Notes(TypedDict, total=False):
    said: Annotated[list[str], operator.add]
    note: str


def notes_graph(checkpointer: Any, schema: Any = Notes) -> Any:
    graph = StateGraph(schema)
    for before, name in ((START, "one"), ("one", "two"), ("two", "three")):
        graph.add_node(name, lambda state, name=name: {"said": [f"{name} {LONG}"]} if name == "one" else {})
        graph.add_edge(before, name)
    graph.add_edge("three", END)
    return graph.compile(checkpointer=checkpointer)


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[Any]:
    made: Any = build_checkpointer(Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend="sqlite")))
    yield made
    made.close()


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / THREADS_FILE)) as connection:
        return connection.execute(query).fetchall()


def test_a_long_value_is_stored_once_for_each_version_and_short_ones_in_the_checkpoint(saver: Any, tmp_path: Path) -> None:
    graph = notes_graph(saver)
    for _ in range(3):
        graph.invoke({"note": "short"}, config())
    ((stored,),) = rows(tmp_path, "SELECT count(*) FROM checkpoint_blobs WHERE channel = 'said'")
    assert stored in (3, 4)  # one for each turn, and the empty list that the thread began with
    assert rows(tmp_path, "SELECT count(*) FROM checkpoint_blobs WHERE channel = 'note'") == [(0,)]
    assert max(length for (length,) in rows(tmp_path, "SELECT length(checkpoint) FROM checkpoints")) < 1200
    history = [len(state.values.get("said", [])) for state in graph.get_state_history(config())]
    assert history == sorted(history, reverse=True)
    assert {*history} == {0, 1, 2, 3}


def test_a_thread_that_langgraphs_own_checkpointer_began_goes_on(saver: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / THREADS_FILE, check_same_thread=False)) as connection:
        notes_graph(SqliteSaver(connection)).invoke({"note": "a" * 500}, config())
    graph = notes_graph(saver)
    assert graph.get_state(config()).values == {"said": [f"one {LONG}"], "note": "a" * 500}
    graph.invoke({}, config())
    assert graph.get_state(config()).values == {"said": [f"one {LONG}"] * 2, "note": "a" * 500}
    saver.prune(["t1"])
    assert graph.get_state(config()).values == {"said": [f"one {LONG}"] * 2, "note": "a" * 500}
    assert rows(tmp_path, "SELECT channel FROM checkpoint_blobs ORDER BY channel") == [("note",), ("said",)]


def test_a_value_that_is_missing_is_an_error_and_no_empty_conversation(saver: Any, tmp_path: Path) -> None:
    notes_graph(saver).invoke({}, config())
    with closing(sqlite3.connect(tmp_path / THREADS_FILE)) as connection:
        connection.execute("DELETE FROM checkpoint_blobs")
        connection.commit()
    with pytest.raises(StorageCorruptError, match="said"):
        notes_graph(saver).get_state(config())


def joined(before: list[str], writes: list[Any]) -> list[str]:
    return [*before, *(one for write in writes for one in write)]


class DeltaNotes(TypedDict, total=False):
    said: Annotated[list[str], DeltaChannel(joined)]
    note: str


def test_a_channel_that_becomes_one_of_langgraphs_delta_channels_keeps_what_it_held(saver: Any) -> None:
    notes_graph(saver).invoke({}, config())
    graph = notes_graph(saver, DeltaNotes)
    for _ in range(2):
        graph.invoke({}, config())
    assert graph.get_state(config()).values["said"] == [f"one {LONG}"] * 3
    with pytest.raises(NotImplementedError):
        saver.prune(["t1"])


def test_readers_see_whole_checkpoints_while_others_write_and_prune(saver: Any, tmp_path: Path) -> None:
    other: Any = build_checkpointer(Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend="sqlite")))
    graph, theirs = graph_on(saver), graph_on(other)
    graph.invoke(Said(), config())

    def write() -> None:
        for _ in range(40):
            graph.invoke(Said(), config())
            saver.prune_steps("t1", "latest")

    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            turns = theirs.get_state(config()).values["turns"]
            assert [turn["n"] for turn in turns] == [*range(1, len(turns) + 1)]
            seen.append(len(turns))
        writing.result()
    assert seen == sorted(seen)
    assert len(theirs.get_state(config()).values["turns"]) == 41
    other.close()
