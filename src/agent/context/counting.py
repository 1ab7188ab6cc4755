"""How many tokens a text is for the chat model in use: exactly where its vocabulary lies on this machine, else never too few.

Nothing is downloaded. OpenAI's vocabularies come with the package `llama-index-core` (the extra ``llama-index``) or as the files
that ``[chat] tokenizer`` names; `tiktoken` (extra ``openai-tokens``) reads them. Any other model's ``tokenizer.json`` is read by
`tokenizers`. Without either, a text counts one token a byte of UTF-8: no byte-level or byte-fallback vocabulary makes more of it.
On nine open collections that is 3.5 to 5.4 times what ``cl100k_base`` and ``o200k_base`` make of them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.chat import Message, ToolSpec
from ...errors import ConfigurationError, MissingExtraError
from ...infra.providers.tokenizer import encodable
from ...telemetry.logger import get_logger

if TYPE_CHECKING:
    import tiktoken

    from ...infra.config import ChatCfg

log = get_logger(__name__)

AROUND = 8
"""Tokens that a model's template may put around a message: OpenAI's puts 4, Llama's 5, ChatML 5."""
PRIMING = 8
"""Tokens that begin the reply, once a prompt."""

_CL100K = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
_O200K = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    ]
)
_KNOWN = {
    # SHA-256 of the vocabulary's file: its name, how it cuts text, and how tiktoken's own cache calls the file.
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": ("cl100k_base", _CL100K, "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": ("o200k_base", _O200K, "fb374d419588a4632f3f557e76b4b70aebbca790"),
}
_ALIKE = {"o200k_harmony": "o200k_base"}
"""The same vocabulary with further special tokens."""


class TokenCounter(Protocol):
    """Counts the tokens of a text, special ones written out in it as plain text. Pure, safe between threads."""

    @property
    def exact(self) -> bool:
        """False where the count is a bound, never less than the true one."""
        ...

    def count(self, text: str) -> int: ...


class ByteBound:
    """One token a byte."""

    exact = False

    def count(self, text: str) -> int:
        """Bytes of the text in UTF-8."""
        return len(text) if text.isascii() else len(encodable(text).encode())


class VocabularyCounter:
    """Counts by a vocabulary."""

    exact = True

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """Tokens of the text."""
        return len(self._encoding.encode(encodable(text), disallowed_special=()))


class TokenizerFileCounter:
    """Counts by a ``tokenizer.json``."""

    exact = True

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, text: str) -> int:
        """Tokens of the text."""
        return len(self._tokenizer.encode(encodable(text), add_special_tokens=False))


class LazyCounter:
    """The counter of the configured model, made on first use.

    Args:
        cfg: `[chat]`: ``tokenizer``, else what is known of ``model``.
    """

    def __init__(self, cfg: ChatCfg) -> None:
        self._make = partial(_counter_of, cfg)
        self._lock = threading.Lock()
        self._made: TokenCounter | None = None

    def get(self) -> TokenCounter:
        """The counter. The first call reads the vocabulary (o200k_base: 0.3 s), so it belongs in a thread.

        Raises:
            ConfigurationError: ``chat.tokenizer`` cannot be read, or its package is not installed.
        """
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    async def ready(self) -> TokenCounter:
        """The counter, read by a thread if it has to be. Raises what `get` does."""
        made = self._made
        return made if made is not None else await asyncio.to_thread(self.get)


def message_tokens(messages: Sequence[Message], counter: TokenCounter) -> int:
    """Tokens of messages with what a template puts around each; calls of tools count with their names and arguments."""
    calls = sum(AROUND + counter.count(f"{call.id}{call.name}{call.arguments}") for message in messages for call in message.tool_calls)
    return calls + sum(AROUND + counter.count(message.content) + counter.count(message.tool_call_id) for message in messages)


def spec_tokens(tools: Sequence[ToolSpec], counter: TokenCounter) -> int:
    """Tokens of the tools that a model is offered, as their JSON; templates write them shorter."""
    return sum(AROUND + counter.count(f"{tool.name} {tool.description} {json.dumps(tool.parameters)}") for tool in tools)


def clipped(text: str, limit: int, counter: TokenCounter) -> str:
    """The longest beginning of a text, cut between words, that has no more than ``limit`` tokens. Exact where counts grow with the text."""
    if counter.count(text) <= limit:
        return text
    words = text.split(" ")
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if counter.count(" ".join(words[:middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])


def _counter_of(cfg: ChatCfg) -> TokenCounter:
    if cfg.tokenizer is not None:
        return _from_file(cfg.tokenizer)
    path = _packaged(cfg.model)
    if path is not None:
        try:
            return _vocabulary(path.read_bytes())
        except (ImportError, OSError):  # the extra is not installed: the bound serves
            log.debug("tokens are counted by the byte", model=cfg.model)
    return ByteBound()


def _from_file(path: Path) -> TokenCounter:
    try:
        if path.suffix == ".json":
            return TokenizerFileCounter(path)
        return _vocabulary(path.read_bytes())
    except ImportError as error:
        raise MissingExtraError(
            f"Counting by {path} needs the extra `openai-tokens`: {error.name} is not installed.",
            hint="Install founders-rag[openai-tokens], or name a tokenizer.json.",
            setting="chat.tokenizer",
        ) from error
    except Exception as error:  # noqa: BLE001 - `tokenizers` raises bare Exception for whatever it cannot read
        raise ConfigurationError(
            f"{path} cannot be read as a tokenizer ({type(error).__name__}).",
            hint="Name the model's tokenizer.json, or cl100k_base.tiktoken or o200k_base.tiktoken as OpenAI publishes them.",
            setting="chat.tokenizer",
        ) from None


def _vocabulary(data: bytes) -> TokenCounter:
    """The vocabulary that a file holds; its hash says which it is.

    Raises:
        KeyError: none that we know.
        ImportError: tiktoken is not installed.
    """
    name, pattern, _ = _KNOWN[hashlib.sha256(data).hexdigest()]
    import tiktoken

    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in data.splitlines() if line)}
    return VocabularyCounter(tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={}))


def _packaged(model: str) -> Path | None:
    """The vocabulary of an OpenAI model, where `llama-index-core` is installed: it comes with those files, and is not imported."""
    import importlib.metadata

    try:
        from tiktoken.model import encoding_name_for_model

        name = encoding_name_for_model(model)
        folder = importlib.metadata.distribution("llama-index-core").locate_file("llama_index/core/_static/tiktoken_cache")
    except (ImportError, KeyError):  # PackageNotFoundError is an ImportError; KeyError: no model of OpenAI's
        return None
    wanted = _ALIKE.get(name, name)
    files = [Path(str(folder)) / cached for known, _, cached in _KNOWN.values() if known == wanted]
    return next((file for file in files if file.is_file()), None)
