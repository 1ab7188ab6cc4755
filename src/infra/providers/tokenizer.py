"""The embedding model's tokenizer: for the embedder, and for cutting documents into chunks by its tokens."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .minilm import TOKENIZER_FILE, prepare_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer


_SURROGATES = re.compile("[\ud800-\udfff]")


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
    """Token offsets of any text (`TokenSpans`), loaded on first use, safe between threads."""

    def __init__(self, cache_dir: Path) -> None:
        self._tokenizer = LazyTokenizer(cache_dir)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of each token of ``text``, special tokens left out, never truncated."""
        return list(self._tokenizer.get().encode(encodable(text), add_special_tokens=False).offsets)
