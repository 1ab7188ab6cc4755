"""TLS contexts from `[network]`: whom to trust, what to show, which version at least. Verification is never off."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, MissingExtraError
from ...util.frames import without_frames

if TYPE_CHECKING:
    from ..config import NetworkCfg

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)
BUNDLE, CERTIFICATE, KEY, PASSWORD = (f"network.{key}" for key in ("ca_bundle", "client_certificate", "client_key", "client_key_password"))
BEGIN = b"-----BEGIN CERTIFICATE-----"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(cfg: NetworkCfg) -> ssl.SSLContext:
    """A client's context under the policy. Reads files: 17 to 88 ms.

    Raises:
        ConfigurationError: a certificate file cannot be read, a password is missing or wrong, or no authority is known at all.
        MissingExtraError: a PFX file, without the extra `azure`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = VERSIONS[cfg.tls_min_version]
    _trust(context, cfg)
    if cfg.client_certificate is not None:
        certificate, password = cfg.client_certificate, cfg.client_key_password
        without_frames(lambda: _show(context, certificate, cfg.client_key, password.get_secret_value() if password else ""))
    elif cfg.client_key is not None:
        raise ConfigurationError("A key of a client certificate is configured, but no certificate.", setting=CERTIFICATE, hint="Name its PEM file.")
    return context


def _trust(context: ssl.SSLContext, cfg: NetworkCfg) -> None:
    if cfg.ca_mode == "replace" and cfg.ca_bundle is None:
        raise ConfigurationError("ca_mode = replace leaves no certificate authority to trust.", setting=BUNDLE, hint="Name a PEM file.")
    system = next((path for path in SYSTEM_BUNDLES if Path(path).is_file()), None)
    if system is None and cfg.ca_bundle is None:
        raise ConfigurationError("This system has no list of certificate authorities.", setting=BUNDLE, hint="Name a PEM file.")
    if system is not None and cfg.ca_mode == "add":
        context.load_verify_locations(system)
    if cfg.ca_bundle is None:
        return
    try:
        if cfg.ca_bundle.is_dir():  # certificates by hash, as OpenSSL and REQUESTS_CA_BUNDLE have them
            context.load_verify_locations(capath=cfg.ca_bundle)
        else:
            context.load_verify_locations(cfg.ca_bundle)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = _bad_block(cfg.ca_bundle) if isinstance(error, ssl.SSLError | ValueError) else error.strerror
        raise ConfigurationError(f"{cfg.ca_bundle} cannot be used: {reason}.", setting=BUNDLE, hint="It must be a PEM file of authorities.") from None


def _bad_block(path: Path) -> str:
    """Why a file of authorities cannot be read: the first block of it that is no certificate, by number and line."""
    data = path.read_bytes() if path.is_file() else b""
    begins = [found.start() for found in re.finditer(re.escape(BEGIN), data)]
    for number, (start, end) in enumerate(itertools.pairwise([*begins, len(data)]), 1):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data[start:end].decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            line = data.count(b"\n", 0, start) + 1
            return f"block {number} of {len(begins)}, which begins on line {line}, is damaged or no certificate"
    return "no certificate in PEM stands there"


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None, password: str) -> None:
    data = read_file(certificate, CERTIFICATE)
    if b"-----BEGIN" not in data:
        if key is not None and data[:1] == b"\x30" and _is_pfx(data):
            raise ConfigurationError(f"{certificate} is a PFX file, which holds its key itself.", setting=KEY, hint="Remove it, or name a PEM certificate.")
        with _as_pem(certificate, data, password) as (path, temporary):
            context.load_cert_chain(path, password=temporary)
        return
    if b"CERTIFICATE-----" not in data:
        raise ConfigurationError(
            f"{certificate} holds no certificate.", setting=CERTIFICATE, hint="Name the file of the certificate; its key may lie elsewhere."
        )
    key_data = data if key is None else read_file(key, KEY)
    if b"PRIVATE KEY-----" not in key_data:
        raise ConfigurationError(f"{key or certificate} holds no private key.", setting=KEY, hint="Name the file of its key, or put it into the same file.")
    encrypted = b"ENCRYPTED" in key_data
    if encrypted and not password:
        raise ConfigurationError(f"The key in {key or certificate} is encrypted, and no password is configured.", setting=PASSWORD, hint="Use a secret file.")
    try:
        # Never None: without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:
        raise _unusable(error, certificate, key, encrypted) from None


