"""Analysis of text on the server: one set of filters for each language that OpenSearch's stock filters stem.

Every language shares one tokeniser: what is neither letter nor digit separates, as in tantivy's simple tokeniser, so that
the embedded engine and this one find the same words ("1,000" is two). Scripts written without spaces never reach it as
they are: the client segments them (`search/text.py`).

Characters that a server's Java does not know yet separate there (Java 17 knows Unicode 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ...errors import ConfigurationError
from ..search.text import MAX_TERM_BYTES

BODY_ANALYZER: Final = "rag_body"
"""Documents' text and its surroundings, for scoring; the client has segmented it."""
QUERY_ANALYZER: Final = "rag_query"
"""Questions: as `rag_body`, each word once."""
TEXT_ANALYZER: Final = "rag_text"
"""Title, section and text as written, with positions, for phrases, boosts and highlights; unspaced scripts one character a word."""

QUERY_TERMS: Final = 450
"""Distinct words of a question that count. A server refuses more than 1,024 clauses in one query, nested ones included
(2.19.1, `indices.query.bool.max_clause_count`): two fields of 512 words each pass, of 600 fail, and filters need room."""

_WORD = r"\p{IsAlphabetic}\p{N}"
_WORD_WITH_MARKS = r"\p{IsAlphabetic}\p{N}\p{M}"
_WORD_WITH_JOINERS = r"\p{IsAlphabetic}\p{N}\p{M}\u200C\u200D"

_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u3130-\u318f\uac00-\ud7af\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\x{20000}-\x{3ffff}\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
)
"""The scripts of `search/text.py`, as Java writes them."""

_NEWER_ENGLISH_STEMS: Mapping[str, str] = MappingProxyType(
    {
        "add": "added adding",
        "ebb": "ebbing ebbed",
        "emergenc": "emergence emergences emergencies emergency",
        "emergent": "emergent emergents",
        "evening": "evening evenings",
        "interfer": "interfered interfering",
        "interment": "interment interments",
        "internal": "internal internalization internalize internalized internalizing internally internals",
        "internat": "international internationally internationals",
        "interstat": "interstate interstates",
        "interval": "interval intervals",
        "lateral": "lateral laterality lateralized lateralizing laterally laterals",
        "organe": "organe",
        "organic": "organic organics",
        "organism": "organism organisms",
        "organiz": "organization organizations organize organized organizer organizers organizes organizing",
        "paste": "paste pasted pastes pasting",
        "universal": "universal universally universals",
        "universiti": "universities university",
    }
)
_LOGISTS: Final = (
    "analgesio anesthesio anthropo archaeo bio cardio dermato embryo endocrino epidemio ethnopharmaco gastroentero geo gynaeco gyneco"
    " hemato immuno meteoro microbio neonato nephro neuro neuropatho neurophysio neuroradio onco ophthalmo paleoclimato paleonto patho"
    " psycho pulmono radio socio uro"
)
"""Lucene stems by an older Snowball English than tantivy. Over the 75,119 words of nine collections these are the ones that
they stem differently (99 words), brought to tantivy's stem, which also keeps `university` apart from `universe`."""


@dataclass(frozen=True, slots=True)
class Language:
    """How text of one language becomes index terms.

    Attributes:
        before: token filters up to the stemmer, in order; a name, or the definition of one.
        stemmer: name for the `stemmer` filter; empty leaves words as they are.
        folds: accents are taken off after the stemming, so that a question without them finds the word. Not where letters
            with marks are letters of their own.
        letters: what words are made of, as the inside of a character class (Java); everything else separates.
    """

    before: tuple[str | Mapping[str, Any], ...] = ("lowercase",)
    stemmer: str = ""
    folds: bool = True
    letters: str = _WORD_WITH_MARKS

    @property
    def filters(self) -> tuple[str | Mapping[str, Any], ...]:
        """All token filters between the tokeniser and the index, in order."""
        stem: tuple[str | Mapping[str, Any], ...] = ({"type": "stemmer", "language": self.stemmer},) if self.stemmer else ()
        return (*self.before, *stem, *(("asciifolding",) if self.folds else ()))


def _overrides() -> dict[str, Any]:
    rules = [f"{', '.join(words.split())} => {stem}" for stem, words in _NEWER_ENGLISH_STEMS.items()]
    rules += [f"{root}logist, {root}logists => {root}log" for root in _LOGISTS.split()]
    return {"type": "stemmer_override", "rules": rules}


