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

_KEY = r"(?:api|access|account|secret|private|shared|sharedaccess|signing|encryption|master|storage|subscription|functions|host|auth|session)[_ .-]?keys?"
_WORDS = (
    r"(?:passwords?|passwd|passphrases?|passcodes?|passwort|kennwort|(?<![a-z])pwd?|secrets?|credentials?|(?<![a-z])(?:creds|jwts?)|token|client[_-]?assertion|code[_-]?verifier|session[_-]?id|"
    rf"{_KEY}|connection[_ -]?string|(?<![a-z])(?:sas|sig|signature|pin|cvv2?|cvc|otp)|(?<=[?&;])(?:pass|key|code))"
    r"(?:[_-]?(?:key|value|text|string|id|[0-9]{1,3}))?"
)
_IS = r"\\{0,3}[\"']?\s{0,4}(?::=|=>|[:=])\s{0,4}"
_BESIDE = r"\\{0,3}[\"']\s{0,4},\s{0,4}(?=[bru]{0,2}\\{0,3}[\"'])"
"""Name and value as the members of a pair: ``('x-api-key', 'abc')``."""
_EMPTY = r"(?!(?:none|null|nil|true|false|undefined)(?!\w)|SecretStr\('\*|\[redacted:|\*{3})"
_PLAIN = (
    r"(?:none|missing|required|optional|unchanged|changed|unset|empty|absent|expired|invalid|valid|unknown|disabled|enabled|withheld"
    r"|not (?:set|found|given|known|configured|needed|required|allowed))"
)
"""What is said of a secret and is none."""
_SAID = rf"(?!{_PLAIN}[.,;:!?)\]}}]{{0,3}}(?:[\s\"'&]|$)|(?:see|the)\s)"
_NO_QUOTE = r"(?![bru]{0,2}\\{0,3}[\"'])"
_ASSIGNED = re.compile(
    rf"{_WORDS}(?:{_IS}|{_BESIDE})(?:[bru]{{0,2}}\"(?P<double>{_EMPTY}(?!{_PLAIN}\")(?:[^\"\\]|\\.)++)|[bru]{{0,2}}'(?P<single>{_EMPTY}(?!{_PLAIN}')(?:[^'\\]|\\.)++)"
    rf"|\\{{1,3}}(?P<mark>[\"'])(?P<nested>{_EMPTY}(?:(?!\\{{1,3}}(?P=mark)).)++)|{_NO_QUOTE}(?P<bare>{_EMPTY}{_SAID}[^\s\"'&;]++))",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    rf"(?:authorization|(?<![a-z])(?:set-)?cookie)(?:{_IS}|{_BESIDE})"
    rf"(?:[bru]{{0,2}}\\{{0,3}}[\"'](?P<quoted>{_EMPTY}[^\"'\r\n]++)|{_NO_QUOTE}(?P<bare>{_EMPTY}{_SAID}[^\s\"'][^\"'\r\n]*+))",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"--(?:[a-z-]{0,20}(?:password|passphrase|token|secret|key)) (?:\"(?P<double>[^\"]++)|'(?P<single>[^']++)|(?P<bare>[^\s\"'\[-][^\s]*+))", re.IGNORECASE
)
_SPOKEN = re.compile(r"(?:password|passphrase|passcode|pin|passwort|kennwort)\s{1,4}(?:is|was|ist)[\s:]{1,4}(?P<value>[^\s\[][^\s]*+)", re.IGNORECASE)
_GIVEN = re.compile(r"\bpasswd\s{1,4}(?P<value>(?=[^\s]{0,64}[0-9])(?=[^\s]{0,64}[a-z])[a-z0-9][^\s]{5,}+)", re.IGNORECASE)
_ELEMENT = re.compile(rf"<(?:[\w.-]{{1,30}}:)?[\w.-]{{0,20}}{_WORDS}(?:\s[^<>]{{0,100}})?>(?P<value>{_EMPTY}(?!{_PLAIN}<)[^<\s][^<]*+)</", re.IGNORECASE)
_USER = re.compile(r"\s(?:-u|--user|--proxy-user)[ =]{0,2}[\"']?[^\s:\"']{0,64}:(?P<value>[^\s\"'<>]++)")
"""Of a command line of curl."""
_SCHEME = re.compile(r"\b(?:Bearer|Basic|Negotiate|NTLM|SharedKey|AWS4-HMAC-SHA256)\s{1,4}(?P<value>[A-Za-z0-9._~+/=:-]{8,})", re.IGNORECASE)
_USERINFO = re.compile(r"://(?P<value>[^\s/?#@:\"'<>]{0,128}+:(?![0-9]{1,5}(?:[/?#]|$))[^\s\"'<>?#&]{0,512}@|[^\s/?#\"'<>]{1,512}@)")
_SIGNED = re.compile(r"[?&;]x-amz-[a-z-]{1,40}=(?P<value>[^\s&\"'<>#]++)", re.IGNORECASE)
_JWT_HEAD = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{9,}+(?=\.)")
_JWT_REST = re.compile(r"\.[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]*+){0,3}")
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA|AIPA|ANPA|ANVA|APKA)[A-Z0-9]{16}"
    r"|sk-[A-Za-z0-9_-]{16,}+|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9]{16,}+"
    r"|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+|glpat-[A-Za-z0-9_-]{16,}+"
    r"|xox[abeoprs]-[A-Za-z0-9-]{8,}+|xapp-[A-Za-z0-9-]{8,}+|hooks\.slack\.com/services/[A-Za-z0-9/]{8,}+"
    r"|AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9_-]{16,}+|GOCSPX-[A-Za-z0-9_-]{16,}+"
    r"|hf_[A-Za-z0-9]{20,}+|npm_[A-Za-z0-9]{20,}+|pypi-[A-Za-z0-9_-]{16,}+|dapi[a-f0-9]{32}|hv[sb]\.[A-Za-z0-9_-]{20,}+"
    r"|gsk_[A-Za-z0-9]{20,}+|do[opr]_v1_[a-f0-9]{32,}+|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}|xai-[A-Za-z0-9]{20,}+|nvapi-[A-Za-z0-9_-]{20,}+|r8_[A-Za-z0-9]{20,}+"
    r"|glsa_[A-Za-z0-9_]{20,}+|ATATT3x[A-Za-z0-9_=-]{20,}+|dckr_[po]at_[A-Za-z0-9_-]{16,}+|tskey-[a-z]{2,12}-[A-Za-z0-9-]{10,}+"
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|rag_[A-Za-z0-9_-]{40,}+|AGE-SECRET-KEY-1[A-Z0-9]{20,}+"
    r")"
)
_DIGIT = re.compile(r"[0-9]")
_PAGING = re.compile(r"(?:next|page|prev|previous|continuation|pagination|start)[_-]?\Z", re.IGNORECASE)
"""Before ``token``: where a list goes on."""
_STEMS = "pass kennwort pw cred jwt secret token key assertion verifier session connection sas sig pin cv otp code authorization cookie x-amz".split()
LONG = 24
"""Characters from which a word after a scheme's name is no word of a sentence."""


