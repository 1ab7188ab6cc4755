"""Where the database is and how it is reached: `[persistence] dsn`, completed by the network policy and the identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ....errors import ConfigurationError, RagError
from ...network.files import tls_files
from ...secrets.live import renewed_blocking
from .connections import Connection, connect
from .failures import DSN, PASSWORD, is_refused_password, is_untrusted, untrusted
from .handshake import why_untrusted

if TYPE_CHECKING:
    from ...config import NetworkCfg, PersistenceCfg

APPLICATION = "rag"
Password = Callable[[], str]
"""Asked for each new connection; one with ``invalidate(token)`` is told of a token that the server refused."""

_DEFAULTS: dict[str, str] = {
    "application_name": APPLICATION,
    "sslmode": "verify-full",
    "gssencmode": "disable",
    # What libpq would else take from the home folder or from PG… variables: a deployment's configuration is all there is.
    "passfile": "/dev/null",
    "password": "",
    "port": "5432",
    "options": "",
    "client_encoding": "utf8",
    "target_session_attrs": "any",
    # A server that vanished without a word is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_HINT = "Write postgresql://USER@HOST:5432/DATABASE, and the password into [persistence] password."


class Target:
    """Makes connections. Reads and resolves nothing before the first.

    Args:
        password: where the connection string and `[persistence] password` hold none, or tokens are used.
    """

    def __init__(self, cfg: PersistenceCfg, network: NetworkCfg, password: Password | None = None) -> None:
        self._cfg = cfg
        self._network = network
        self._password = password
        self.params = _parsed(cfg)
        self.hop = _hop(self.params)

    def connect(self) -> Connection:
        """A new connection.

        Raises:
            psycopg.Error: it cannot be made.
            RagError: a certificate file or a token is not to be had, or the server's certificate is not valid now.
        """
        secret = self._secret()
        try:
            return self._connect(secret)
        except psycopg.Error as error:
            dated = self._dated() if is_untrusted(error) else None
            if dated is not None:
                raise dated from None
            if secret is None or not is_refused_password(error) or not self._renew(secret):
                raise
        return self._connect(self._secret())

    def _renew(self, refused: str) -> bool:
        """Whether another attempt is worth it: a token is thrown away, a password of a vault or file read again."""
        invalidate = getattr(self._password, "invalidate", None)
        if invalidate is not None:
            invalidate(refused)
            return True
        return self._password is None and self._cfg.password is not None and renewed_blocking(self._cfg.password, refused)

    def _connect(self, secret: str | None) -> Connection:
        with self._tls() as tls:
            params = {**_DEFAULTS, "connect_timeout": str(max(2, round(self._cfg.connect_timeout_s))), **tls, **self.params}
            return connect(params | ({} if secret is None else {"password": secret}), self._cfg.timeout_s)

    def _dated(self) -> RagError | None:
        """The error of a certificate that is not valid now; None where it is something else, or nobody knows."""
        if "hostaddr" in self.params:
            return None
        return untrusted(self.hop, why_untrusted([(host, int(port)) for host, port in _places(self.params)], self._network, self._cfg.connect_timeout_s))

    def _secret(self) -> str | None:
        if self._password is not None:
            return self._password()
        return self._cfg.password.get_secret_value() if self._cfg.password is not None else None

    @contextmanager
    def _tls(self) -> Iterator[dict[str, str]]:
        """libpq's names for the network policy. Over a Unix socket there is no TLS."""
        if all(host.startswith(("/", "@")) for host in str(self.params["host"]).split(",")) or self.params.get("sslmode") == "disable":
            yield {"sslcertmode": "disable"}
            return
        with tls_files(self._network) as files:
            shown = {"sslcertmode": "disable"} if files.client is None else {"sslcert": files.client, "sslkey": files.client, "sslpassword": files.password}
            yield {"sslrootcert": files.authorities, "ssl_min_protocol_version": f"TLSv{self._network.tls_min_version}", **shown}


def _parsed(cfg: PersistenceCfg) -> dict[str, Any]:
    if cfg.dsn is None:
        raise ConfigurationError("Threads should live in PostgreSQL, and no connection string is configured.", setting=DSN, hint=_HINT)
    try:
        params = {key: value for key, value in conninfo_to_dict(cfg.dsn.get_secret_value()).items() if value is not None}
    except psycopg.Error:  # its text repeats the string, password included
        raise ConfigurationError("The connection string of PostgreSQL cannot be read.", setting=DSN, hint=_HINT) from None
    missing = [name for name in ("host", "user", "dbname") if not params.get(name)]
    if missing:
        raise ConfigurationError(f"The connection string of PostgreSQL names no {' and no '.join(missing)}.", setting=DSN, hint=_HINT)
    if params.get("password") and (cfg.password is not None or cfg.use_azure_auth):
        other = PASSWORD if cfg.password is not None else "persistence.use_azure_auth"
        raise ConfigurationError(f"The connection string holds a password, and {other} gives another.", setting=DSN, hint="Remove one of them.")
    return params


def _hop(params: dict[str, Any]) -> str:
    """``postgres://host:port``, all of them where there are several."""
    return "postgres://" + ",".join(f"{host}:{port}" for host, port in _places(params))


def _places(params: dict[str, Any]) -> list[tuple[str, str]]:
    hosts, ports = str(params["host"]).split(","), str(params.get("port", "5432")).split(",")
    return [(host, ports[min(place, len(ports) - 1)]) for place, host in enumerate(hosts)]
