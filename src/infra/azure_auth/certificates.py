"""Reading and checking a client certificate before anything is sent.

azure-identity checks neither the dates, nor that key and certificate belong together, and takes the first certificate of a
file for the right one (measured with 1.27): a wrong file then fails at the authority, with an error about signatures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, MissingExtraError
from ...util.frames import without_frames

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from pydantic import SecretStr

PATH = "azure.certificate_path"
PASSWORD = "azure.certificate_password"  # noqa: S105 - the name of a key, no password
EXPIRES_SOON = timedelta(days=30)
_KEY_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its key, checked; its repr holds no key."""

    pem: bytes = field(repr=False)
    """The key without password, then the chain in PEM, the certificate of the key first."""
    subject: str
    thumbprint: str
    """SHA-1 in hexadecimal capitals, as Azure's portal shows it."""
    not_before: datetime
    not_after: datetime
    chain_length: int
    """Certificates: 1 where the file holds no authority's."""

    def warning(self, now: datetime) -> str:
        """What health should say of its dates; empty while it is good for more than 30 days."""
        left = self.not_after - now
        if left > EXPIRES_SOON:
            return ""
        when = f"{self.not_after:%Y-%m-%d %H:%M} UTC"
        days = round(left / timedelta(days=1))
        return f"The client certificate expires in {days} days, at {when}." if left > timedelta(0) else f"The client certificate expired at {when}."


def load_certificate(path: Path | None, password: SecretStr | None = None, *, now: datetime | None = None) -> ClientCertificate:
    """Read a PEM or PFX file and check it.

    Args:
        password: of the key (PEM) or of the file (PFX); one that is not needed is left alone.
        now: for tests; else the clock.

    Raises:
        ConfigurationError: no file is named; it cannot be read; its password is missing or wrong; it has no key, or none of
            its certificates belongs to the key; the key is not RSA; the certificate has expired or is not valid yet.
        MissingExtraError: the extra `azure` is not installed.
    """
    certificate = read_certificate(path, password)
    moment = now or datetime.now(UTC)
    if moment > certificate.not_after:
        raise ConfigurationError(f"The client certificate {path} has expired, at {_when(certificate.not_after)}.", setting=PATH, hint="Renew it.")
    if moment < certificate.not_before:
        hint = "Check this machine's clock, or use the certificate that it replaces."
        raise ConfigurationError(f"The client certificate {path} is not valid before {_when(certificate.not_before)}.", setting=PATH, hint=hint)
    return certificate


def read_certificate(path: Path | None, password: SecretStr | None = None) -> ClientCertificate:
    """As `load_certificate`, whatever its dates are: for those who want to tell them."""
    if path is None:
        raise ConfigurationError("No client certificate is configured.", setting=PATH, hint="Name a PEM or PFX file with certificate and key.")
    return without_frames(lambda: _read(path, password))


def _read(path: Path, password: SecretStr | None) -> ClientCertificate:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The client certificate {path} cannot be read: {error.strerror}.", setting=PATH) from None
    _require_cryptography()
    secret = password.get_secret_value().encode() if password else b""
    key, certificates = _read_pem(data, secret, path) if b"-----BEGIN" in data else _read_pfx(data, secret, path)
    return _checked(_rsa(key, path), certificates, path)


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - whether it is there is the question
    except ImportError:
        raise MissingExtraError("Certificates need the optional packages of `azure`.", setting=PATH, hint="Install founders-rag[azure].") from None


def _read_pem(data: bytes, password: bytes, path: Path) -> tuple[object, list[x509.Certificate]]:
    from cryptography import x509

    blocks = [match.group(0) for match in _KEY_BLOCK.finditer(data)]
    if len(blocks) != 1:
        reason = "no private key" if not blocks else f"{len(blocks)} private keys"
        raise ConfigurationError(f"{path} holds {reason}.", setting=PATH, hint="It must hold the certificate and its one key.")
    key = _pem_key(blocks[0], password, path)
    try:
        certificates = x509.load_pem_x509_certificates(_KEY_BLOCK.sub(b"", data))
    except ValueError:
        certificates = []
    return key, certificates