def secrets(text: str) -> Iterator[Place]:
    """Where secrets stand; places may overlap."""
    if "-----" in text:
        yield from (found.span() for found in _PEM.finditer(text))
        if rest := _PEM_REST.match(text):
            yield rest.span()
    yield from (found.span() for found in _KNOWN.finditer(text))
    if "eyJ" in text:
        yield from _jwts(text)
    if "://" in text:
        # The sign that ends it stays: what is left is still an address.
        yield from ((found.start("value"), found.end("value") - 1) for found in _USERINFO.finditer(text))
    # Looking for the words themselves is a tenth of the work.
    small = text.lower()
    if any(stem in small for stem in _STEMS):
        for pattern in (_ASSIGNED, _HEADER, _OPTION, _SIGNED, _GIVEN, _ELEMENT):
            yield from (_value(found) for found in pattern.finditer(text) if not _pages(text, found.start()))
        yield from (found.span("value") for found in _SPOKEN.finditer(text) if _DIGIT.search(found["value"]))
    if "curl" in small:
        yield from (found.span("value") for found in _USER.finditer(text) if text.rfind("curl", max(0, found.start() - 200), found.start()) >= 0)
    yield from (found.span("value") for found in _SCHEME.finditer(text) if _DIGIT.search(found["value"]) or len(found["value"]) >= LONG)


def _jwts(text: str) -> Iterator[Place]:
    for head in _JWT_HEAD.finditer(text):
        # Looked for within the head: an expression that began with it would read the rest of the head for each of them.
        start = text.find("eyJ", head.start(), head.end() - 6)
        if start >= 0 and (rest := _JWT_REST.match(text, head.end())):
            yield start, rest.end()


def _value(found: re.Match[str]) -> Place:
    """The one of the groups that took part; the mark of a quotation is none."""
    return next(found.span(name) for name, value in found.groupdict().items() if value is not None and name != "mark")


def _pages(text: str, start: int) -> bool:
    """Whether the word that begins there is the token of a list's next page."""
    return text[start : start + 5].lower() == "token" and _PAGING.search(text, max(0, start - 14), start) is not None


_SECRET_NAME = re.compile(
    rf"{_WORDS}|.*authorization|(?:set-)?cookies?|.*(?:passwords?|secrets?|credentials?|token|(?:api|private|subscription|access|account|shared|secret)[_-]?keys?)",
    re.IGNORECASE,
)
_PAGES = re.compile(r"(?:.*[_-])?(?:next|page|prev|previous|continuation|pagination|start)[_-]?token", re.IGNORECASE)
_NOTHING = re.compile(_PLAIN, re.IGNORECASE)
_NUMBER = "(?:[_-]?(?:number|num|no|nr))"
_NAMES = (
    ("phone", re.compile(rf"(?:.*[_-])?(?:(?:tele)?phone|mobile|cell|fax){_NUMBER}?s?", re.IGNORECASE)),
    ("account", re.compile(rf"(?:.*[_-])?(?:(?:account|acct|routing|konto){_NUMBER}s?|ibans?|ssn|social_?security(?:_?number)?|sort_?code)", re.IGNORECASE)),
    ("card", re.compile(rf"(?:.*[_-])?card{_NUMBER}s?", re.IGNORECASE)),
)


def says_nothing(value: object) -> bool:
    """Whether this is what is said of a secret that is missing, for example, and none itself."""
    return isinstance(value, str) and _NOTHING.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def kind_of_name(name: str) -> str:
    """What a field of this name holds, whatever its value looks like: ``secret``, ``phone``, ``account`` or ``card``; empty where nothing private."""
    last = name.rpartition(".")[2]
    if _SECRET_NAME.fullmatch(last) is not None and _PAGES.fullmatch(last) is None:
        return "secret"
    return next((kind for kind, pattern in _NAMES if pattern.fullmatch(last)), "")
