"""The redaction policy that `[telemetry]` configures: own patterns and Presidio's, beside what is always redacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError, MissingExtraError
from ..telemetry.redaction import Finder, Policy
from ..util.patterns import Places

if TYPE_CHECKING:
    from .config.telemetry import TelemetryCfg

NOT_WANTED = frozenset({"EMAIL_ADDRESS"})
"""Presidio would fetch a list of domains from the network for it; `redact` finds e-mail addresses by itself."""


def policy_of(cfg: TelemetryCfg) -> Policy:
    """What is redacted from now on.

    Raises:
        ConfigurationError: Presidio has no pattern for an entity.
        MissingExtraError: the extra `presidio` is not installed.
    """
    own: list[tuple[str, Finder]] = [(name, Places(pattern).of) for name, pattern in cfg.own_patterns()]
    if cfg.presidio:
        own.append(("presidio", _presidio(cfg.presidio)))
    return Policy(tuple(own))


def _presidio(entities: tuple[str, ...]) -> Finder:
    try:
        from .presidio import finder_for, known_entities
    except ImportError:
        text, hint = "Redaction with Presidio needs the extra `presidio`, which is not installed.", "Install it with: pip install 'founders-rag[presidio]'"
        raise MissingExtraError(text, setting="telemetry.presidio", hint=hint) from None
    known = known_entities()
    unknown = sorted(set(entities) - known.keys() | NOT_WANTED & set(entities))
    if unknown:
        hint = f"It has: {', '.join(sorted(known.keys() - NOT_WANTED))}. E-mail addresses are redacted anyhow; names and places need a language model."
        raise ConfigurationError(f"Presidio has no pattern here for {', '.join(unknown)}.", setting="telemetry.presidio", hint=hint)
    return finder_for(entities)
