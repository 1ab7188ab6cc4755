"""What PostgreSQL says to each way of failing. Data; `postgres_running` runs it, `docs/faults.md` prints it."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS: dict[str, str] = {
    "refused": "nobody listens there",
    "unknown name": "the name cannot be resolved",
    "connect time-out": "a firewall drops what is sent: no TCP connection",
    "no word": "connected, and then silence",
    "TLS time-out": "TLS is offered, and then silence",
    "login time-out": "TLS is agreed on, and then silence",
    "read time-out": "let in, and no answer to a statement comes",
    "dripping": "the answer begins and comes a byte at a time, for ever",
    "reset": "the connection is reset at the first byte",
    "closed": "the connection is closed at the first byte",
    "reset, let in": "the connection is reset before the answer to a statement",
    "truncated": "the connection is closed in the middle of that answer",
    "wrong CA": "the certificate's authority is not trusted here",
    "expired": "the certificate has expired",
    "wrong host name": "the certificate is for another name",
    "client certificate": "the server demands a certificate of ours, and there is none",
    "no TLS": "the server does not speak TLS",
    "not PostgreSQL": "what answers speaks HTTP",
    "not PostgreSQL, sslmode=disable": "likewise, and no TLS is asked for",
    "wrong password": "the password is refused",
    "not let in": "no line of pg_hba.conf lets user, database and address in (28000)",
    "no right to connect": "the user may not connect to this database (42501)",
    "no right to create": "the tables are not there, and the user may not make them (42501)",
    "no right to write": "the user may read the tables alone (42501)",
    "database missing": "there is no such database (3D000)",
    "not migrated": "the tables are not there, and `auto_migrate` is off",
    "too many connections": "the server, the database or the user has its connections (53300)",
    "starting up": "the server starts, or recovers (57P03)",
    "shutting down": "the server is being stopped (57P03)",
    "session ended": "the server ends the session under a statement, each time (57P01)",
    "read-only": "the database takes no writes (25006), as a standby takes none",
    "standby": "`target_session_attrs=read-write`, and none of the servers takes writes",
    "disk full": "there is no room on the server's disk (53100)",
}


@dataclass(frozen=True)
class Row:
    """One fault, and the error that a caller gets. ``real``: a real server makes it; the others are made by the bytes that a server would send."""

    fault: str
    error: str
    setting: str = "persistence.dsn"
    real: bool = False


ROWS: tuple[Row, ...] = (
    Row("refused", "UnreachableError"),
    Row("unknown name", "UnreachableError"),
    Row("connect time-out", "UnreachableError"),
    Row("no word", "UnreachableError"),
    Row("TLS time-out", "UnreachableError"),
    Row("login time-out", "UnreachableError"),
    Row("read time-out", "DeadlineExceededError", "persistence.timeout_s"),
    Row("dripping", "DeadlineExceededError", "persistence.timeout_s"),
    Row("reset", "UnreachableError"),
    Row("closed", "UnreachableError"),
    Row("reset, let in", "UnreachableError"),
    Row("truncated", "UnreachableError"),
    Row("wrong CA", "TlsError", "network.ca_bundle"),
    Row("expired", "TlsError"),
    Row("wrong host name", "TlsError"),
    Row("client certificate", "TlsError", "network.client_certificate"),
    Row("no TLS", "TlsError", real=True),
    Row("not PostgreSQL", "ForeignServiceError"),
    Row("not PostgreSQL, sslmode=disable", "ForeignServiceError"),
    Row("wrong password", "ServiceCredentialsError", real=True),
    Row("not let in", "ServiceCredentialsError"),
    Row("no right to connect", "ServicePermissionError", real=True),
    Row("no right to create", "ServicePermissionError", real=True),
    Row("no right to write", "ServicePermissionError", real=True),
    Row("database missing", "ConfigurationError", real=True),
    Row("not migrated", "ConfigurationError", "persistence.auto_migrate", real=True),
    Row("too many connections", "OverloadedError", "persistence.pool_size", real=True),
    Row("starting up", "UnreachableError"),
    Row("shutting down", "UnreachableError"),
    Row("session ended", "UnreachableError"),
    Row("read-only", "WriteBlockedError", real=True),
    Row("standby", "WriteBlockedError", real=True),
    Row("disk full", "WriteBlockedError"),
)
