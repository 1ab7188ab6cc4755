"""A streamed answer on OpenAI's wire, read from its bytes: what one read from the network brought is one piece, however many events it was.

The `openai` package makes an object of some thirty fields of each token, of which two are used: half of what an answer cost this process.
It still opens the stream, with connection, credential, repeats and refusals.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ...core.chat import Usage
from ...errors import RagError
from .openai_shapes import count, list_part, part, text_part
from .openai_tools import CallPieces
from .protocol import ChatDelta, FinishReason

if TYPE_CHECKING:
    import httpx2

    from .openai_errors import ErrorMap

FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""The service's words for why an answer ended, and ours."""
DRAIN_S = 0.1
"""How long the end of the body is waited for behind the last event: a connection whose body was read to its end is used again."""
_LINE_END = re.compile(rb"[\r\n]")


class EventData:
    """Server-sent events in pieces of bytes, cut anywhere; only their data is of interest."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._after_return = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that is whole now. One without data is none."""
        if self._after_return and piece:  # of "\r\n" the second half came apart
            piece, self._after_return = piece.removeprefix(b"\n"), False
        if not _LINE_END.search(piece):
            self._rest += [piece] if piece else []
            return []
        self._after_return = piece.endswith(b"\r")
        lines = b"".join([*self._rest, piece]).splitlines()
        self._rest = [] if piece.endswith((b"\n", b"\r")) else [lines.pop()]
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                if data := b"\n".join(self._data):
                    found.append(data)
                self._data = []
        return found


class Reading:
    """What the events of one answer came to."""

    def __init__(self, errors: ErrorMap) -> None:
        self._errors = errors
        self._events = EventData()
        self._halves = Halves()
        self._calls = CallPieces()
        self._usage: Usage | None = None
        self.finish: str | None = None
        self.nothing = True
        """No event has come."""
        self.done = False
        """The service said that nothing follows."""
        self.failure: RagError | None = None
        """What is wrong with the last event, once one is: to be raised behind the text before it."""

    def feed(self, piece: bytes) -> str:
        """The text that some bytes add."""
        texts: list[str] = []
        try:
            for data in self._events.feed(piece):
                if data.startswith(b"[DONE]"):
                    self.done = True
                    break
                texts.append(self._read(json.loads(data.decode())))
        except RagError as error:
            self.failure = error
        except self._errors.failures as error:
            self.failure = self._errors.translate_event(error)
        return "".join(texts)

    def _read(self, event: Any) -> str:
        self.nothing = False
        if isinstance(event, dict) and (error := event.get("error")):
            raise self._errors.within_stream(error)
        self._usage = usage_of(part(event, "usage")) or self._usage
        choices = list_part(event, "choices")
        if not choices:  # Azure's first event has none, the one with the usage neither
            return ""
        self.finish = text_part(choices[0], "finish_reason") or self.finish
        delta = part(choices[0], "delta")
        if delta is None:
            return ""
        if pieces := list_part(delta, "tool_calls"):
            self._calls.feed(pieces)
        content = text_part(delta, "content")
        return self._halves.feed(content) if content else ""

    def last(self) -> ChatDelta:
        """The last piece. An answer that was cut off has no whole call; some services say "stop" where there are calls."""
        finish = FINISH.get(self.finish or "", "stop")
        calls = self._calls.whole() if finish != "length" else ()
        return ChatDelta(self._halves.flush(), "tool_calls" if calls else finish, self._usage, tool_calls=calls)


async def texts_of(response: httpx2.Response, reading: Reading, errors: ErrorMap) -> AsyncGenerator[str, None]:
    """An answer's text as it comes, to its end; the transport holds it to the call's time (`attempts`).

    Raises:
        RagError: it broke off, or the service sent something else.
    """
    packed = response.headers.get("content-encoding", "identity") != "identity"
    async with aclosing(response.aiter_bytes() if packed else response.aiter_raw()) as pieces:
        while not reading.done:
            try:
                piece = await anext(pieces, None)
            except errors.failures as error:
                raise errors.translate_stream(error) from None
            if piece is None:
                return
            if text := reading.feed(piece):
                yield text
            if reading.failure is not None:
                raise reading.failure
        await _drain(pieces, errors.failures)


async def _drain(pieces: AsyncIterator[bytes], failures: tuple[type[Exception], ...]) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            while await anext(pieces, None) is not None:
                pass
    except failures:
        return  # the answer is whole; what follows is the connection's own affair, and it is closed


class Halves:
    """Text in pieces, where a character outside the first plane (an emoji) may be cut into its two surrogates."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """What is whole now: a first half at the end waits for its second one."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return joined(text[: len(text) - len(self._half)])

    def flush(self) -> str:
        """A half that has stayed alone."""
        half, self._half = self._half, ""
        return joined(half)


def joined(text: str) -> str:
    """``text`` with pairs of surrogates as the one character that they are, and each that stands alone, no character at all, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def usage_of(usage: Any) -> Usage | None:
    return Usage(count(usage, "prompt_tokens"), count(usage, "completion_tokens")) if usage else None