def _pem_key(block: bytes, password: bytes, path: Path) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = b"ENCRYPTED" in block
    if encrypted and not password:
        raise ConfigurationError(f"The key in {path} is encrypted, and no password is configured.", setting=PASSWORD, hint="Set it, best in a secret file.")
    try:
        return load_pem_private_key(block, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    if encrypted:
        raise ConfigurationError(f"The password does not open the key in {path}.", setting=PASSWORD, hint="Check it.")
    raise ConfigurationError(f"The key in {path} cannot be read.", setting=PATH, hint="It must be PEM.")


def _read_pfx(data: bytes, password: bytes, path: Path) -> tuple[object, list[x509.Certificate]]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    # Files without a password are written in two ways: without one, and with an empty one.
    for candidate in (password,) if password else (None, b""):
        try:
            store = load_pkcs12(data, candidate)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        found = [entry.certificate for entry in (store.cert, *store.additional_certs) if entry]
        if store.key is None:
            raise ConfigurationError(f"{path} holds no private key.", setting=PATH, hint="Export the certificate with its key.")
        return store.key, found
    if _is_certificate(data):
        raise ConfigurationError(f"{path} is a certificate alone.", setting=PATH, hint="Name a file that holds its private key as well, PEM or PFX.")
    if data[:1] != b"\x30":  # each PFX file is an ASN.1 sequence
        raise ConfigurationError(f"{path} is neither PEM nor PFX.", setting=PATH, hint="Name a file with certificate and key.")
    reason = "The password does not open" if password else "No password is configured that opens"
    raise ConfigurationError(f"{reason} {path}, or it is damaged.", setting=PASSWORD, hint="Check it.")


def _is_certificate(data: bytes) -> bool:
    from cryptography import x509

    try:
        x509.load_der_x509_certificate(data)
    except ValueError:
        return False
    return True


def _rsa(key: object, path: Path) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, RSAPrivateKey):
        return key
    kind = type(key).__name__.removesuffix("PrivateKey").removeprefix("Elliptic").replace("Curve", "EC") or "other"
    raise ConfigurationError(f"The key in {path} is {kind}; Entra ID takes RSA alone.", setting=PATH, hint="Have a certificate with an RSA key issued.")


def _checked(key: RSAPrivateKey, certificates: Sequence[x509.Certificate], path: Path) -> ClientCertificate:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if not certificates:
        raise ConfigurationError(f"{path} holds no certificate.", setting=PATH, hint="It must hold the certificate and its key.")
    own = [found for found in certificates if _same_key(found.public_key(), key)]
    leaf = max(own, key=_goodness(datetime.now(UTC)), default=None)  # renewed on the same key and appended: the old one lies before it
    if leaf is None:
        raise ConfigurationError(f"The key in {path} does not belong to its certificate.", setting=PATH, hint="Put the two that were issued together there.")
    chain = _chain(leaf, certificates)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + b"".join(found.public_bytes(Encoding.PEM) for found in chain)
    thumbprint = leaf.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, as the portal shows it; nothing rests on it
    return ClientCertificate(pem, leaf.subject.rfc4514_string(), thumbprint, leaf.not_valid_before_utc, leaf.not_valid_after_utc, len(chain))


def _same_key(public: Any, key: RSAPrivateKey) -> bool:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    return isinstance(public, RSAPublicKey) and public.public_numbers() == key.public_key().public_numbers()


def _chain(leaf: x509.Certificate, certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf and, in order, those above it that the file holds; what belongs to none of them is left out."""
    chain, rest, good = [leaf], [found for found in certificates if found != leaf], _goodness(datetime.now(UTC))
    while above := max((found for found in rest if _signed_by(chain[-1], found)), key=good, default=None):
        chain.append(above)
        rest.remove(above)
    return chain


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """By its key, and not just by its name: an authority that is renewed keeps its name."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _goodness(now: datetime) -> Callable[[x509.Certificate], tuple[bool, datetime]]:
    """Sorts certificates: those that have begun, then by their end."""
    return lambda found: (found.not_valid_before_utc <= now, found.not_valid_after_utc)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
