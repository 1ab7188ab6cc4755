"""Finding threads by the words of their titles.

Titles may be sealed, so that no database can search them: rows are read page by page, and looked at here, the same for every backend.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable

from .rows import ThreadRow

ROWS = 500
"""Rows of one read: 9 ms with SQLite, 10 ms where titles are sealed, on one core."""
MOST_READ = 10_000
"""Rows that one request looks at, in 0.2 s; the next page goes on behind them."""

Before = tuple[str, str] | None
Page = Callable[[int, Before], Awaitable[list[ThreadRow]]]


def words_of(text: str) -> tuple[str, ...]:
    """What a title has to hold, each of it: words without case and accents."""
    return tuple(_folded(text).split())


def fits(title: str, words: tuple[str, ...]) -> bool:
    """Whether a title holds all words, each anywhere in it."""
    folded = _folded(title)
    return all(word in folded for word in words)


def _folded(text: str) -> str:
    """Without case, and without accents: who searches for ``Zahler`` finds ``Zähler``."""
    return "".join(one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))


async def find(page: Page, words: tuple[str, ...], limit: int, before: Before) -> tuple[list[ThreadRow], ThreadRow | None]:
    """Up to ``limit`` rows whose titles hold all words, in the order of ``page``; and the row behind which to go on, None at the end.

    Args:
        page: gives so many rows behind a place.
        before: the place to begin behind.
    """
    found: list[ThreadRow] = []
    read = 0
    while True:
        rows = await page(ROWS, before)
        for row in rows:
            if len(found) == limit:
                return found, found[-1]
            if fits(row.title, words):
                found.append(row)
        if len(rows) < ROWS:
            return found, None
        before, read = (rows[-1].updated_at, rows[-1].thread_id), read + len(rows)
        if read >= MOST_READ:
            return found, rows[-1]
