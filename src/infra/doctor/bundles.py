"""Files and folders of authorities that load, and still let nothing be trusted."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .certificates import day
from .handshake import Seen, seen

if TYPE_CHECKING:
    from ..config import NetworkCfg

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_PEM = frozenset({".pem", ".crt", ".cer"})


def bundle_problem(cfg: NetworkCfg) -> tuple[str, str]:
    """What is wrong with a bundle that OpenSSL takes all the same, and what to do; both empty where nothing is. Reads it."""
    path = cfg.ca_bundle
    if path is None:
        return "", ""
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}.", "Give this user read permission, on a folder's files too."


def _file(path: Path) -> tuple[str, str]:
    return _ended(path, authorities_in(path.read_text("ascii", "replace")), "Have the present authorities sent, and replace the file.")


def _folder(path: Path) -> tuple[str, str]:
    names = [entry.name for entry in path.iterdir()]
    hashed = [name for name in names if _HASHED.fullmatch(name)]
    if hashed:
        return _ended(path, _of_folder(path), f"Put the present authorities there, and run: openssl rehash {path}")
    loose = [name for name in names if Path(name).suffix.lower() in _PEM]
    if loose:
        text = f"The folder {path} holds {len(loose)} certificate files, and none under the name that OpenSSL looks for."
        return text, f"Run: openssl rehash {path}; or name one PEM file."
    return f"The folder {path} holds no authority.", f"Put PEM files there and run: openssl rehash {path}; or name one PEM file."


def _ended(path: Path, found: Sequence[Seen], hint: str) -> tuple[str, str]:
    now = time.time()
    if not found or any(one.not_after >= now for one in found):
        return "", ""
    last = max(found, key=lambda one: one.not_after)
    return f"Every authority in {path} has expired, the last of them ({last.subject}) on {day(last.not_after)}.", hint


def _of_folder(path: Path) -> tuple[Seen, ...]:
    files = [entry for entry in sorted(path.iterdir()) if _HASHED.fullmatch(entry.name) and entry.is_file()]
    return authorities_in("\n".join(entry.read_text("ascii", "replace") for entry in files))


def authorities_in(text: str) -> tuple[Seen, ...]:
    """The certificates in PEM text, without those that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for block in _CERTIFICATES.findall(text):
        try:
            context.load_verify_locations(cadata=block)
        except (ssl.SSLError, ValueError):
            continue
    return tuple(seen(one) for one in context.get_ca_certs())


def authorities_of(bundle: Path | None, context: ssl.SSLContext) -> tuple[Seen, ...]:
    """All that are trusted: those of the context, and those of a folder, which it looks up by name only when asked."""
    held = tuple(seen(one) for one in context.get_ca_certs())
    try:
        return held + (_of_folder(bundle) if bundle is not None and bundle.is_dir() else ())
    except OSError:
        return held
