"""What every section of the configuration is."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, SupportsIndex
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, FieldSerializationInfo, PrivateAttr, SecretStr, SerializerFunctionWrapHandler, field_serializer, field_validator

from ..secrets.live import LiveSecret

_CREDENTIALS = re.compile(r"://[^/?#]*@")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_QUERY = re.compile(r"(://[^\s?#]*\?)([^\s#]+)")
_SHOWN = re.compile(r"(?<=://).*@", re.DOTALL)


class Section(BaseModel):
    """A section of the configuration: immutable, and unknown keys are errors."""

    # defer_build: the sections' own validators are built when first used; at import all 17 took 35 ms of processor time,
    # and loading needs that of `Settings` alone.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, defer_build=True, allow_inf_nan=False)

    _borrowed: dict[str, str] = PrivateAttr(default_factory=dict)

    def lent(self, **lenders: str) -> Self:
        """The same, knowing which of its values stand under another key: ``api_base="chat.api_base"``. Empty names lend nothing."""
        self._borrowed = {**self._borrowed, **{key: name for key, name in lenders.items() if name}}
        return self

    def key(self, section: str, name: str) -> str:
        """The key under which a value of this section stands, for errors."""
        return self._borrowed.get(name, f"{section}.{name}")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """User, password and the query's values within an address are shown to nobody, also where they should not stand."""
        for name, value in super().__repr_args__():
            yield name, without_query_values(_SHOWN.sub("**********@", value)) if isinstance(value, str) else value

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """A pickle would hold the secrets in the clear.

        Raises:
            TypeError: there are some.
        """
        if any(isinstance(value, SecretStr) for _, value in self):
            raise TypeError(f"{type(self).__name__} is not pickled, for it holds secrets; load the settings where they are used.")
        return super().__reduce_ex__(protocol)

    @field_serializer("*", mode="wrap")
    def _unasked(self, value: object, handler: SerializerFunctionWrapHandler, info: FieldSerializationInfo) -> object:
        """A secret that would have to be asked of a vault is shown as any other: SecretStr's own serializer looks at the value first."""
        if isinstance(value, LiveSecret):
            return str(value) if info.mode_is_json() else value
        return handler(value)

    @field_validator("*")
    @classmethod
    def _with_home(cls, value: object) -> object:
        """``~`` is the home folder in every path; no shell has replaced it in a file or variable."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error


def without_credentials(value: str | None) -> str | None:
    """An address as it is.

    Raises:
        ValueError: user and password stand in it; the message does not repeat them.
    """
    if value is not None and _CREDENTIALS.search(value):
        raise ValueError("holds user and password, which do not belong into an address: it is shown.")
    return value


def without_query_values(text: str) -> str:
    """A text in which the values of addresses' queries are hidden: they may be signatures and keys."""
    return _QUERY.sub(lambda found: found[1] + "&".join(map(_hidden_value, found[2].split("&"))), text)


def _hidden_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=**********" if equals else "**********"


def usable_address(value: str | None) -> str | None:
    """An http or https address as it is; not looked at beyond its form.

    Raises:
        ValueError: a client could not use it, or user and password stand in it; the message repeats nothing of it.
    """
    if value is not None and without_credentials(value) and not has_form(value, ("http", "https")):
        raise ValueError("is no address; write it as https://host:port.")
    return value


def usable_authority(value: str | None) -> str | None:
    """The address of an identity service as it is: a host, or an https address.

    Raises:
        ValueError: see `usable_address`.
    """
    if value is None:
        return None
    address = value if "://" in value else f"https://{value.strip()}"
    if without_credentials(value) and (not has_form(address, ("https",)) or "?" in value or "#" in value):
        raise ValueError("is no host and no https address; write it as login.microsoftonline.com.")
    return value


def has_form(address: str, schemes: Iterable[str]) -> bool:
    """Whether it is an address with one of the schemes, a host that has the form of a name or number, and a port that there is."""
    text = address.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and text.isprintable() and " " not in text and port != 0 and _is_host(host)


def _is_host(host: str) -> bool:
    try:
        if ":" in host:
            return bool(ipaddress.IPv6Address(host))
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        return False
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.removesuffix(".").split("."))
