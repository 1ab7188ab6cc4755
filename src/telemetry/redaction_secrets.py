"""Where secrets stand in a text: keys, tokens, passwords in addresses, headers, connection strings and assignments. Pure.

All expressions are bounded or possessive: they take time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

Place = tuple[int, int]
"""Start and end."""

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----(?:(?!-----END ).)*+(?:-----END [A-Z0-9 ]{1,40}-----)?", re.DOTALL)
_PEM_REST = re.compile(r"(?:(?!-----BEGIN )(?!-----END ).)*+-----END [A-Z0-9 ]{0,20}PRIVATE KEY-----", re.DOTALL)

_KEY = r"(?:api|access|account|secret|private|shared|sharedaccess|signing|encryption|master|storage|subscription|functions|host|auth|session)[_ .-]?key"
_WORDS = (
    r"(?:password|passwd|passphrase|passcode|passwort|kennwort|(?<![a-z])pwd?|secret|token|client[_-]?assertion|code[_-]?verifier|session[_-]?id|"
    rf"{_KEY}|connection[_ -]?string|(?<![a-z])(?:sas|sig|signature|pin|cvv2?|cvc|otp)|(?<=[?&;])(?:pass|key|code))"
    r"(?:[_-]?(?:key|value|text|string|id|[0-9]{1,3}))?"
)
_IS = r"\\{0,3}[\"']?\s{0,4}(?::=|=>|[:=])\s{0,4}"
_BESIDE = r"\\{0,3}[\"']\s{0,4},\s{0,4}(?=[bru]{0,2}\\{0,3}[\"'])"
"""Name and value as the members of a pair: ``('x-api-key', 'abc')``."""
_EMPTY = r"(?!(?:none|null|nil|true|false|undefined)(?!\w)|SecretStr\('\*|\[redacted:|\*{3})"
_NO_QUOTE = r"(?![bru]{0,2}\\{0,3}[\"'])"
_ASSIGNED = re.compile(
    rf"{_WORDS}(?:{_IS}|{_BESIDE})(?:[bru]{{0,2}}\"(?P<double>{_EMPTY}(?:[^\"\\]|\\.)++)|[bru]{{0,2}}'(?P<single>{_EMPTY}(?:[^'\\]|\\.)++)"
    rf"|\\{{1,3}}(?P<mark>[\"'])(?P<nested>{_EMPTY}(?:(?!\\{{1,3}}(?P=mark)).)++)|{_NO_QUOTE}(?P<bare>{_EMPTY}[^\s\"'&;]++))",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    rf"(?:authorization|(?<![a-z])(?:set-)?cookie)(?:{_IS}|{_BESIDE})"
    rf"(?:[bru]{{0,2}}\\{{0,3}}[\"'](?P<quoted>{_EMPTY}[^\"'\r\n]++)|{_NO_QUOTE}(?P<bare>{_EMPTY}[^\s\"'][^\"'\r\n]*+))",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"--(?:[a-z-]{0,20}(?:password|passphrase|token|secret|key)) (?:\"(?P<double>[^\"]++)|'(?P<single>[^']++)|(?P<bare>[^\s\"'\[-][^\s]*+))", re.IGNORECASE
)
_SPOKEN = re.compile(r"(?:password|passphrase|passcode|pin|passwort|kennwort)\s{1,4}(?:is|was|ist)[\s:]{1,4}(?P<value>[^\s\[][^\s]*+)", re.IGNORECASE)
_SCHEME = re.compile(r"\b(?:Bearer|Basic|Negotiate|NTLM|SharedKey|AWS4-HMAC-SHA256)\s{1,4}(?P<value>[A-Za-z0-9._~+/=:-]{8,})", re.IGNORECASE)
_USERINFO = re.compile(r"://(?P<value>[^\s/?#@:\"'<>]{0,128}+:(?![0-9]{1,5}(?:[/?#]|$))[^\s\"'<>?#&]{0,512}@|[^\s/?#\"'<>]{1,512}@)")
_SIGNED = re.compile(r"[?&;]x-amz-[a-z-]{1,40}=(?P<value>[^\s&\"'<>#]++)", re.IGNORECASE)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]*+){0,3}")
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AIPA|ANPA|ANVA|APKA)[A-Z0-9]{16}"
    r"|sk-[A-Za-z0-9_-]{16,}+|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9]{16,}+"
    r"|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+|glpat-[A-Za-z0-9_-]{16,}+"
    r"|xox[abeoprs]-[A-Za-z0-9-]{8,}+|xapp-[A-Za-z0-9-]{8,}+|hooks\.slack\.com/services/[A-Za-z0-9/]{8,}+"
    r"|AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9_-]{16,}+|GOCSPX-[A-Za-z0-9_-]{16,}+"
    r"|hf_[A-Za-z0-9]{20,}+|npm_[A-Za-z0-9]{20,}+|pypi-[A-Za-z0-9_-]{16,}+|dapi[a-f0-9]{32}|hv[sb]\.[A-Za-z0-9_-]{20,}+"
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|rag_[A-Za-z0-9_-]{40,}+|AGE-SECRET-KEY-1[A-Z0-9]{20,}+"
    r")"
)
_DIGIT = re.compile(r"[0-9]")
_STEMS = "pass kennwort pw secret token key assertion verifier session connection sas sig pin cv otp code authorization cookie x-amz".split()
LONG = 24
"""Characters from which a word after a scheme's name is no word of a sentence."""


def secrets(text: str) -> Iterator[Place]:
    """Where secrets stand; places may overlap."""
    if "-----" in text:
        yield from (found.span() for found in _PEM.finditer(text))
        if rest := _PEM_REST.match(text):
            yield rest.span()
    for pattern in (_KNOWN, _JWT):
        yield from (found.span() for found in pattern.finditer(text))
    if "://" in text:
        # The sign that ends it stays: what is left is still an address.
        yield from ((found.start("value"), found.end("value") - 1) for found in _USERINFO.finditer(text))
    # Looking for the words themselves is a tenth of the work.
    small = text.lower()
    if any(stem in small for stem in _STEMS):
        for pattern in (_ASSIGNED, _HEADER, _OPTION, _SIGNED):
            yield from (_value(found) for found in pattern.finditer(text))
        yield from (found.span("value") for found in _SPOKEN.finditer(text) if _DIGIT.search(found["value"]))
    yield from (found.span("value") for found in _SCHEME.finditer(text) if _DIGIT.search(found["value"]) or len(found["value"]) >= LONG)


def _value(found: re.Match[str]) -> Place:
    """The one of the groups that took part; the mark of a quotation is none."""
    return next(found.span(name) for name, value in found.groupdict().items() if value is not None and name != "mark")


_SECRET_NAME = re.compile(rf"{_WORDS}|.*authorization|(?:set-)?cookie|.*(?:password|secret|token|api_?key|private_?key)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.fullmatch(name.rpartition(".")[2]) is not None
