"""TLS contexts of the outbound policy: authorities, client certificates of every form, versions."""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from src.errors import ConfigurationError, MissingExtraError
from src.infra.config import NetworkCfg
from src.infra.network import NetworkPolicy
from tests.emulators.certificates import Issued, issue, rsa_key

PASSWORD = SecretStr("hunter2 €")


def authorities(cfg: NetworkCfg) -> int:
    return len(NetworkPolicy(cfg).ssl_context.get_ca_certs())


def failure(cfg: NetworkCfg) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        _ = NetworkPolicy(cfg).ssl_context
    assert PASSWORD.get_secret_value() not in str(caught.value)
    return caught.value


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture(scope="module")
def own() -> Issued:
    authority = issue("authority", authority=True, key=rsa_key(1))
    return issue("client", by=authority)


def test_a_bundle_is_added_to_the_systems_authorities_or_stands_in_their_place(ca_file: Path) -> None:
    system = authorities(NetworkCfg())
    assert system > 1
    assert authorities(NetworkCfg(ca_bundle=ca_file)) == system + 1
    assert authorities(NetworkCfg(ca_bundle=ca_file, ca_mode="replace")) == 1


def test_replacing_the_authorities_by_none_is_an_error() -> None:
    assert failure(NetworkCfg(ca_mode="replace")).setting == "network.ca_bundle"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_minimum_version_holds_for_both_contexts(version: str) -> None:
    policy = NetworkPolicy(NetworkCfg(tls_min_version=version))  # type: ignore[arg-type] # one of the two it may be
    expected = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    assert (policy.ssl_context.minimum_version, policy.requests_context.minimum_version) == (expected, expected)


@pytest.mark.parametrize(("name", "password"), [("own.pem", None), ("own.pem", PASSWORD), ("own.pfx", None), ("own.pfx", PASSWORD)])
def test_a_client_certificate_is_loaded_in_each_form(tmp_path: Path, own: Issued, name: str, password: SecretStr | None) -> None:
    path = own.written(tmp_path / name, password.get_secret_value() if password else "")
    policy = NetworkPolicy(NetworkCfg(client_certificate=path, client_key_password=password))
    assert policy.ssl_context
    assert policy.requests_context


def test_the_key_may_lie_in_a_file_of_its_own(tmp_path: Path, own: Issued) -> None:
    cert = trustme.CA().issue_cert("client.example")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    assert NetworkPolicy(NetworkCfg(client_certificate=tmp_path / "cert.pem", client_key=tmp_path / "key.pem")).ssl_context
    own.written(tmp_path / "other.pem")
    assert failure(NetworkCfg(client_certificate=tmp_path / "cert.pem", client_key=tmp_path / "other.pem")).setting == "network.client_key"
    assert failure(NetworkCfg(client_certificate=tmp_path / "cert.pem")).setting == "network.client_key"
    assert failure(NetworkCfg(client_key=tmp_path / "key.pem")).setting == "network.client_certificate"


