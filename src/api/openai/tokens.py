"""How many tokens texts have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ..deps import Parts

if TYPE_CHECKING:
    from ...infra.providers.protocol import TokenSpans


async def token_counts(parts: Parts, texts: Sequence[str]) -> list[int]:
    """Tokens of each text as the embedding model's own tokenizer counts them; the local model's stands in for remote ones."""

    def count() -> list[int]:
        tokenizer = cast("TokenSpans", parts.resources.get("tokenizer"))
        return [len(tokenizer.spans(text)) for text in texts]

    return await asyncio.to_thread(count)
