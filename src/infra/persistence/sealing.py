"""What a checkpoint's values become before they are stored: strict msgpack, and sealed where keys are configured."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...errors import ConfigurationError, MissingExtraError, StorageCorruptError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from ..config import PersistenceCfg

SETTING = "persistence.encryption_keys"
CIPHER = "aesgcm"
NONCE_BYTES = 12
_LENGTHS = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class Blob:
    """A plain value that must not lie inline beside a checkpoint: LangGraph stores what is no plain value through the serializer."""

    value: Any


class StrictSerializer(JsonPlusSerializer):
    """LangGraph's serializer, which takes the value out of a `Blob`."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return super().dumps_typed(obj.value if isinstance(obj, Blob) else obj)


def strict_serializer() -> StrictSerializer:
    """Reads nothing but LangGraph's list of safe types: no pickle, no class named by what is stored."""
    return StrictSerializer(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)


def make_serializer(cfg: PersistenceCfg) -> SerializerProtocol:
    """The serializer of ``[persistence]``: sealed where ``encryption_keys`` are set.

    Raises:
        ConfigurationError: the keys cannot be read.
        MissingExtraError: there are keys, and cryptography is not installed.
    """
    strict = strict_serializer()
    return strict if cfg.encryption_keys is None else SealedSerializer(strict, parse_keys(cfg.encryption_keys.get_secret_value()))


def unsealed() -> StorageCorruptError:
    return StorageCorruptError("A checkpoint is not encrypted, though encryption is on.", setting=SETTING, hint="Delete the thread, or restore it.")


def parse_keys(text: str) -> dict[str, bytes]:
    """Keys by name, in order, from ``name:base64, name:base64``.

    Raises:
        ConfigurationError: it reads otherwise; the message names no key's value.
    """
    keys, wrong = _read_keys(text)
    if wrong:
        del text, keys  # some show the local variables of the frames of an error
        hint = "Write NAME:BASE64 of 32 random bytes (openssl rand -base64 32), comma separated; the first one seals, all open."
        raise ConfigurationError(f"The {wrong}. encryption key is no NAME:BASE64 of 16, 24 or 32 bytes, or repeats a name.", setting=SETTING, hint=hint)
    return keys


def _read_keys(text: str) -> tuple[dict[str, bytes], int]:
    """Keys by name, and the place of the first that is none, from 1; 0 where all are good."""
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, value = entry.strip().partition(":")
        try:
            key = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) not in _LENGTHS or not name.isidentifier() or name in keys:
            return keys, place
        keys[name] = key
    return keys, 0


class SealedSerializer:
    """AES-GCM around another serializer. Its types read ``msgpack+aesgcm.NAME``; the type is authenticated with the value.

    What is stored unsealed is refused, as is what was sealed with an unknown key or changed since: who can write to the
    database cannot put words into a conversation, only exchange values of one key for each other or restore old ones.

    Args:
        inner: makes bytes of values.
        keys: by name; the first one seals, all open.
    """

    def __init__(self, inner: SerializerProtocol, keys: dict[str, bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise MissingExtraError("Sealed checkpoints need the package cryptography.", setting=SETTING, hint="Install founders-rag[postgres].") from None
        self._inner = inner
        self._ciphers: dict[str, AESGCM] = {name: AESGCM(key) for name, key in keys.items()}
        self._name = next(iter(keys))

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        kind, data = self._inner.dumps_typed(obj)
        sealed_kind = f"{kind}+{CIPHER}.{self._name}"
        nonce = os.urandom(NONCE_BYTES)
        return sealed_kind, nonce + self._ciphers[self._name].encrypt(nonce, data, sealed_kind.encode())

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value.

        Raises:
            StorageCorruptError: it is not sealed, not with a key that is known, or was changed.
        """
        from cryptography.exceptions import InvalidTag

        sealed_kind, sealed = data
        kind, _, cipher = sealed_kind.partition("+")
        algorithm, _, name = cipher.partition(".")
        if algorithm != CIPHER:
            raise unsealed()
        if name not in self._ciphers:
            raise StorageCorruptError(
                f"A checkpoint is encrypted with the key `{name[:40]}`, which is not configured.", setting=SETTING, hint="Add the old key at the end."
            )
        try:
            plain = self._ciphers[name].decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], sealed_kind.encode())
        except (InvalidTag, ValueError):
            raise StorageCorruptError(
                "An encrypted checkpoint was changed, or is of another key with the same name.", setting=SETTING, hint="Restore it; check the keys."
            ) from None
        return self._inner.loads_typed((kind, plain))

    def seal_text(self, text: str) -> str:
        """One text, such as a title, for a column of text."""
        kind, data = self.dumps_typed(text)
        return f"{kind}:{base64.b64encode(data).decode()}"

    def open_text(self, sealed: str) -> str:
        """The text of `seal_text`; raises as `loads_typed`."""
        kind, _, data = sealed.rpartition(":")
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        return str(self.loads_typed((kind, raw)))
