from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pydantic import SecretStr

from src.errors import ConfigurationError
from src.infra.azure_auth import load_certificate, read_certificate
from tests.emulators.certificates import Issued, issue, rsa_key

PASSWORD = "canary-certificate-password-7f3a"


@pytest.fixture(scope="module")
def issued() -> Issued:
    root = issue("Root", key=rsa_key(1), authority=True)
    middle = issue("Issuing", key=rsa_key(2), by=root, authority=True)
    return issue(key=rsa_key(3), by=middle)


def leaf_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


@pytest.mark.parametrize("name", ["id.pem", "id.pfx", "id.anything"])
@pytest.mark.parametrize("password", ["", PASSWORD])
def test_pem_and_pfx_with_and_without_password_are_read(tmp_path: Path, issued: Issued, name: str, password: str) -> None:
    path = issued.written(tmp_path / name, password)
    found = load_certificate(path, SecretStr(password) if password else None)
    assert leaf_of(found.pem) == issued.certificate
    assert found.chain_length == 3
    load_pem_private_key(found.pem, None)
    assert found.subject == "CN=rag-server"


def test_a_password_that_is_not_needed_does_no_harm(tmp_path: Path, issued: Issued) -> None:
    path = issued.written(tmp_path / "id.pem")
    assert load_certificate(path, SecretStr(PASSWORD)).chain_length == 3


@pytest.mark.parametrize(("key_first", "leaf_last"), [(True, True), (False, False), (False, True)])
def test_the_chain_is_put_in_order_whatever_the_files_order_is(tmp_path: Path, issued: Issued, key_first: bool, leaf_last: bool) -> None:
    path = tmp_path / "id.pem"
    path.write_bytes(issued.pem(key_first=key_first, leaf_last=leaf_last))
    chain = x509.load_pem_x509_certificates(load_certificate(path).pem)
    assert chain == [issued.certificate, *issued.above]


def test_certificates_that_do_not_belong_to_the_chain_are_left_out(tmp_path: Path, issued: Issued) -> None:
    other = issue("other", key=rsa_key(4))
    path = tmp_path / "id.pem"
    path.write_bytes(issue("other", key=rsa_key(4)).pem().split(b"-----END PRIVATE KEY-----\n")[1] + issued.pem())
    chain = x509.load_pem_x509_certificates(load_certificate(path).pem)
    assert chain == [issued.certificate, *issued.above]
    assert other.certificate not in chain


def refusal(path: Path | None, password: str = "") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_certificate(path, SecretStr(password) if password else None)
    assert caught.value.__cause__ is None
    assert PASSWORD not in repr(caught.value) + str(caught.value)
    return caught.value


def test_no_certificate_names_the_key_that_configures_one() -> None:
    assert refusal(None).setting == "azure.certificate_path"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere.pem")
    assert error.setting == "azure.certificate_path"
    assert "nowhere.pem" in str(error)
    assert "No such file" in str(error)


@pytest.mark.parametrize("name", ["id.pem", "id.pfx"])
def test_a_password_that_is_missing_or_wrong_names_its_key(tmp_path: Path, issued: Issued, name: str) -> None:
    path = issued.written(tmp_path / name, PASSWORD)
    assert refusal(path).setting == "azure.certificate_password"
    assert refusal(path, "another").setting == "azure.certificate_password"


@pytest.mark.parametrize("name", ["id.pem", "id.pfx"])
def test_an_expired_certificate_is_refused_with_its_date(tmp_path: Path, name: str) -> None:
    expired = issue(starts=timedelta(days=-20), ends=timedelta(days=-3))
    error = refusal(expired.written(tmp_path / name))
    assert error.setting == "azure.certificate_path"
    assert "has expired" in str(error)
    assert f"{expired.certificate.not_valid_after_utc:%Y-%m-%d}" in str(error)


def test_a_certificate_that_is_not_valid_yet_is_refused(tmp_path: Path) -> None:
    early = issue(starts=timedelta(days=2), ends=timedelta(days=30))
    assert "is not valid before" in str(refusal(early.written(tmp_path / "id.pem")))


