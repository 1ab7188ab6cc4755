"""Prompts are files beside this one, ``NAME.vN.txt``; a changed prompt is a new version, so that answers can be traced to it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

ANSWER = "answer.v1"
CONDENSE = "condense.v1"
REFUSAL = "refusal.v1"
TOOLS = "tools.v1"


@cache
def _read(name: str) -> str:
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip()


def prompt(name: str, **values: str) -> str:
    """A prompt with its ``$names`` filled in.

    Raises:
        KeyError: a name of the prompt was not given.
    """
    return Template(_read(name)).substitute(values)
