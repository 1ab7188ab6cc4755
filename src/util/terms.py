"""Words of a text, ready to compare: tokens with offsets, English stems, and which of them carry content.

Pure and language-light: scripts without spaces (Chinese, Japanese, Thai) are cut into overlapping pairs of characters,
every other language into words; stems are Snowball's English ones, which leave foreign words nearly as they are.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[^\W_])+(?:['’](?:(?![{_UNSPACED}])[^\W_])+)*")
_FIRST_UNSPACED = re.compile(f"[{_UNSPACED}]")

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are aren't as at be became because become been before being below
    between both but by can could d did do does doing done down during each either else etc even ever few for from further
    get gets getting give given gives go going got had has have having he hence her here hers herself him himself his how
    however i i'd i'll i'm i've if in into is it it's its itself just let let's ll m many may me might mine more most much
    must my myself neither nor now of off often on once one ones only onto or other others otherwise our ours ourselves out over own
    per perhaps please quite rather re s same shall she should since so some something such t than that that's the their
    theirs them themselves then there there's therefore these they they're this those though through thus to too toward
    towards under until up upon us use used using ve very via was we we're well were what what's whatever when where
    whereas whether which while who whoever whom whose why will with within would yes yet you you'd you'll you're you've your yours
    yourself yourselves
    tell know want need like mean means say says said think thanks thank ok okay hi hello
    der die das den dem des ein eine einen einem einer eines und oder aber ist sind war waren wird werden wurde wurden hat haben
    im in am an auf aus bei mit nach von vor zu zum zur für über unter als wie was wer wo wann warum welche welcher welches
    ich du er sie es wir ihr sich auch noch nur so dass man kann können
    """.split()
)
"""English and German words that carry grammar rather than content. Negations are not among them."""

NEGATIONS = frozenset("no not never none nothing nobody nowhere neither nor without cannot unless except kein keine keinen nicht nie ohne".split())


@dataclass(frozen=True, slots=True)
class Token:
    """One word (or pair of unspaced characters) and where it stands; ``stem`` is case-folded."""

    text: str
    start: int
    end: int
    stem: str

    @property
    def content(self) -> bool:
        """Whether the word says something by itself."""
        folded = self.text.casefold().replace("’", "'")
        return folded not in STOP_WORDS and folded not in NEGATIONS and not folded.endswith("n't")


class _Stemmers(threading.local):
    """Snowball's stemmer keeps the word it works on in itself, so each thread has one."""

    def __init__(self) -> None:
        import snowballstemmer

        self.english: Any = snowballstemmer.stemmer("english")


_stemmers: _Stemmers | None = None


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """English Snowball stem of one word, case-folded, accents composed, possessive 's dropped."""
    global _stemmers  # noqa: PLW0603 - made on first use, so that importing loads no stemmer
    if _stemmers is None:
        _stemmers = _Stemmers()
    folded = unicodedata.normalize("NFKC", word).casefold().replace("’", "'").removesuffix("'s")
    return str(_stemmers.english.stemWord(folded)) if folded.isascii() else folded


def tokens(text: str) -> list[Token]:
    """Every word of ``text`` in order."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        if _FIRST_UNSPACED.match(word) and len(word) > 1:
            found += [Token(word[i : i + 2], match.start() + i, match.start() + i + 2, word[i : i + 2]) for i in range(len(word) - 1)]
        else:
            found.append(Token(word, match.start(), match.end(), stem(word)))
    return found


def content_stems(text: str) -> list[str]:
    """Stems of the words of ``text`` that carry content, in order, repeats kept."""
    return [token.stem for token in tokens(text) if token.content]
