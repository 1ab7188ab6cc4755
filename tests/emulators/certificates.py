"""Certificates and keys for tests, of any kind and any dates, with or without an authority above them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """One key for each number: making one takes 50 ms and more."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and those above it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    def pem(self, password: str = "", *, key_first: bool = True, leaf_last: bool = False) -> bytes:
        chain = [self.certificate, *self.above]
        certificates = b"".join(found.public_bytes(Encoding.PEM) for found in (reversed(chain) if leaf_last else chain))
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        return key + certificates if key_first else certificates + key

    def pfx(self, password: str = "") -> bytes:
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return pkcs12.serialize_key_and_certificates(b"rag", self.key, self.certificate, self.above, encryption)

    def written(self, path: Path, password: str = "") -> Path:
        path.write_bytes(self.pfx(password) if path.suffix == ".pfx" else self.pem(password))
        return path


def issue(
    name: str = "rag-server",
    *,
    key: Key | None = None,
    by: Issued | None = None,
    authority: bool = False,
    starts: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=365),
) -> Issued:
    """A certificate valid from ``starts`` to ``ends``, seen from now; signed by itself, or by an authority."""
    key = key or rsa_key()
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Issued(certificate, key, (by.certificate, *by.above) if by else ())
