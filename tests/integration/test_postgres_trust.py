"""TLS to PostgreSQL under the network policy, and passwords that are tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from src.errors import ConfigurationError, RagError, ServiceCredentialsError, TlsError
from src.infra.config import AzureCfg, NetworkCfg, PersistenceCfg, Settings
from src.infra.persistence import get_checkpointer_and_store, postgres_database
from src.infra.secrets.held import Timing, VaultSecret
from src.infra.secrets.live import LiveSecret
from src.infra.secrets.references import Reference
from tests.emulators.entra import CLIENT, TENANT, App, EntraEmulator
from tests.integration.postgres_parts import config, graph_on, settings_for
from tests.servers.postgres import PASSWORD, PostgresServer, _own, server_folder

HBA = """
hostssl all certified 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
local all all scram-sha-256
host all postgres 127.0.0.1/32 scram-sha-256
"""


@dataclass
class Secured:
    server: PostgresServer
    ca: trustme.CA
    ca_file: Path

    def network(self, **more: Any) -> NetworkCfg:
        return NetworkCfg(**{"ca_bundle": self.ca_file, **more})

    def dsn(self, user: str = "postgres", host: str = "127.0.0.1") -> str:
        password = f":{PASSWORD}" if user == "postgres" else ""
        return f"postgresql://{user}{password}@{host}:{self.server.port}/postgres"


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """Debian's server (the other one knows no TLS), whose certificate is for 127.0.0.1 alone, and which knows users by certificates of the same authority."""
    ca = trustme.CA()
    with server_folder() as folder:
        leaf = ca.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(folder / "key.pem")
        leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        ca.cert_pem.write_to_path(folder / "ca.pem")
        _own(folder)
        (folder / "key.pem").chmod(0o600)
        settings = {"ssl": "on", "ssl_cert_file": folder / "cert.pem", "ssl_key_file": folder / "key.pem", "ssl_ca_file": folder / "ca.pem"}
        with PostgresServer(folder / "server", 15, settings, HBA).running() as server:
            server.execute("CREATE ROLE certified LOGIN SUPERUSER")
            yield Secured(server, ca, folder / "ca.pem")


def use(dsn: str, network: NetworkCfg, **more: Any) -> dict[str, Any]:
    checkpointer, _ = get_checkpointer_and_store(settings_for(dsn, network, **more))
    try:
        with checkpointer.database.connection() as connection:  # type: ignore[attr-defined] - PostgreSQL's
            return dict(connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone())
    finally:
        checkpointer.close()  # type: ignore[attr-defined] - PostgreSQL's


def failure_of(dsn: str, network: NetworkCfg, **more: Any) -> RagError:
    with pytest.raises(RagError) as found:
        use(dsn, network, **more)
    return found.value


def test_the_policys_authority_is_trusted_in_addition_to_the_systems_or_alone(secured: Secured) -> None:
    for mode in ("add", "replace"):
        assert use(secured.dsn(), secured.network(ca_mode=mode, tls_min_version="1.3")) == {"ssl": True, "version": "TLSv1.3"}


def test_a_folder_of_authorities_is_trusted(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "0a1b2c3d.0").write_bytes(secured.ca_file.read_bytes())
    assert use(secured.dsn(), secured.network(ca_bundle=tmp_path, ca_mode="replace"))["ssl"]


