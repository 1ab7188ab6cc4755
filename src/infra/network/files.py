"""The same trust and client certificate as `make_context`, as files: for libraries such as libpq that read files only."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, MissingExtraError
from ...util.frames import without_frames
from .tls import BUNDLE, CERTIFICATE, KEY, PASSWORD, SYSTEM_BUNDLES, pfx_as_pem, read_file, temporary_file

if TYPE_CHECKING:
    from ..config import NetworkCfg

MARK = b"-----BEGIN CERTIFICATE"
CERTIFICATES = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\r?\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths that hold inside the block that made them; ``client`` has certificate, chain and encrypted key."""

    authorities: str
    client: str | None
    password: str


@contextmanager
def tls_files(cfg: NetworkCfg) -> Iterator[TlsFiles]:
    """Files of the policy. Temporary ones are readable by their owner alone, and a key never lies in the clear.

    Raises:
        ConfigurationError: a file cannot be read, or its password is wrong.
        MissingExtraError: a client certificate, without the package cryptography.
    """
    with ExitStack() as stack:
        client, password = None, ""
        if cfg.client_certificate is not None:
            pem, password = without_frames(lambda: _client(cfg))
            client = stack.enter_context(temporary_file(pem))
        yield TlsFiles(_authorities(stack, cfg), client, password)


def _authorities(stack: ExitStack, cfg: NetworkCfg) -> str:
    system = next((path for path in SYSTEM_BUNDLES if Path(path).is_file()), None) if cfg.ca_mode == "add" else None
    if cfg.ca_bundle is None:
        if system is None:
            raise ConfigurationError("No certificate authority is known here.", setting="network.ca_bundle", hint="Name a PEM file.")
        return system
    if system is None and cfg.ca_bundle.is_file():
        return str(cfg.ca_bundle)
    paths = [*sorted(path for path in cfg.ca_bundle.iterdir() if path.is_file())] if cfg.ca_bundle.is_dir() else [cfg.ca_bundle]
    found = [read_file(path, "network.ca_bundle") for path in ([Path(system)] if system else []) + paths]
    return stack.enter_context(temporary_file(b"\n".join(data for data in found if MARK in data), BUNDLE))


def _client(cfg: NetworkCfg) -> tuple[bytes, str]:
    """Certificate and key as one PEM, the key encrypted under a password made here: files of others may have any mode or kind."""
    path = cfg.client_certificate
    assert path is not None
    given = cfg.client_key_password.get_secret_value() if cfg.client_key_password else ""
    password = secrets.token_hex(32)
    data = read_file(path, CERTIFICATE)
    if b"-----BEGIN" not in data:
        return pfx_as_pem(path, data, given, password), password
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
    except ImportError:
        raise MissingExtraError(
            "Client certificates for PostgreSQL need the package cryptography.", setting=CERTIFICATE, hint="Install founders-rag[postgres]."
        ) from None
    key_path = cfg.client_key or path
    key_data = read_file(key_path, KEY)
    try:
        key = load_pem_private_key(key_data, given.encode() if b"ENCRYPTED" in key_data else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"The key in {key_path} cannot be used.", setting=PASSWORD if given else KEY, hint="Check key and password.") from None
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    return sealed + b"\n".join(CERTIFICATES.findall(data)), password
