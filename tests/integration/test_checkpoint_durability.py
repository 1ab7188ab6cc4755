"""A run that is killed goes on where it was: each step is on the disk before the next begins."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph._internal._constants import CONFIG_KEY_DURABILITY as LANGGRAPHS_KEY
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import create_langgraph_config, get_checkpointer_and_store
from src.infra.persistence.user_context import CONFIG_KEY_DURABILITY
from tests.integration.postgres_parts import Said, config

STEPS = ("one", "two", "three", "four", "five")

RUNS = """
import sys
from tests.integration.test_checkpoint_durability import run, settings_of
run(settings_of(sys.argv[1], sys.argv[2]), wait_in=sys.argv[3] or None)
"""


def settings_of(backend: str, place: str) -> Settings:
    if backend == "postgres":
        return Settings(persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(place)))
    return Settings(storage=StorageCfg(path=Path(place)), persistence=PersistenceCfg(backend="sqlite"))


def run(settings: Settings, wait_in: str | None) -> None:
    """Five steps that print their names; in one of them it waits to be killed. A thread that was begun goes on."""
    checkpointer, _ = get_checkpointer_and_store(settings)
    graph = StateGraph(Said)
    for before, name in zip((START, *STEPS), STEPS, strict=False):

        def step(state: Said, name: str = name) -> Said:
            print(name, flush=True)
            if name == wait_in:
                sys.stdin.read()
            return {"turns": [name]}

        graph.add_node(name, step)
        graph.add_edge(before, name)
    graph.add_edge(STEPS[-1], END)
    compiled: Any = graph.compile(checkpointer=checkpointer)
    begun = compiled.get_state(config()).next
    print(compiled.invoke(None if begun else {}, config())["turns"], flush=True)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def test_a_killed_run_repeats_no_step_but_the_one_it_was_in(backend: str, tmp_path: Path, root: Path, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres") if backend == "postgres" else None
    place = server.dsn(server.database()) if server else str(tmp_path)
    done: list[str] = []
    for victim in ("three", "four", ""):
        with subprocess.Popen(
            [sys.executable, "-c", RUNS, backend, place, victim], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                done.append(line.strip())
                if line.strip() == victim:
                    process.kill()
    assert done == ["one", "two", "three", "three", "four", "four", "five", str(list(STEPS))]


class SlowSaver(InMemorySaver):
    def put(self, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return super().put(*arguments, **named)


@pytest.mark.parametrize(("durability", "saved"), [(None, 2), ("exit", 0)])
def test_a_step_is_saved_before_the_next_begins_unless_the_caller_says_otherwise(durability: str | None, saved: int) -> None:
    assert CONFIG_KEY_DURABILITY == LANGGRAPHS_KEY
    saver, seen = SlowSaver(), []
    graph = StateGraph(Said)
    graph.add_node("one", lambda _: {"count": 1})
    graph.add_node("two", lambda _: seen.append(len(saver.storage["t1"].get("", {}))) or {"count": 2})
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    graph.add_edge("two", END)
    graph.compile(checkpointer=saver).invoke({}, config(), **({"durability": durability} if durability else {}))  # type: ignore[arg-type] - one of LangGraph's words
    assert seen[0] >= saved if saved else seen[0] == 0


async def test_the_config_serves_graphs_without_a_checkpointer_where_it_asks_for_nothing_durable() -> None:
    """`create_langgraph_config` says so; the last lines tell when LangGraph mends it and the sentence can go."""
    builder = StateGraph(Said)
    builder.add_node("one", lambda _: {"count": 1})
    builder.add_edge(START, "one")
    durable = create_langgraph_config({"user_id": "anne"}, "t1")
    for checkpointer in (None, False, InMemorySaver()):
        graph = builder.compile(checkpointer=checkpointer)
        plain = create_langgraph_config({"user_id": "anne"}, "t1", durability=None)
        assert graph.invoke({}, plain)["count"] == (await graph.ainvoke({}, plain))["count"] == 1
        if checkpointer:
            assert graph.invoke({}, durable)["count"] == (await graph.ainvoke({}, durable))["count"] == 1
            continue
        with pytest.raises(AttributeError, match="_put_checkpoint_fut"):
            graph.invoke({}, durable)
        with pytest.raises(AttributeError, match="_put_checkpoint_fut"):
            graph.invoke({}, {"configurable": {"thread_id": "t1"}}, durability="sync")
