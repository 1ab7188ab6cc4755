"""A small index for the tests of other libraries' shapes: what everybody may see, what Anne alone may, and another tenant's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from src.core.identity import EVERYONE, Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item

ANNE, BOB, OTTO = Identity("anne"), Identity("bob"), Identity("otto", "elsewhere")
LEAVE = (
    "# Annual leave\n\nEmployees receive 25 days of paid annual leave each calendar year. Up to five unused days may be carried over until 31 March.\n\n"
    "# Requests\n\nRequests for leave go to the line manager at least two weeks ahead."
)
POWER = "# Power cuts\n\nReport a power cut by calling 0800 555 014, which is staffed day and night. Do not touch fallen lines."
SECRET = "# Reserve\n\nThe Vexillomatic reserve of 417 crates is kept in hall nine."
QUESTION = "How many days of annual leave do employees receive?"
SECRET_QUESTION = "Where is the Vexillomatic reserve of crates kept?"


def settings_of(folder: Path, model_cache: Path) -> Settings:
    return Settings.model_validate({"storage": {"path": folder}, "cache": {"path": model_cache}})


@asynccontextmanager
async def library_resources(folder: Path, model_cache: Path) -> AsyncIterator[ResourceManager]:
    """Resources over a filled index."""
    async with ResourceManager(settings_of(folder, model_cache)) as resources:
        ingestor = resources.get("ingestor")
        everyones = [
            upload_item(LEAVE.encode(), "leave.md", title="Annual leave", metadata={"kind": "policy"}),
            upload_item(POWER.encode(), "power.md", title="Power cuts", metadata={"kind": "procedure"}),
        ]
        await ingestor.ingest(everyones, tenant=ANNE.tenant, acl=(EVERYONE,))
        await ingestor.ingest([upload_item(SECRET.encode(), "reserve.md", title="Reserve")], tenant=ANNE.tenant, acl=("user:anne",))
        await ingestor.ingest([upload_item(b"The boats of Otto lie in the harbour.", "boats.txt")], tenant=OTTO.tenant, acl=(EVERYONE,))
        yield resources


def program_of(root: Path, heading: str, place: int = 0) -> str:
    """One of the programs of a section of docs/clients.md."""
    import re

    section = (root / "docs" / "clients.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return str(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[place])
