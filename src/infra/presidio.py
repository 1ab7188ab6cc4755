"""Presidio's pattern recognisers, as a finder of the redaction policy. Without its language models: none is loaded, and nothing is looked up.

Presidio scores a pattern that means little without the words around it below `LEAST_SCORE`; reading those words takes a
language model of spaCy's, which package registries do not have. Such patterns find nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import presidio_analyzer.predefined_recognizers as recognisers
from presidio_analyzer import PatternRecognizer
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

LEAST_SCORE = 0.4


@cache
def known_entities() -> Mapping[str, tuple[Callable[[], Any], ...]]:
    """What makes the recognisers that find an entity by patterns alone."""
    found: dict[str, list[Callable[[], Any]]] = {}
    for name in recognisers.__all__:
        kind: Any = getattr(recognisers, name)
        if isinstance(kind, type) and issubclass(kind, PatternRecognizer | PhoneRecognizer):
            make: Callable[[], Any] = kind
            for entity in make().supported_entities:
                found.setdefault(entity, []).append(make)
    return {entity: tuple(makers) for entity, makers in found.items()}


def finder_for(entities: tuple[str, ...]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Where one of these entities stands in a text."""
    made = [(make(), [entity]) for entity in entities for make in known_entities()[entity]]

    def find(text: str) -> Iterator[tuple[int, int]]:
        for recogniser, wanted in made:
            for result in recogniser.analyze(text, wanted, None):
                if result.score >= LEAST_SCORE:
                    yield result.start, result.end

    return find