def test_an_unknown_authority_is_not_trusted(secured: Secured, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    for network in (NetworkCfg(), NetworkCfg(ca_bundle=tmp_path / "other.pem", ca_mode="replace")):
        error = failure_of(secured.dsn(), network)
        assert (type(error), error.setting) == (TlsError, "network.ca_bundle")


def test_a_certificate_for_another_name_is_not_trusted(secured: Secured) -> None:
    error = failure_of(secured.dsn(host="localhost"), secured.network())
    assert (type(error), error.setting) == (TlsError, "persistence.dsn")
    assert "name" in str(error)


def test_a_policys_file_that_is_missing_is_named(secured: Secured, tmp_path: Path) -> None:
    error = failure_of(secured.dsn(), secured.network(ca_bundle=tmp_path / "none.pem"))
    assert (type(error), error.setting) == (ConfigurationError, "network.ca_bundle")


@pytest.mark.parametrize("kind", ["one-file", "two-files", "encrypted", "pfx"])
def test_the_policys_client_certificate_opens_the_door(secured: Secured, tmp_path: Path, kind: str) -> None:
    issued = secured.ca.issue_cert("certified@example.com", common_name="certified")
    certificate, key = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    more: dict[str, Any] = {"client_certificate": tmp_path / "client"}
    if kind in ("encrypted", "pfx"):
        more["client_key_password"] = SecretStr("key-password")
    if kind == "two-files":
        (tmp_path / "key").write_bytes(key)
        (tmp_path / "key").chmod(0o644)  # as mounted secrets often are; libpq alone would refuse it
        more["client_key"] = tmp_path / "key"
    (tmp_path / "client").write_bytes(_client_file(kind, certificate, key))
    assert use(secured.dsn("certified"), secured.network(**more))["ssl"]


def _client_file(kind: str, certificate: bytes, key: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key, pkcs12

    if kind == "two-files":
        return certificate
    loaded, encryption = load_pem_private_key(key, None), BestAvailableEncryption(b"key-password")
    if kind == "pfx":
        return pkcs12.serialize_key_and_certificates(b"n", loaded, x509.load_pem_x509_certificate(certificate), None, encryption)  # type: ignore[arg-type] - RSA or EC
    if kind == "encrypted":
        return certificate + loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return certificate + key


def test_without_a_client_certificate_that_is_said(secured: Secured) -> None:
    error = failure_of(secured.dsn("certified"), secured.network())
    assert (type(error), error.setting) == (TlsError, "network.client_certificate")


def test_no_private_key_is_left_in_a_file(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    issued = secured.ca.issue_cert("certified@example.com", common_name="certified")
    (tmp_path / "client").write_bytes(issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert use(secured.dsn("certified"), secured.network(client_certificate=tmp_path / "client"))["ssl"]
    assert [*(tmp_path / "temporary").iterdir()] == []


# -- tokens


class Rotating:
    """A password that the database's administrator changes: what `AzureTokens` is, without the authority."""

    def __init__(self, change: Callable[[str], None]) -> None:
        self.change = change
        self.number = 0
        self.asked = 0
        self.refused: list[str] = []
        self.rotate()

    def rotate(self) -> None:
        self.number += 1
        self.change(f"token-{self.number}")

    def __call__(self) -> str:
        self.asked += 1
        return f"token-{self.number if not hasattr(self, 'stale') else self.stale}"

    def invalidate(self, token: str) -> None:
        self.refused.append(token)
        if hasattr(self, "stale"):
            del self.stale


def test_each_new_connection_asks_for_the_password_of_the_day(postgres: PostgresServer) -> None:
    name, _ = postgres.role(options="SUPERUSER")
    tokens = Rotating(lambda value: postgres.execute(f"ALTER ROLE {name} PASSWORD '{value}'") and None)
    database = postgres_database(settings_for(postgres.dsn(postgres.database(), user=name, password="")), tokens)
    assert database is not None
    database.touch()
    tokens.rotate()
    with database.connection(), database.connection():
        pass
    assert tokens.refused == []
    tokens.stale = tokens.number
    tokens.rotate()
    with database.connection(), database.connection(), database.connection():
        pass
    assert tokens.refused == [f"token-{tokens.number - 1}"]
    database.close()


def test_a_token_that_is_refused_twice_is_an_error_without_the_token(postgres: PostgresServer) -> None:
    class Wrong:
        def __call__(self) -> str:
            return "canary-token-41"

        def invalidate(self, token: str) -> None:
            assert token == "canary-token-41"

    database = postgres_database(settings_for(postgres.dsn("postgres", password="")), Wrong())
    assert database is not None
    with pytest.raises(ServiceCredentialsError) as found:
        database.touch()
    assert "canary-token-41" not in repr(found.value) + str(found.value)
    database.close()


def test_entra_tokens_for_the_databases_own_audience_are_the_password(postgres: PostgresServer, tmp_path: Path) -> None:
    with EntraEmulator().running() as entra:
        (tmp_path / "ca.pem").write_bytes(entra.ca_pem)
        entra.apps[CLIENT] = App(secrets={"canary-client-secret"})
        azure = AzureCfg(tenant_id=TENANT, client_id=CLIENT, client_secret=SecretStr("canary-client-secret"), authority_host=entra.url)
        network = NetworkCfg(ca_bundle=tmp_path / "ca.pem")
        name, _ = postgres.role(options="SUPERUSER")
        dsn = SecretStr(postgres.dsn(postgres.database(), user=name, password=""))
        settings = Settings(azure=azure, network=network, persistence=PersistenceCfg(backend="postgres", dsn=dsn, use_azure_auth=True))
        database = postgres_database(settings)
        assert database is not None
        token = database._target._password()  # type: ignore[misc] - there is one
        assert entra.problem_of(token, "https://ossrdbms-aad.database.windows.net") == ""
        postgres.execute(f"ALTER ROLE {name} PASSWORD '{token}'")
        database.touch()
        database.close()


def test_entra_tokens_without_an_identity_are_a_configuration_error(postgres: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match=r"persistence\.use_azure_auth"):
        get_checkpointer_and_store(settings_for(postgres.dsn(password=""), use_azure_auth=True))


def test_the_pair_keeps_working_while_passwords_rotate(postgres: PostgresServer) -> None:
    name, _ = postgres.role(options="SUPERUSER")
    tokens = Rotating(lambda value: postgres.execute(f"ALTER ROLE {name} PASSWORD '{value}'") and None)
    from src.infra.persistence import build_checkpointer

    settings = settings_for(postgres.dsn(postgres.database(), user=name, password=""))
    database = postgres_database(settings, tokens)
    graph = graph_on(build_checkpointer(settings, database))
    for _ in range(3):
        graph.invoke({}, config())
        tokens.rotate()
        postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")
    assert len(graph.get_state(config()).values["turns"]) == 3
    assert database is not None
    database.close()


def test_a_password_that_was_rotated_in_its_vault_is_read_again_when_the_old_one_is_refused(postgres: PostgresServer) -> None:
    name, first = postgres.role(options="SUPERUSER")
    vault = {"value": first, "reads": 0}

    def read(reference: Reference) -> str:
        vault["reads"] += 1
        return str(vault["value"])

    held = VaultSecret(Reference("vault", "pg"), read, lambda: Timing(300, 5), lambda _: "the vault", lambda _: "https://vault.test")
    settings = settings_for(postgres.dsn(postgres.database(), user=name, password=""), password=LiveSecret((held,)))
    database = postgres_database(settings)
    assert database is not None
    database.touch()
    postgres.execute(f"ALTER ROLE {name} PASSWORD 'canary-second'")
    vault["value"] = "canary-second"
    with database.connection(), database.connection(), database.connection():
        pass
    assert vault["reads"] == 2
    postgres.execute(f"ALTER ROLE {name} PASSWORD 'canary-third'")
    with pytest.raises(ServiceCredentialsError) as found, database.connection(), database.connection(), database.connection(), database.connection():
        pass
    assert "canary" not in repr(found.value) + str(found.value)
    assert vault["reads"] == 2, "the vault is asked at most once in five seconds"
    database.close()
