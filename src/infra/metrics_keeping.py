"""Figures that somebody has to be asked for: size and age of the index, health of the parts. Asked now and then, never when figures are looked at."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RagError
from ..telemetry import metrics
from ..telemetry.logger import get_logger
from .factories import INDEX_FOLDER, effective_embed

if TYPE_CHECKING:
    from .resource_manager import ResourceManager
    from .search.protocol import IndexInfo

log = get_logger(__name__)

EVERY_S = 30.0
PATIENCE_S = 20.0
"""For an answer; less than the interval, so that questions never queue up."""


class _Index:
    """What was last known of the index."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: tuple[int, int] | None = None

    def tell(self, info: IndexInfo) -> None:
        now = time.time()
        counts = (info.documents, info.chunks)
        metrics.gauge("rag.index.documents", info.documents, {})
        metrics.gauge("rag.index.chunks", info.chunks, {})
        metrics.gauge("rag.index.checked.timestamp", now, {})
        seen = None if self._known in (None, counts) else now
        changed = seen if self._folder is None else _changed(self._folder)
        if changed is not None:
            metrics.gauge("rag.index.changed.timestamp", changed, {})
        self._known = counts


async def keep_figures(resources: ResourceManager) -> None:
    """Ask every `EVERY_S`, until cancelled. What does not answer is a figure too: its last time stays what it was."""
    settings = resources.settings
    embedded = settings.search.chosen_engine == "embedded"
    index = _Index(settings.storage.path / INDEX_FOLDER if embedded else None)
    models = {"rag.engine": settings.search.chosen_engine, "rag.chat_model": settings.chat.model, "rag.embed_model": effective_embed(settings).model}
    metrics.watch("rag.build.info", resources, lambda _: [(1.0, {"service.version": _version(), **models})])
    while True:
        await asyncio.gather(_ask_index(resources, index), _ask_health(resources))
        await asyncio.sleep(EVERY_S)


async def _ask_index(resources: ResourceManager, index: _Index) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            search = await asyncio.to_thread(lambda: resources.search)
            await asyncio.to_thread(index.tell, await search.info())  # it looks at files
    except (RagError, TimeoutError) as error:
        log.debug("the index did not tell its size", error=type(error).__name__)


async def _ask_health(resources: ResourceManager) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            checker = await asyncio.to_thread(lambda: resources.health)
            found = await checker.check_all()
    except (RagError, TimeoutError) as error:
        log.debug("the parts did not tell their health", error=type(error).__name__)
        return
    for component in found.components:
        good = component.status not in ("unhealthy", "unknown")
        metrics.gauge("rag.component.healthy", float(good), {"rag.component": component.name, "rag.required": component.required})


def _changed(folder: Path) -> float | None:
    """When the embedded index was last written; None where there is none."""
    from .search.embedded.truth import FILE_NAME

    found = [path.stat() for path in (folder / FILE_NAME, folder / f"{FILE_NAME}-wal") if path.exists()]
    return max((stat.st_mtime for stat in found if stat.st_size), default=None)  # opening the index makes an empty log


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("founders-rag")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
