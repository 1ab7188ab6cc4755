"""A process that answers questions and may be killed at any moment: `python -m tests.integration.killed_agent SETTINGS`.

It imports everything once and forks for each question, so that a round costs a fork, not a start. Questions come as lines of JSON;
of each round it says the pid, the events as they come, and "ended".
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import src.agent.graph
import src.agent.runtime
import src.infra.opensearch_client
import src.infra.persistence.sqlite
import src.infra.providers.openai_chat
import src.infra.providers.openai_errors
import src.infra.search.embedded  # noqa: F401 - imported here so that no fork has to
from src.core.chat import ChatRequest, DoneEvent
from src.core.identity import Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # at once, so that nobody is killed within a line


async def answer(settings: Settings, asked: dict[str, Any]) -> None:
    async with ResourceManager(settings) as resources:
        say(pid=os.getpid())
        async for event in resources.get("agent").stream(ChatRequest(asked["question"], asked["thread_id"], "bm25"), Identity(asked["user"])):
            if isinstance(event, DoneEvent):
                say(done=event.answer.message_id, answer=event.answer.answer, thread_id=event.answer.thread_id)
            else:
                say(event=type(event).__name__)


def main() -> None:
    settings = Settings.model_validate_json(sys.argv[1])
    if settings.persistence.backend == "postgres":
        from src.infra.persistence.postgres import langgraph, leases, rows  # noqa: F401 - as above

        leases.LEASE_S, leases.RENEW_S = 2.0, 0.5  # what a killed holder has everybody wait for
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(answer(settings, json.loads(line)))
            os._exit(0)
        os.waitpid(child, 0)
        say(ended=child)


if __name__ == "__main__":
    main()