@pytest.mark.parametrize("name", ["id.pem", "id.pfx"])
def test_a_key_that_is_not_rsa_is_refused(tmp_path: Path, name: str) -> None:
    curve = issue(key=ec.generate_private_key(ec.SECP256R1()))
    assert "EC; Entra ID takes RSA alone" in str(refusal(curve.written(tmp_path / name)))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, issued: Issued) -> None:
    path = tmp_path / "id.pem"
    path.write_bytes(Issued(issued.certificate, rsa_key(5)).pem())
    assert "does not belong to its certificate" in str(refusal(path))


def test_files_that_lack_a_part_say_which(tmp_path: Path, issued: Issued) -> None:
    key, certificates = issued.pem().split(b"-----END PRIVATE KEY-----\n")
    path = tmp_path / "part.pem"
    path.write_bytes(certificates)
    assert "holds no private key" in str(refusal(path))
    path.write_bytes(key + b"-----END PRIVATE KEY-----\n")
    assert "holds no certificate" in str(refusal(path))
    path.write_bytes(issued.pem() + issued.pem())
    assert "2 private keys" in str(refusal(path))
    for junk in (b"", b"\x00\xff" * 40, b"hello"):
        path.write_bytes(junk)
        assert "neither PEM nor PFX" in str(refusal(path))
    path.write_bytes(issued.pfx()[:200])
    assert refusal(path).setting == "azure.certificate_password"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + certificates)
    assert "cannot be read" in str(refusal(path))


def test_dates_are_a_warning_in_the_last_thirty_days(tmp_path: Path, issued: Issued) -> None:
    found = read_certificate(issued.written(tmp_path / "id.pem"))
    assert found.warning(found.not_after - timedelta(days=31)) == ""
    assert "expires in 29 days" in found.warning(found.not_after - timedelta(days=29, hours=1))
    assert "expired at" in found.warning(found.not_after + timedelta(days=1))
    assert found.warning(datetime.now(UTC)) == ""


def test_nothing_of_the_key_is_in_a_repr(tmp_path: Path, issued: Issued) -> None:
    found = load_certificate(issued.written(tmp_path / "id.pfx", PASSWORD), SecretStr(PASSWORD))
    assert "PRIVATE" not in repr(found)
    assert PASSWORD not in repr(found)


def as_pem(*certificates: Issued) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in certificates)


def test_of_certificates_of_one_key_the_renewed_one_counts_wherever_it_stands(tmp_path: Path) -> None:
    key = rsa_key(3)
    old, new = issue(key=key, starts=timedelta(days=-400), ends=timedelta(days=-5)), issue(key=key)
    coming = issue(key=key, starts=timedelta(days=30), ends=timedelta(days=900))
    for others in ([old, new, coming], [coming, old, new]):
        (tmp_path / "id.pem").write_bytes(as_pem(*others) + key_of(new))
        assert leaf_of(load_certificate(tmp_path / "id.pem").pem) == new.certificate


def test_the_chain_holds_those_who_signed_and_none_who_is_only_called_so(tmp_path: Path) -> None:
    root = issue("Root", key=rsa_key(1), authority=True)
    before = issue("Issuing", key=rsa_key(11), authority=True, by=root)
    now = issue("Issuing", key=rsa_key(12), authority=True, by=root)
    leaf = issue(key=rsa_key(3), by=now)
    (tmp_path / "id.pem").write_bytes(key_of(leaf) + as_pem(root, before, leaf, now))
    chain = x509.load_pem_x509_certificates(load_certificate(tmp_path / "id.pem").pem)
    assert chain == [leaf.certificate, now.certificate, root.certificate]


def test_a_certificate_without_its_key_is_told_from_a_wrong_password(tmp_path: Path, issued: Issued) -> None:
    (tmp_path / "id.cer").write_bytes(issued.certificate.public_bytes(Encoding.DER))
    with pytest.raises(ConfigurationError, match="is a certificate alone"):
        load_certificate(tmp_path / "id.cer")


def key_of(issued: Issued) -> bytes:
    return issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
