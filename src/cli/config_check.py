"""What is wrong with a configuration, beyond what loading sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import Problem
    from ..infra.config import Settings
    from ..infra.settings import Loaded


def problems_of(loaded: Loaded) -> tuple[Problem, ...]:
    """All that is wrong; empty where the configuration can be used. Reads the certificates that it names."""
    from ..infra.configuring.rules import rule_problems

    found = () if loaded.settings is None else (*rule_problems(loaded.settings), *_intent_problems(loaded.settings), *_redaction_problems(loaded.settings))
    return (*loaded.problems, *found)


def _redaction_problems(settings: Settings) -> tuple[Problem, ...]:
    """What is wrong with the entities that Presidio is to look for."""
    from ..errors import ConfigurationError, Problem
    from ..infra.configuring.rules import placed
    from ..infra.redacting import policy_of

    try:
        policy_of(settings.telemetry)
    except ConfigurationError as error:
        return (placed(settings, Problem(f"{error.message} {error.hint}", key=error.setting)),)
    return ()


def _intent_problems(settings: Settings) -> tuple[Problem, ...]:
    """What is wrong with the intent rules, each at the place that sets it."""
    from ..errors import InvalidSettingsError
    from ..infra.configuring.rules import placed
    from ..retrieval.intents import compile_rules

    try:
        compile_rules(settings.intents)
    except InvalidSettingsError as error:
        return tuple(placed(settings, problem) for problem in error.problems)
    return ()
