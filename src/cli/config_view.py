"""How `rag config` shows keys: values, sources, and lines that fit the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .common import plain, printable, to_json

if TYPE_CHECKING:
    from ..infra.config import Settings
    from ..infra.configuring.provenance import Source
    from ..infra.configuring.schema import FieldSpec

UNSET = "(unset)"
_COMMENT_AT = 56
_NARROWEST = 30


def plain_value(spec: FieldSpec, value: object) -> object:
    """The value for JSON: numbers, truth values and lists as they are, all else as a person sees it."""
    from ..infra.configuring.schema import display

    if value is None or isinstance(value, bool | int | float):
        return value
    return [display(item) for item in value] if isinstance(value, tuple) else spec.show(value)


def source_body(source: Source, *, value: bool = False) -> dict[str, Any]:
    """A source for JSON, without what it shadows; with what it says, if asked."""
    left_out = {"shadowed"} if value else {"shadowed", "value"}
    return {key: item for key, item in to_json(source).items() if key not in left_out and item not in ([], None) and (item or key == "value")}


def head(settings: Settings) -> Iterator[str]:
    """Where this configuration came from."""
    provenance = settings.provenance
    yield f"# files: {', '.join(map(str, provenance.files)) or 'none'} ({provenance.found_by})"
    if provenance.secrets_dir:
        yield f"# secret files: {provenance.secrets_dir}"


def listing(settings: Settings, specs: Iterable[FieldSpec], *, shadows: bool = False, descriptions: bool = False) -> Iterator[str]:
    """Keys by section, as a file would have them, each with its source."""
    from ..infra.configuring.schema import shown
    from ..infra.settings import source_of

    section = ""
    for spec in specs:
        if spec.section != section:
            section = spec.section
            yield f"\n[{section}]"
        if descriptions:
            yield from wrapped(spec.description, "# ")
        source = source_of(settings, spec.name)
        yield from with_comment(f"{spec.key} = {shown(settings, spec)}", str(source))
        if shadows:
            for item in source.shadowed:
                yield from wrapped(told(item), "    # instead of ", "    #   ")


def told(source: Source) -> str:
    """A place, and what it says."""
    return printable(f"{source}, with {source.value.replace(chr(10), ', ') or 'nothing'}")


def with_comment(text: str, comment: str) -> Iterator[str]:
    """A key and its value with a comment behind it; below it where both do not fit."""
    text, comment = plain(text).replace("\n", "\n    "), printable(comment)
    line = f"{text:<{_COMMENT_AT}}  # {comment}"
    if len(line.rpartition("\n")[2]) <= width():
        yield line
    else:
        yield from (text, f"    # {comment}")


def wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    """Text in lines that fit the terminal; words that do not are never broken, so that they can be copied."""
    rest = first if rest is None else rest
    return textwrap.wrap(text, width(), initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False) or [first.rstrip()]


def width() -> int:
    """Columns of the terminal; without one, lines are as long as what they say."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else sys.maxsize
