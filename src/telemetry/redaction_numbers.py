"""Where e-mail addresses, telephone, card and account numbers stand in a text. Pure, in time in proportion to the text.

A number alone is not enough: cards need an issuer's range, its length and the check digit, IBANs their country's length and
the check digits, telephone numbers a form that prices, dates, readings and versions do not have, or a word that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Place = tuple[int, int]

_DOMAIN = re.compile(r"\w[\w-]{0,62}(?:\.[\w-]{1,63}){1,8}")
_TOP = re.compile(r"[^\W\d_]{2,63}|xn--[\w-]{1,59}")
_ALSO_LOCAL = frozenset("._%+-!#$*~^`")
MAX_LOCAL = 64

_DIGITS = re.compile(r"[0-9](?:[ ()./-]{0,3}[0-9]){5}")
"""What every card, account and telephone number holds; most lines hold none."""
_RUN = re.compile(r"(?<![0-9A-Za-z])(?<![0-9]\.)[0-9](?:[ -]?[0-9]){11,}+")
_CARD_APART = re.compile(
    r"(?<![0-9A-Za-z.])[0-9]{4}(?P<mark>\.| {2,3})(?:[0-9]{4}(?P=mark)[0-9]{4}(?P=mark)[0-9]{4}|[0-9]{6}(?P=mark)[0-9]{5})(?![0-9A-Za-z]|[.,][0-9])"
)
"""Groups of a card as they are printed, with dots or wider spaces between them."""
_BEHIND = re.compile(r"[0-9A-Za-z]|\.[0-9]")
"""What stands behind digits that are part of something else."""
_GROUP = re.compile(r"[0-9]+")

_DOUBLED = {str(digit): 2 * digit - 9 * (digit > 4) for digit in range(10)}
MIN_CARD = 12

_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}(?=[ -]?[0-9A-Za-z]{3})")
_SEPARATED = re.compile(r"[0-9A-Za-z](?:[ -]?[0-9A-Za-z])*+")
_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 "
    "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 "
    "MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 "
    "SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_LENGTH = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS.split()}
LONGEST_IBAN = 34

_SSN = re.compile(r"(?<![0-9A-Za-z-])(?<![0-9][.,])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z])(?!-[0-9])")
_SSN_NAMED = re.compile(r"\b(?:ssn|social security(?: (?:number|no\.?|#))?)(?: is)?[\s:#=]{1,4}([0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4})(?![0-9])", re.IGNORECASE)
_AMOUNT = r"(?! ?(?:[kMG]?Wh?|[kM]?V|[kM]?VA|m[³3]|kg|ms|s|%|[€$£]|EUR|USD|took|users?|customers?|devices?|records?|rows?|items?|failed|returned|ended)(?!\w))"
"""Behind a number that counts something, whatever stands before it."""
_ACCOUNT = re.compile(
    r"\b(?:(?:bank |customer |checking |savings )?(?:account|acct|a/c)|routing|sort code|konto|iban|bic|swift)(?:[ _-]?(?:number|num|no\.?|nr\.?|id|nummer))?"
    r"(?: is)?[\"']?[\s:#=]{1,4}[\"']?([0-9](?:[ -]?[0-9]){5,19})(?![0-9A-Za-z]|[.,][0-9])" + _AMOUNT,
    re.IGNORECASE,
)

_PHONES = (
    # with its country: +44 20 7946 0958, 0049 (0)30 901820
    re.compile(
        r"(?<![0-9A-Za-z.])(?:\+(?!1?[0-9]{1,2}\.[0-9]{4,6}(?![0-9]|[ ./()-]{1,3}[0-9]))|00(?=[1-9]{2}[ (./-]))"  # and no degrees: +48.13743
        r"[1-9][0-9]{0,2}(?:[ .-]?\(0?\))?(?:[ ./-]{0,2}\(?[0-9]{1,5}\)?){2,6}(?![0-9A-Za-z]|[.,][0-9])"
    ),
    # North America: (555) 123-4567, 555-123-4567, 1-800-555-0199
    re.compile(r"(?<![0-9A-Za-z.,-])(?:1[ .-])?\([2-9][0-9]{2}\) {0,2}[0-9]{3}[ .-]?[0-9]{4}(?![0-9A-Za-z]|[.,-][0-9])"),
    re.compile(r"(?<![0-9A-Za-z.,-])(?:1[ .-])?[2-9][0-9]{2}(?P<mark>[.-])[0-9]{3}(?P=mark)[0-9]{4}(?![0-9A-Za-z]|[.,-][0-9])"),
    re.compile(
        r"(?<![0-9A-Za-z.,-])(?:1 )?[2-9][0-9]{2} [0-9]{3} [0-9]{4}"
        r"(?![0-9A-Za-z]|[.,-][0-9]| ?(?:[kMG]?Wh?\b|[kMG]?VA|m[³3]|kg|%|[€$£]))"
    ),
    # with the trunk's zero: 020 7946 0958, 089/123456, 01 23 45 67 89
    re.compile(
        r"(?<![0-9A-Za-z.,/-])(?:\(0[1-9][0-9]{1,4}\) ?|0[1-9][0-9]{1,4}[ /-])[0-9]{3,8}(?:[ -][0-9]{2,5}){0,2}(?![0-9A-Za-z]|[.,/-][0-9]| ?[kMG]?Wh?\b)"
    ),
    re.compile(r"(?<![0-9A-Za-z.,-])0[1-9](?:(?P<mark>[ .-])[0-9]{2})(?:(?P=mark)[0-9]{2}){3}(?![0-9A-Za-z]|[.,-]?[0-9])"),
)
_PHONE_NAMED = re.compile(
    r"\b(?:tele)?(?:phone|fon)(?: ?(?:number|no\.?|nummer))?(?: is)?[\"']?[\s:#=]{1,4}[\"']?(\+?\(?[0-9](?:[ ()./-]{0,2}[0-9]){5,14})(?![0-9A-Za-z])"
    r"|\b(?:tel|mobile|cell|fax|handy|whatsapp|sms|call(?: me| us)?(?: (?:on|at))?)\.?(?: ?(?:number|no\.?|nummer))?[\"']?[\s:#=]{1,4}[\"']?"
    r"(\+?\(?[0-9](?:[ ()./-]{0,2}[0-9]){6,14})(?![0-9A-Za-z]|[.,][0-9])" + _AMOUNT,
    re.IGNORECASE,
)
MIN_PHONE, MIN_NATIONAL = 7, 9
"""Digits of a telephone number that is not named as one; with the trunk's zero, for times and dates begin with one too."""


