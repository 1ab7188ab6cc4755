"""What a log record says, without content: own texts redacted, other libraries' unfilled, exceptions by kind and place. Pure but for the stack.

Other libraries put requests, answers and headers into their messages, most of all at DEBUG. Of theirs only what stands in
their code is shown: the text as it was written, with numbers filled in. A text that was put together at run time is withheld.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType

from ..errors import RagError
from .log_context import USER_FIELDS, user_hash
from .logger import FIELDS, OWN
from .redaction import redact, redact_part, redact_value

WITHHELD = "(text withheld)"
UNFILLED = "…"
NOT_SHOWN = "(cannot be shown)"
"""What stands for a value whose own ``__str__`` fails, or that is too long a number to be written out."""
MAX_TRACE = 32_768
MAX_CHAIN = 8
MAX_FRAMES = 40

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "HTTP/1.1", "HTTP/2"})
_WARNING = re.compile(r"(?P<place>[^\n]{1,500}?:\d+): (?P<kind>\w+): ")


def one_line(text: str) -> str:
    """The text without what could begin a line, steer a terminal or turn the direction of writing: spelled out, as ``\\x1b``."""
    return text if text.isprintable() else _CONTROLS.sub(lambda found: _spelled(ord(found[0])), text)


def _spelled(code: int) -> str:
    names = {9: "\\t", 10: "\\n", 13: "\\r"}
    return names.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def is_own(record: logging.LogRecord) -> bool:
    """Whether this package says it, or code that logs through `get_logger`."""
    return record.name == OWN or record.name.startswith(f"{OWN}.") or hasattr(record, FIELDS)


def said(record: logging.LogRecord) -> str:
    """The record's message: redacted, bounded, no content of other libraries'."""
    text = _own_text(record) if is_own(record) else _foreign_text(record)
    return redact_part(text)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _own_text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit their text; a line less would be worse
        return record.msg if isinstance(record.msg, str) else NOT_SHOWN


def _foreign_text(record: logging.LogRecord) -> str:
    if record.name == "py.warnings":
        return _warning(record)
    if not isinstance(record.msg, str) or not _is_constant(record):
        return WITHHELD
    if not record.args:
        return record.msg
    try:
        args = record.args
        if isinstance(args, Mapping) and "%(" in record.msg:
            return record.msg % {key: _shown(arg) for key, arg in args.items()}
        return record.msg % tuple(map(_shown, args if isinstance(args, tuple) else (args,)))
    except Exception:  # noqa: BLE001 - a text that wants a number where something else was given
        return record.msg


def _warning(record: logging.LogRecord) -> str:
    """Kind and place of a Python warning; its text may quote values."""
    found = _WARNING.match(_own_text(record))
    return f"{found['kind']} at {found['place']}" if found else WITHHELD


class _Unfilled:
    def __str__(self) -> str:
        return UNFILLED

    __repr__ = __str__


def _shown(arg: object) -> object:
    if arg is None or type(arg) in (bool, int, float):
        return arg
    if isinstance(arg, BaseException):
        return type(arg).__qualname__
    return arg if isinstance(arg, str) and arg in _METHODS else _Unfilled()


def _is_constant(record: logging.LogRecord) -> bool:
    """Whether the message stands as it is in the code that logs it, which is on the stack now."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the interpreter's own name for it; `inspect` reads source files
    while frame is not None:
        if frame.f_lineno == record.lineno and frame.f_code.co_filename == record.pathname:
            return _holds(frame.f_code, record.msg)
        frame = frame.f_back
    return False


def _holds(code: CodeType, text: str) -> bool:
    return any(isinstance(constant, str) and constant == text for constant in code.co_consts)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The record's fields, redacted and bounded; people stand as hashes."""
    given: Mapping[str, object] = getattr(record, FIELDS, {})
    return {cut(str(name), 100): _shown_field(str(name), value) for name, value in given.items()}


def _shown_field(name: str, value: object) -> object:
    try:
        if name in USER_FIELDS and isinstance(value, str | int) and value != "":
            return user_hash(str(value))
        return redact_value(_as_plain(value), name)
    except Exception:  # noqa: BLE001 - somebody else's ``__str__``; the line itself, most of all an error's, must not be lost
        return NOT_SHOWN


def _as_plain(value: object) -> object:
    if isinstance(value, BaseException):
        said = what_it_says(value)
        return said if isinstance(value, RagError) else f"{type(value).__qualname__}: {said}".removesuffix(": ")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    return value


def exception_text(error: BaseException) -> str:
    """The exceptions of a chain, oldest first, each with its places in the code and its kind; their texts only where they hold no content."""
    try:
        return _chain_text(error)
    except Exception:  # noqa: BLE001 - an exception whose own ``__str__`` fails
        return f"{type(error).__qualname__}: {NOT_SHOWN}"


def _chain_text(error: BaseException) -> str:
    parts: list[str] = []
    for link, each in _chain(error):
        parts += [link, *(["Traceback (most recent call last):\n"] if each.__traceback__ else [])]
        parts += traceback.format_tb(each.__traceback__, -MAX_FRAMES)
        parts += _ending(each)
    return cut("".join(parts).rstrip("\n"), MAX_TRACE)


def _ending(error: BaseException) -> Iterator[str]:
    name, text = type(error).__qualname__, one_line(what_it_says(error))
    yield f"{name}: {text}\n" if text else f"{name}\n"
    if isinstance(error, BaseExceptionGroup):
        for number, part in enumerate(error.exceptions[:MAX_CHAIN], 1):
            yield f"  {number} of {len(error.exceptions)}: "
            last = traceback.format_tb(part.__traceback__, -1)
            yield from _ending(part)
            yield from last


def _chain(error: BaseException) -> list[tuple[str, BaseException]]:
    found: list[tuple[str, BaseException]] = []
    each: BaseException | None = error
    while each is not None and len(found) < MAX_CHAIN and all(each is not known for _, known in found):
        caused = each.__cause__ is not None
        before = each.__cause__ if caused or each.__suppress_context__ else each.__context__
        link = "\nThe above exception was the direct cause of:\n\n" if caused else "\nWhile that was handled, this happened:\n\n"
        found.append((link if before is not None else "", each))
        each = before
    if found:
        found[-1] = ("", found[-1][1])
    return found[::-1]


def what_it_says(error: BaseException) -> str:
    """An exception's text where it holds no content: of our own errors, of the operating system, or as it stands in the code that raised it."""
    if isinstance(error, RagError):
        return redact(str(error))
    if isinstance(error, OSError) and error.strerror:
        return redact(str(error.strerror))
    given = error.args[0] if len(error.args) == 1 else None
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    known = isinstance(given, str) and last is not None and _holds(last.tb_frame.f_code, given)
    return redact(str(given)) if known else (WITHHELD if error.args else "")