def test_a_pfx_file_leaves_nothing_behind_and_its_key_never_lies_in_the_clear(tmp_path: Path, own: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    seen: list[tuple[bytes, int]] = []

    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, path: Path, key: Path | None = None, password: str | None = None) -> None:
        seen.append((Path(path).read_bytes(), Path(path).stat().st_mode & 0o777))
        load(context, path, key, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    own.written(tmp_path / "own.pfx", PASSWORD.get_secret_value())
    assert NetworkPolicy(NetworkCfg(client_certificate=tmp_path / "own.pfx", client_key_password=PASSWORD)).ssl_context
    ((data, mode),) = seen
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in data
    assert data.count(b"BEGIN CERTIFICATE") == 2, "the chain too"
    assert mode == 0o600
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("name", ["own.pem", "own.pfx"])
@pytest.mark.parametrize("given", [None, SecretStr("wrong")])
def test_a_password_that_is_missing_or_wrong_is_named(tmp_path: Path, own: Issued, name: str, given: SecretStr | None) -> None:
    path = own.written(tmp_path / name, PASSWORD.get_secret_value())
    error = failure(NetworkCfg(client_certificate=path, client_key_password=given))
    assert error.setting == "network.client_key_password"
    assert ("does not open" if given else "o password is configured") in str(error)


def test_files_that_cannot_be_used_name_their_key(tmp_path: Path, own: Issued) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "damaged.pem").write_bytes(own.pem()[:-400])
    for cfg, key in [
        (NetworkCfg(ca_bundle=tmp_path / "absent.pem"), "network.ca_bundle"),
        (NetworkCfg(ca_bundle=tmp_path / "text.pem"), "network.ca_bundle"),
        (NetworkCfg(client_certificate=tmp_path / "absent.pem"), "network.client_certificate"),
        (NetworkCfg(client_certificate=tmp_path / "text.pem"), "network.client_certificate"),
        (NetworkCfg(client_certificate=tmp_path / "damaged.pem"), "network.client_certificate"),
        (NetworkCfg(client_certificate=own.written(tmp_path / "own.pem"), client_key=tmp_path / "absent.pem"), "network.client_key"),
    ]:
        assert failure(cfg).setting == key


def test_a_folder_of_authorities_by_hash_is_taken(tmp_path: Path, ca_file: Path) -> None:
    assert NetworkPolicy(NetworkCfg(ca_bundle=tmp_path, ca_mode="replace")).ssl_context


def test_pfx_without_the_extra_names_it(tmp_path: Path, own: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "own.pfx"
    path.write_bytes(b"\x30\x82")
    with pytest.raises(MissingExtraError, match="azure"):
        _ = NetworkPolicy(NetworkCfg(client_certificate=path)).ssl_context


def test_a_pfx_file_needs_no_folder_to_write_to_where_memory_has_paths(tmp_path: Path, own: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = NetworkCfg(client_certificate=own.written(tmp_path / "own.pfx", PASSWORD.get_secret_value()), client_key_password=PASSWORD)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    if hasattr(os, "memfd_create"):
        assert NetworkPolicy(cfg).ssl_context
        monkeypatch.delattr(os, "memfd_create")
    error = failure(cfg)
    assert (error.setting, "PEM" in error.hint, "TMPDIR" in error.hint) == ("network.client_certificate", True, True)


@pytest.mark.parametrize("given", [None, PASSWORD])
def test_a_certificate_of_another_kind_says_which(tmp_path: Path, own: Issued, given: SecretStr | None) -> None:
    der, key = tmp_path / "own.der", tmp_path / "key.pem"
    der.write_bytes(
        ssl.PEM_cert_to_DER_cert(own.pem().decode()[own.pem().decode().index("-----BEGIN CERT") :].split("-----END CERT")[0] + "-----END CERTIFICATE-----\n")
    )
    error = failure(NetworkCfg(client_certificate=der, client_key_password=given))
    assert (error.setting, "DER" in error.message) == ("network.client_certificate", True)
    key.write_bytes(own.pem().split(b"-----BEGIN CERTIFICATE")[0])
    assert b"PRIVATE KEY" in key.read_bytes()
    error = failure(NetworkCfg(client_certificate=key, client_key_password=given))
    assert (error.setting, "holds no certificate" in error.message, "anew" in error.hint) == ("network.client_certificate", True, False)
    pfx = own.written(tmp_path / "own.pfx", PASSWORD.get_secret_value() if given else "")
    assert failure(NetworkCfg(client_certificate=pfx, client_key=key, client_key_password=given)).setting == "network.client_key"


def test_the_bad_block_of_a_bundle_is_named(tmp_path: Path, ca_file: Path) -> None:
    good = ca_file.read_text()
    bundle = tmp_path / "bundle.pem"
    for bad in ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n!!!\n", good[:-200]):
        bundle.write_text(f"# ours\n{good}{bad}\n{good}")
        error = failure(NetworkCfg(ca_bundle=bundle))
        assert f"block 2 of 3, which begins on line {good.count(chr(10)) + 2}" in error.message
