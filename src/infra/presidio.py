"""Presidio's pattern recognisers, as a finder of the redaction policy. Without its language models: none is loaded, and nothing is looked up.

Presidio scores a pattern that means little without the words around it below `LEAST_SCORE`; reading those words takes a
language model of spaCy's, which package registries do not have. Such patterns find nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import presidio_analyzer.predefined_recognizers as recognisers
from presidio_analyzer import EntityRecognizer, PatternRecognizer
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

LEAST_SCORE = 0.4


@cache
def known_entities() -> Mapping[str, tuple[type[EntityRecognizer], ...]]:
    """Which recognisers find an entity by patterns alone."""
    found: dict[str, list[type[EntityRecognizer]]] = {}
    for name in recognisers.__all__:
        kind = getattr(recognisers, name)
        if isinstance(kind, type) and issubclass(kind, PatternRecognizer | PhoneRecognizer) and kind is not PatternRecognizer:
            for entity in kind().supported_entities:
                found.setdefault(entity, []).append(kind)
    return {entity: tuple(kinds) for entity, kinds in found.items()}


def finder_for(entities: tuple[str, ...]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Where one of these entities stands in a text."""
    known = known_entities()
    made = [(kind(), [entity]) for entity in entities for kind in known[entity]]

    def find(text: str) -> Iterator[tuple[int, int]]:
        for recogniser, wanted in made:
            for result in recogniser.analyze(text, wanted, None):
                if result.score >= LEAST_SCORE:
                    yield result.start, result.end

    return find
