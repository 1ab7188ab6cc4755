"""What the tests of PostgreSQL share."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

from src.infra.config import NetworkCfg, PersistenceCfg, Settings
from src.infra.persistence import create_langgraph_config


class Said(TypedDict, total=False):
    turns: Annotated[list[Any], operator.add]
    note: str
    count: int


def settings_for(dsn: str, network: NetworkCfg | None = None, **more: Any) -> Settings:
    return Settings(network=network or NetworkCfg(), persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(dsn), **more))


def graph_on(checkpointer: Any, store: Any = None) -> Any:
    def count(state: Said) -> Said:
        return {"turns": [{"n": len(state.get("turns", [])) + 1}], "count": len(state.get("turns", [])) + 1}

    graph = StateGraph(Said)
    graph.add_node("count", count)
    graph.add_edge(START, "count")
    graph.add_edge("count", END)
    return graph.compile(checkpointer=checkpointer, store=store)


def config(thread_id: str = "t1") -> Any:
    return create_langgraph_config({"user_id": "anne"}, thread_id)
