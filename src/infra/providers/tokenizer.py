"""The embedding model's tokenizer: for the embedder, and for cutting documents into chunks by its tokens."""

from __future__ import annotations

import re
import threading
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING

from .minilm import TOKENIZER_FILE, prepare_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer


_SURROGATES = re.compile("[\ud800-\udfff]")
_WHITE = re.compile(r"([ \t\n\r]+)")
"""Only white space that the model's tokenizer, too, takes for white space; other kinds it sorts out itself."""
_LONGEST_KNOWN = 64
_MAX_KNOWN = 30_000
"""Words remembered, about 10 MB: a collection of 10-Q filings has 15,000."""

_Spans = tuple[tuple[int, int], ...]


class LazyTokenizer:
    """Reads `tokenizer.json` on first use, once. Its own truncation and padding to 128 tokens are switched off.

    Args:
        cache_dir: where the prepared model lies, or is to be made.
        max_tokens: cut longer texts to this many tokens, special ones included; 0 never cuts.
    """

    def __init__(self, cache_dir: Path, max_tokens: int = 0) -> None:
        self._prepare = partial(prepare_model, cache_dir)
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None

    def get(self) -> Tokenizer:
        """The tokenizer. Encoding with it is safe from any thread; its settings are not to be changed."""
        if self._tokenizer is None:
            with self._lock:
                if self._tokenizer is None:
                    self._tokenizer = self._load()
        return self._tokenizer

    def _load(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._prepare() / TOKENIZER_FILE))
        tokenizer.no_padding()
        if self._max_tokens:
            tokenizer.enable_truncation(self._max_tokens)
        else:
            tokenizer.no_truncation()
        return tokenizer


def encodable(text: str) -> str:
    """``text`` with each surrogate, which has no place in UTF-8, as one U+FFFD, so that offsets stay true."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


class ModelTokenizer:
    """Token offsets of any text (`TokenSpans`), loaded on first use, safe between threads.

    Tokens never reach over white space and depend on nothing beyond it, so each word is taken apart once and then
    remembered. The 139 pages of three reports take 60% of the time when every word is new, 30% when none is.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._tokenizer = LazyTokenizer(cache_dir)
        self._known: dict[str, _Spans] = {}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of each token of ``text``, special tokens left out, never truncated."""
        pieces = _WHITE.split(text)  # words, and between them white space
        words = pieces[::2]
        starts = accumulate(map(len, pieces), initial=0)
        known, distinct = self._known, set(words)
        distinct.discard("")
        found = {word: known[word] for word in distinct if word in known}
        if len(found) < len(distinct):
            found.update(self._learn(list(distinct - found.keys())))
        found[""] = ()
        return [(at + start, at + end) for word, at in zip(words, islice(starts, 0, None, 2), strict=False) for start, end in found[word]]

    def _learn(self, words: list[str]) -> dict[str, _Spans]:
        """The tokens of each word; those of words of ordinary length are remembered."""
        offsets = self._tokenizer.get().encode(encodable(" ".join(words)), add_special_tokens=False).offsets
        learnt: dict[str, _Spans] = {}
        at = number = 0
        for word in words:
            end, first = at + len(word), number
            while number < len(offsets) and offsets[number][0] < end:
                number += 1
            learnt[word] = tuple([(token_start - at, token_end - at) for token_start, token_end in offsets[first:number]])
            at = end + 1
        if len(self._known) + len(learnt) > _MAX_KNOWN:
            self._known = {}  # another one: threads that read the old one keep it whole
        self._known.update((word, spans) for word, spans in learnt.items() if len(word) <= _LONGEST_KNOWN)
        return learnt
