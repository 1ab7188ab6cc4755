"""`GET /v1/models`: the names under which the agent and the embedding model answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from ..deps import CallerDep, Parts, PartsDep
from .shapes import ModelUnknownError

router = APIRouter(prefix="/v1/models", tags=["openai"])

AGENT = "rag"
"""The agent's name, whatever model writes its answers."""
OWNER = "founders-rag"


@dataclass(frozen=True, slots=True)
class Names:
    """What requests may call the models; the first of each is the one to use."""

    chat: tuple[str, ...]
    embedding: tuple[str, ...]

    def check(self, name: str, known: tuple[str, ...]) -> str:
        """
        Raises:
            ModelUnknownError: it is none of them.
        """
        if name not in known:
            raise ModelUnknownError(f"The model {name[:80]!r} does not exist here.", hint=f"There is {', '.join(known)}.")
        return name


async def names_of(parts: Parts) -> Names:
    """`rag` and the configured name of the model behind it; the embedding model's identity and its configured name."""
    chat, embedder = await asyncio.to_thread(lambda: (parts.resources.chat, parts.resources.embedder))
    settings = parts.settings
    return Names(
        chat=tuple(dict.fromkeys([AGENT, chat.model, settings.chat.model])),
        embedding=tuple(dict.fromkeys([settings.embed.model, embedder.model])),
    )


@router.get("")
async def list_models(parts: PartsDep, identity: CallerDep) -> dict[str, Any]:
    """The models that `/v1/chat/completions` and `/v1/embeddings` know, in OpenAI's shape."""
    names = await names_of(parts)
    return {"object": "list", "data": [_model(name) for name in (*names.chat, *names.embedding)]}


@router.get("/{model:path}")
async def get_model(model: str, parts: PartsDep, identity: CallerDep) -> dict[str, Any]:
    """One of them."""
    names = await names_of(parts)
    return _model(names.check(model, (*names.chat, *names.embedding)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}
