"""Records events until it is killed, and prints the number of each once it was acknowledged: NAME FOLDER KEYS."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from src.infra.audit.chain import parse_keys
from src.infra.audit.trail import AuditLog
from src.infra.config import AuditCfg
from src.telemetry.audit import AuditEvent


async def write(name: str, folder: Path, keys: str) -> None:
    cfg = AuditCfg(enabled=True, keys=SecretStr(keys), anchor=folder / "anchors" / "heads")
    trail, numbers = AuditLog(cfg, folder / "audit" / "a.jsonl", parse_keys(keys)), itertools.count()

    async def work() -> None:
        for number in numbers:
            await trail.record(AuditEvent("search", user="ann", object=f"{name}-{number}", documents=("d" * (number % 300),)))
            os.write(1, f"{name}-{number}\n".encode())  # at once: what is buffered dies with the process

    await asyncio.gather(*(work() for _ in range(8)))


asyncio.run(write(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
