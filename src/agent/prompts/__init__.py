"""Prompts are files beside this one, ``NAME.vN.txt``; a changed prompt is a new version, so that answers can be traced to it.

``[agent] prompts`` names a folder whose files take their place. A file there must use every ``$name`` of ours, for these carry
the fence around data and the word for a refusal, and must be of a version that this release knows: one written for another is
an error, not silently left out.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from ...errors import ConfigurationError

ANSWER = "answer.v2"
QUESTION = "question.v1"
SUMMARY = "summary.v1"
CLARIFY = "clarify.v1"
REFUSAL = "refusal.v1"
TOOLS = "tools.v1"
NAMES = (ANSWER, QUESTION, SUMMARY, CLARIFY, REFUSAL, TOOLS)


class Prompts:
    """The prompts in use: ours, or those of a folder.

    Args:
        folder: ``[agent] prompts``; read on first use, each file once.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Template] = {}

    def text(self, name: str, **values: str) -> str:
        """A prompt with its ``$names`` filled in.

        Raises:
            ConfigurationError: a file of the folder is not one of ours, lacks a name, has one too many, or cannot be read.
            KeyError: a name of our own prompt was not given.
        """
        if not self._known:
            self._known = {known: Template(_read(known)) for known in NAMES} | (_overriding(self._folder) if self._folder else {})
        return self._known[name].substitute(values)


@cache
def _read(name: str) -> str:
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip()


def _overriding(folder: Path) -> dict[str, Template]:
    try:
        found = {path.stem: Template(path.read_text(encoding="utf-8").strip()) for path in sorted(folder.glob("*.txt"))}
        if not folder.is_dir():
            raise NotADirectoryError
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(f"The prompts in {folder} cannot be read ({type(error).__name__}).", "Name a folder of text files in UTF-8.") from None
    for name, template in found.items():
        if name not in NAMES:
            raise _unusable(f"{folder / name}.txt is none of this release's prompts.", f"They are {', '.join(f'{known}.txt' for known in NAMES)}.")
        ours = set(Template(_read(name)).get_identifiers())
        if not template.is_valid() or set(template.get_identifiers()) != ours or not template.template:
            names = ", ".join(f"${known}" for known in sorted(ours)) or "no name"
            raise _unusable(f"{folder / name}.txt does not use exactly the names of the prompt that it replaces.", f"Use {names}; write a $ itself as $$.")
    return found


def _unusable(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(message, hint=hint, setting="agent.prompts")
