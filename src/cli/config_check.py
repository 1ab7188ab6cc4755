"""What is wrong with a configuration, beyond what loading sees."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import Problem
    from ..infra.config import Settings
    from ..infra.settings import Loaded


def problems_of(loaded: Loaded) -> tuple[Problem, ...]:
    """All that is wrong; empty where the configuration can be used."""
    return (*loaded.problems, *_rule_problems(loaded.settings))


def _rule_problems(settings: Settings | None) -> tuple[Problem, ...]:
    """What is wrong with the intent rules, each at the place that sets it."""
    from ..errors import InvalidSettingsError
    from ..infra.provenance import DEFAULT
    from ..retrieval.intents import compile_rules

    if settings is None:
        return ()
    try:
        compile_rules(settings.intents)
    except InvalidSettingsError as error:
        sources = [settings.provenance.sources.get(problem.key, DEFAULT) for problem in error.problems]
        placed = zip(error.problems, sources, strict=True)
        return tuple(problem if source is DEFAULT else replace(problem, where=source.where, line=source.line) for problem, source in placed)
    return ()