def emails(text: str) -> Iterator[Place]:
    """Addresses with a host that has a top-level domain; letters of every script."""
    for mark in ("@", "%40"):  # the second within addresses of the web
        at = text.find(mark)
        while at >= 0:
            start = at
            while start > max(0, at - MAX_LOCAL) and _is_local(text, start - 1):
                start -= 1
            end = _end_of_domain(text, at + len(mark))
            if start < at and end:
                yield start, end
            at = text.find(mark, at + 1)


def _is_local(text: str, place: int) -> bool:
    char = text[place]
    return char.isalnum() or char in _ALSO_LOCAL or (char in "'’" and place > 0 and text[place - 1].isalnum())


def _end_of_domain(text: str, start: int) -> int:
    found = _DOMAIN.match(text, start)
    if found is None:
        return 0
    labels = found[0].split(".")
    while len(labels) > 1 and not _TOP.fullmatch(labels[-1]):
        labels.pop()
    return start + len(".".join(labels)) if len(labels) > 1 else 0


def cards(text: str) -> Iterator[Place]:
    """Numbers within a card issuer's range, of its length, whose check digit (Luhn's) is right; in groups or not."""
    if _DIGITS.search(text) is None:
        return
    for run in _RUN.finditer(text):
        whole = run[0]
        groups = [found.span() for found in _GROUP.finditer(whole)]
        digits = "".join(whole[begin:end] for begin, end in groups)
        before, ends = 0, {}
        for begin, end in groups:
            before += end - begin
            ends[before] = end
        before = 0
        for begin, end in groups:
            last = _card_end(digits, before, ends)
            if last and (last < len(whole) or not _BEHIND.match(text, run.end())):
                yield run.start() + begin, run.start() + last
            before += end - begin
    for found in _CARD_APART.finditer(text):
        digits = "".join(filter(str.isdigit, found[0]))
        if len(digits) in _card_lengths(digits[:4]) and luhn(digits):
            yield found.span()


def _card_end(digits: str, start: int, ends: dict[int, int]) -> int:
    """Where a card's number ends whose digits begin at ``start``; 0 where none does.

    Args:
        ends: by the number of digits up to there, where groups of them end.
    """
    lengths = _card_lengths(digits[start : start + 4]) if len(digits) - start >= MIN_CARD else ()
    return next((ends[start + length] for length in lengths if start + length in ends and luhn(digits[start : start + length])), 0)


def _card_lengths(digits: str) -> tuple[int, ...]:
    """How long numbers of the issuer with these first four digits are; none where there is no such issuer."""
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589:
        return (16,)
    if two in (34, 37):
        return (15,)
    if two in (36, 38, 39) or 300 <= three <= 305:
        return (14, 16, 19)
    if two == 62 or two == 65 or 644 <= three <= 649 or four == 6011:
        return (16, 17, 18, 19)
    return tuple(range(12, 20)) if four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) else ()


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others."""
    return (sum(map(int, digits[::-2])) + sum(_DOUBLED[char] for char in digits[-2::-2])) % 10 == 0


def accounts(text: str) -> Iterator[Place]:
    """IBANs whose check digits are right, US social security numbers, and numbers that the words before them call an account's."""
    for found in _IBAN.finditer(text):
        end = _iban_end(text, found.start())
        if end:
            yield found.start(), end
    if _DIGITS.search(text) is None:
        return
    yield from (found.span() for found in _SSN.finditer(text))
    for pattern in (_SSN_NAMED, _ACCOUNT):
        yield from (found.span(1) for found in pattern.finditer(text))


def _iban_end(text: str, start: int) -> int:
    length = _LENGTH.get(text[start : start + 2].upper())
    if length is None:
        return 0
    # So many separators as there may be between groups of one.
    run = _SEPARATED.match(text, start, start + 2 * LONGEST_IBAN)
    places = [place for place in range(start, run.end() if run else start) if text[place].isalnum()][:length]
    if len(places) < length or text[places[-1] + 1 : places[-1] + 2].isalnum():
        return 0
    number = "".join(text[place] for place in places).upper()
    return places[-1] + 1 if int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1 else 0


def phones(text: str) -> Iterator[Place]:
    """Telephone numbers with their country, in North America's and trunk-zero forms, and those that are named as such."""
    if _DIGITS.search(text) is None:
        return
    for pattern in _PHONES:
        for found in pattern.finditer(text):
            # Without an upper bound: two of them side by side look like a long one.
            if sum(char.isdigit() for char in found[0]) >= (MIN_NATIONAL if found[0].startswith(("0", "(0")) else MIN_PHONE):
                yield found.span()
    for found in _PHONE_NAMED.finditer(text):
        yield found.span(1) if found[1] else found.span(2)