def _unusable(error: Exception, certificate: Path, key: Path | None, encrypted: bool) -> ConfigurationError:
    reason = str(getattr(error, "reason", None) or "")
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # the last: none of the key's kind
        return ConfigurationError(f"The key in {key or certificate} does not belong to the certificate in {certificate}.", setting=KEY if key else CERTIFICATE)
    if encrypted:
        return ConfigurationError(f"The password does not open the key in {key or certificate}, or the file is damaged.", setting=PASSWORD, hint="Check it.")
    return ConfigurationError(f"{certificate} cannot be used: certificate or key is not usable PEM.", setting=CERTIFICATE, hint="Have it issued anew.")


def read_file(path: Path, setting: str) -> bytes:
    """A file that ``setting`` names; ConfigurationError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.", setting=setting, hint="It must be a PEM or PFX file.") from None


@contextmanager
def _as_pem(path: Path, data: bytes, password: str) -> Iterator[tuple[str, str]]:
    """A PFX file as PEM, and the password of its key. The `ssl` module reads files only; the key never lies there in the clear."""
    temporary = secrets.token_hex(32)
    pem = pfx_as_pem(path, data, password, temporary)
    with _in_memory(pem) if Path("/proc/self/fd").is_dir() and hasattr(os, "memfd_create") else temporary_file(pem) as name:
        yield name, temporary


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path that no disk stands behind: of Linux, where it works on a read-only file system too."""
    number = os.memfd_create("rag")
    try:
        os.fchmod(number, 0o600)
        with open(number, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


@contextmanager
def temporary_file(content: bytes, setting: str = CERTIFICATE) -> Iterator[str]:
    """A file that its owner alone may read, and that is deleted on leaving.

    Raises:
        ConfigurationError: there is no folder to write it to.
    """
    try:
        file = tempfile.NamedTemporaryFile(prefix="rag-", suffix=".pem")  # noqa: SIM115 - closed below; the error is that of making it
        file.write(content)
        file.flush()
    except OSError as error:
        text = f"No temporary file can be written, and this kind of file needs one: {error.strerror}."
        raise ConfigurationError(
            text, setting=setting, hint="Name a PEM file, with its key; or give a temporary folder that can be written (TMPDIR)."
        ) from None
    with file:
        yield file.name


def _is_pfx(data: bytes) -> bool:
    """Whether an ASN.1 sequence begins with the number 3, the version of PFX; that of a certificate begins with another sequence."""
    more = data[1] & 0x7F if len(data) > 1 and data[1] > 0x80 else 0  # bytes of the length, where it does not fit into one
    return data[2 + more : 5 + more] == b"\x02\x01\x03"


def pfx_as_pem(path: Path, data: bytes, password: str, temporary: str) -> bytes:
    """Key, encrypted under ``temporary``, certificate and chain of a PFX file.

    Raises:
        ConfigurationError: it is no PFX file, or ``password`` does not open it.
        MissingExtraError: cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
        from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
    except ImportError:
        raise MissingExtraError("PFX files need the optional packages of `azure`.", setting=CERTIFICATE, hint="Install founders-rag[azure].") from None
    if data[:1] != b"\x30":  # each PFX file is an ASN.1 sequence
        raise ConfigurationError(f"{path} is neither PEM nor PFX.", setting=CERTIFICATE, hint="Name a file with certificate and key.")
    if not _is_pfx(data):
        hint = "Convert it: openssl x509 -inform der -in FILE -out FILE.pem; and name its key in network.client_key."
        raise ConfigurationError(f"{path} is a DER file, and neither PEM nor PFX.", setting=CERTIFICATE, hint=hint)
    # Files without a password are written in two ways: without one, and with an empty one.
    for candidate in (password.encode(),) if password else (None, b""):
        try:
            store = load_pkcs12(data, candidate)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if store.key is None or store.cert is None:
            raise ConfigurationError(f"{path} holds no certificate with its key.", setting=CERTIFICATE, hint="Export the certificate with its key.")
        key = store.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(temporary.encode()))
        chain = [store.cert.certificate, *(entry.certificate for entry in store.additional_certs)]
        return key + b"".join(found.public_bytes(Encoding.PEM) for found in chain)
    reason = "The password does not open" if password else "No password is configured that opens"
    raise ConfigurationError(f"{reason} {path}, or it is damaged.", setting=PASSWORD, hint="Check it.")
