"""Which place of the configuration is responsible for a setting, in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configuring.provenance import DEFAULT

if TYPE_CHECKING:
    from ..config import Settings

_INSTEAD = {
    "network.proxy": ("network.https_proxy", "network.http_proxy"),
    "network.proxy_username": ("network.proxy", "network.https_proxy", "network.http_proxy"),
    "network.proxy_password": ("network.proxy_username", "network.proxy"),
    "embed.api_base": ("chat.api_base",),
    "embed.api_version": ("chat.api_version",),
    "embed.api_key": ("chat.api_key", "azure_openai.api_key"),
    "chat.api_key": ("azure_openai.api_key",),
}
"""Where a value comes from when its own key is not set."""
ALTERNATIVE = " or "
"""Between the keys of a setting that has several, as some errors name them."""


def settings_of(setting: str) -> tuple[str, ...]:
    """The keys of a setting that an error names."""
    return tuple(part for part in setting.split(ALTERNATIVE) if part)


def source_text(settings: Settings, setting: str) -> str:
    """Where the value came from: ``file /etc/rag.ini:12``, ``environment RAG_SEARCH__HOST``; the empty text for no setting.

    Where a value is inherited from another key, that key and its place are named.
    """
    keys = settings_of(setting)
    if not keys:
        return ""
    known = settings.provenance.sources
    for key in keys:
        if key in known:
            return str(known[key]) if len(keys) == 1 else f"{key}: {known[key]}"
        inherited = next((other for other in _INSTEAD.get(key, ()) if other in known), None)
        if inherited is not None:
            return f"{inherited}: {known[inherited]}"
    return str(DEFAULT)


def outranking(settings: Settings, key: str) -> str:
    """The place of a key that a line in a file cannot change, because it outranks files; else the empty text."""
    found = settings.provenance.sources.get(key, DEFAULT)
    return str(found) if found.kind in ("environment", "secret") else ""