def _lowercase(language: str) -> dict[str, Any]:
    return {"type": "lowercase", "language": language}


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "arabic": Language(("lowercase", "decimal_digit", "arabic_normalization"), "arabic"),
        "armenian": Language(stemmer="armenian"),
        "basque": Language(stemmer="basque"),
        "bengali": Language(("lowercase", "decimal_digit", "indic_normalization", "bengali_normalization"), "bengali", letters=_WORD_WITH_JOINERS),
        "brazilian": Language(stemmer="brazilian"),
        "bulgarian": Language(stemmer="bulgarian"),
        "catalan": Language(stemmer="catalan"),
        "czech": Language(stemmer="czech"),
        "danish": Language(stemmer="danish", folds=False),
        "dutch": Language(stemmer="dutch"),
        # Folded before the stemmer, as the embedded engine does.
        "english": Language(("lowercase", "asciifolding", _overrides()), "porter2", folds=False, letters=_WORD),
        "estonian": Language(stemmer="estonian", folds=False),
        "finnish": Language(stemmer="finnish", folds=False),
        "french": Language(stemmer="light_french"),
        "galician": Language(stemmer="galician"),
        "german": Language(("lowercase", "german_normalization"), "light_german"),
        "greek": Language((_lowercase("greek"),), "greek"),
        "hindi": Language(("lowercase", "decimal_digit", "indic_normalization", "hindi_normalization"), "hindi", letters=_WORD_WITH_JOINERS),
        "hungarian": Language(stemmer="hungarian", folds=False),
        "indonesian": Language(stemmer="indonesian"),
        "irish": Language((_lowercase("irish"),), "irish"),
        "italian": Language(stemmer="light_italian"),
        "latvian": Language(stemmer="latvian"),
        "lithuanian": Language(stemmer="lithuanian"),
        "nepali": Language(("lowercase", "decimal_digit", "indic_normalization"), "nepali", letters=_WORD_WITH_JOINERS),
        "norwegian": Language(stemmer="norwegian", folds=False),
        "nynorsk": Language(stemmer="light_nynorsk", folds=False),
        "persian": Language(("lowercase", "decimal_digit", "arabic_normalization", "persian_normalization"), "persian"),
        "portuguese": Language(stemmer="light_portuguese"),
        "romanian": Language(stemmer="romanian"),
        "russian": Language(stemmer="russian"),
        "serbian": Language(("lowercase", "serbian_normalization"), "serbian"),
        "sorani": Language(("lowercase", "decimal_digit", "sorani_normalization"), "sorani"),
        "spanish": Language(stemmer="light_spanish"),
        "swedish": Language(stemmer="swedish", folds=False),
        "tamil": Language(("lowercase", "decimal_digit", "indic_normalization"), "tamil", letters=_WORD_WITH_JOINERS),
        "turkish": Language((_lowercase("turkish"),), "turkish", folds=False),
        "yiddish": Language(stemmer="yiddish"),
        # Many languages in one index, or one that no stock filter stems.
        "unstemmed": Language(),
    }
)
"""Values of `[search] language`."""


def language_of(name: str) -> Language:
    """
    Raises:
        ConfigurationError: no language of that name.
    """
    if name not in LANGUAGES:
        raise ConfigurationError(f"{name!r} is not a language of an index.", hint=f"Use one of {', '.join(LANGUAGES)}.", setting="search.language")
    return LANGUAGES[name]


def analysis(name: str) -> dict[str, Any]:
    """The `analysis` block of an index's settings."""
    language = language_of(name)
    filters: dict[str, Any] = {
        # Longer terms are dropped, as the embedded engine drops them; Lucene counts characters, not bytes.
        "rag_length": {"type": "length", "max": MAX_TERM_BYTES - 1},
        "rag_distinct": {"type": "unique"},
        "rag_limit": {"type": "limit", "max_token_count": QUERY_TERMS},
    }
    names = ["rag_length"]
    for number, item in enumerate(language.filters):
        if isinstance(item, str):
            names.append(item)
        else:
            names.append(f"rag_{number}_{item['type']}")
            filters[names[-1]] = dict(item)
    return {
        "tokenizer": {
            "rag_words": {"type": "pattern", "pattern": f"[^{language.letters}]+"},
            "rag_words_and_characters": {"type": "pattern", "pattern": f"[{_UNSPACED}]|[{language.letters}&&[^{_UNSPACED}]]+", "group": 0},
        },
        "filter": filters,
        "analyzer": {
            BODY_ANALYZER: _custom("rag_words", names),
            QUERY_ANALYZER: _custom("rag_words", [*names, "rag_distinct", "rag_limit"]),
            TEXT_ANALYZER: _custom("rag_words_and_characters", names),
        },
    }


def _custom(tokenizer: str, filters: list[str]) -> dict[str, Any]:
    return {"type": "custom", "tokenizer": tokenizer, "filter": filters}
