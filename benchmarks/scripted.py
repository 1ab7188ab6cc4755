"""A model and a search that answer at once, or at a given pace: what is measured around them is the runtime alone."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from src.core.chat import Message, Usage
from src.core.identity import AccessScope
from src.core.search import Hit, SearchRequest, SearchResult
from src.infra.config import ApiCfg, PersistenceCfg, Settings, StorageCfg
from src.infra.providers.protocol import ChatDelta, ChatResult
from src.infra.resource_manager import ResourceManager

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PASSAGES = (
    "Employees receive 25 days of paid annual leave each calendar year.",
    "Up to five unused days may be carried over until 31 March.",
    "Requests for annual leave go to the line manager at least two weeks ahead.",
)
QUESTION = "How many days of annual leave do employees receive each year?"
ANSWER = " ".join(f"{text[:-1]} [{place}]." for place, text in enumerate(PASSAGES, start=1))
DIMS = 8


class ScriptedModel:
    """Says the same answer at once."""

    model = "scripted"
    extractive = False

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        return ChatResult("")

    async def stream(self, messages: Sequence[Message] | str) -> AsyncIterator[ChatDelta]:
        yield ChatDelta(ANSWER)
        yield ChatDelta(finish_reason="stop", usage=Usage(100, 40))

    async def aclose(self) -> None: ...


class ScriptedSearch:
    """Finds the same passages."""

    def __init__(self) -> None:
        self._hits = tuple(
            Hit(f"c{n}", f"d{n}", "Annual leave", text, "leave.md", 1.0, {"bm25": 9.0, "knn": 0.8}, section="Leave", end=len(text))
            for n, text in enumerate(PASSAGES)
        )

    async def search(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        return SearchResult(self._hits, request.mode, 0.0)

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


class ScriptedEmbedder:
    """The same vector for every text."""

    model = "scripted"
    dims = DIMS

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        vectors = np.zeros((len(texts), DIMS), np.float32)
        vectors[:, 0] = 1.0
        return vectors

    async def aclose(self) -> None: ...


class Words:
    """A tokenizer whose tokens are words."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in re.finditer(r"\S+", text)]


def scripted_settings(folder: Path, dsn: str | None = None, **persistence: Any) -> tuple[Settings, str]:
    """Threads in SQLite under ``folder``, or in the database of ``dsn``; and the bearer token that the API asks for."""
    token = secrets.token_urlsafe(32)
    more: dict[str, Any] = {"backend": "postgres", "dsn": SecretStr(dsn)} if dsn else {}
    persistence_cfg = PersistenceCfg(**{**more, **persistence})
    return Settings(storage=StorageCfg(path=folder), persistence=persistence_cfg, api=ApiCfg(auth="tokens", token=SecretStr(token), port=0)), token


def scripted_resources(settings: Settings, own_model: bool = False) -> ResourceManager:
    """The real resources over a scripted search, and a scripted model, unless the settings' own is wanted."""
    overrides = {"search": ScriptedSearch(), "embedder": ScriptedEmbedder(), "tokenizer": Words(), **({} if own_model else {"chat": ScriptedModel()})}
    return ResourceManager(settings, overrides=cast("dict[str, object]", overrides))
