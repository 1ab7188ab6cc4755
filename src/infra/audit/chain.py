"""The hash chain, pure: what a record's line is, and how one follows from the other.

A record's MAC is HMAC-SHA256 over its canonical JSON: sorted keys, no spaces, ASCII. That holds its number ``n``, its time, the names of
chain and key, and ``prev``, the MAC of the record before it. So no record can be changed, left out, moved or put in without the key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigurationError

KEY_SETTING = "audit.keys"
KEY_BYTES = 32
GENESIS = "0" * 64
"""``prev`` of the first record."""
RECOVERED = "audit.recovered"
"""Action of the record after a line that a killed writer left torn; it holds that line's length and hash."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain: its number, its MAC, and the chain's own random name, which each record holds."""

    n: int = 0
    mac: str = GENESIS
    chain: str = ""


class Keyring:
    """The keys of `[audit] keys`: the first signs, all verify. Its repr holds none.

    Chain and pseudonyms have keys of their own, derived from the configured ones.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.current = next(iter(keys))
        self._chain = {name: _derived(key, b"founders-rag audit chain v1") for name, key in keys.items()}
        self._names = {name: _derived(key, b"founders-rag audit pseudonyms v1") for name, key in keys.items()}
        self._states = {name: _derived(key, b"founders-rag audit configuration v1") for name, key in keys.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._chain

    def mac(self, name: str, body: bytes) -> str:
        """The MAC of a record's canonical JSON under a key, in hexadecimal."""
        return hmac.digest(self._chain[name], body, "sha256").hex()

    def pseudonym(self, kind: str, value: str) -> str:
        """What stands for a user, tenant, document or address under the present key; the same for the same."""
        return self._pseudonym(self.current, kind, value)

    def pseudonyms(self, kind: str, value: str) -> frozenset[str]:
        """What stands for it under any of the keys."""
        return frozenset(self._pseudonym(name, kind, value) for name in self._names)

    def fingerprint(self, text: str) -> str:
        """A keyed hash of what must not be found out by guessing: 16 hexadecimal digits."""
        return hmac.digest(self._states[self.current], text.encode("utf-8", "surrogatepass"), "sha256").hex()[:16]

    def _pseudonym(self, name: str, kind: str, value: str) -> str:
        return "~" + hmac.digest(self._names[name], f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, purpose, "sha256")


def parse_keys(text: str) -> Keyring:
    """Keys from ``name:base64, name:base64``.

    Raises:
        ConfigurationError: it reads otherwise; the message names no key's value.
    """
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, value = entry.strip().partition(":")
        key = _decoded(value)
        if len(key) != KEY_BYTES or not name.isidentifier() or name in keys:
            del text, entry, value, key, keys  # some show the local variables of the frames of an error
            hint = "Write NAME:BASE64 of 32 random bytes (openssl rand -base64 32), comma separated; the first one signs, all verify."
            raise ConfigurationError(f"The {place}. key of the audit trail is no NAME:BASE64 of 32 bytes, or repeats a name.", setting=KEY_SETTING, hint=hint)
        keys[name] = key
    return Keyring(keys)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one way to write a record."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def sealed(body: Mapping[str, Any], head: Head, keys: Keyring) -> tuple[bytes, Head]:
    """The line of the record that follows ``head``, with its line end; and the new head."""
    record: Record = {**body, "v": 1, "chain": head.chain, "n": head.n + 1, "prev": head.mac, "key": keys.current}
    mac = keys.mac(keys.current, canonical(record))
    return canonical({**record, "mac": mac}) + b"\n", Head(head.n + 1, mac, head.chain)


def opened(line: bytes) -> Record | None:
    """The record of a line without its line end; None where it is not one, written in the one way."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not _has_form(record):
        return None
    try:
        return record if canonical(record) == line else None
    except (ValueError, TypeError, RecursionError):
        return None


def _has_form(record: Record) -> bool:
    kinds: dict[str, type] = {"n": int, **dict.fromkeys(("chain", "mac", "prev", "key", "action", "time"), str)}
    return all(type(record.get(name)) is kind for name, kind in kinds.items()) and record["n"] > 0


def authentic(record: Record, keys: Keyring) -> bool:
    """Whether its MAC is that of its content, under a key that is known."""
    if record["key"] not in keys:
        return False
    body = {name: value for name, value in record.items() if name != "mac"}
    return hmac.compare_digest(keys.mac(record["key"], canonical(body)), record["mac"])


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal: of torn lines."""
    return hashlib.sha256(data).hexdigest()
