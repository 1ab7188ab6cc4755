"""What PostgreSQL, its pooler and libpq answer, as errors of this package. Pure; no text here ever holds a password."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ....errors import (
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    ForeignServiceError,
    InputError,
    OverloadedError,
    RagError,
    ServiceCredentialsError,
    ServicePermissionError,
    ServiceUnavailableError,
    TlsError,
    UnreachableError,
    WriteBlockedError,
)

if TYPE_CHECKING:
    import psycopg

    from ...network.faults import FaultKind

DSN, PASSWORD, POOL, TIMEOUT, CONNECT_TIMEOUT = (f"persistence.{key}" for key in ("dsn", "password", "pool_size", "timeout_s", "connect_timeout_s"))
CA, CLIENT = "network.ca_bundle", "network.client_certificate"

Maker = Callable[[str, str], RagError]
"""From the hop and what the server said in its own words to the error."""


@dataclass(frozen=True, slots=True)
class _Make:
    kind: type[RagError]
    text: str
    setting: str
    hint: str

    def __call__(self, hop: str, said: str) -> RagError:
        return self.kind(self.text.format(said=said), hop=hop, setting=self.setting, hint=self.hint)


_CREDENTIALS = _Make(
    ServiceCredentialsError,
    "PostgreSQL does not accept this server's user or password.",
    DSN,
    f"Check the user, and the password there or in {PASSWORD}.",
)
_NO_ENTRY = _Make(
    ServiceCredentialsError, "PostgreSQL lets this user, database or address not in (pg_hba.conf).", DSN, "Have the server's administrator allow it."
)
_PERMISSION = _Make(
    ServicePermissionError, "The database's user may not do this: {said}.", DSN, "Grant it, or have `rag` migrate once as a user who may create tables."
)
_NO_DATABASE = _Make(ConfigurationError, "The database does not exist: {said}.", DSN, "Create it, or name another.")
_FULL = _Make(OverloadedError, "PostgreSQL takes no more connections: {said}.", POOL, "Lower it, use a pooler, or raise the server's max_connections.")
_STARTING = _Make(UnreachableError, "PostgreSQL is starting, stopping or recovering.", DSN, "Try again.")
_READ_ONLY = _Make(
    WriteBlockedError,
    "PostgreSQL is read-only: a standby, or a database set so.",
    DSN,
    "Name the primary, or all servers with target_session_attrs=read-write.",
)
_DISK = _Make(WriteBlockedError, "PostgreSQL's disk is full.", DSN, "Free space there; nothing was written.")
_MEMORY = _Make(OverloadedError, "PostgreSQL has no room for this: {said}.", DSN, "Try again; look at the server.")
_SLOW = _Make(DeadlineExceededError, "PostgreSQL did not answer in time.", TIMEOUT, "Raise it, or look at the server and its locks.")
_LOST = _Make(UnreachableError, "The connection to PostgreSQL broke off.", DSN, "Try again; look at the server and what lies before it.")
_TABLES = _Make(
    ConfigurationError, "Tables in the database are missing or others than expected: {said}.", DSN, "Let this release migrate the database (auto_migrate)."
)
_BUSY = _Make(ConflictError, "PostgreSQL undid this, because another write touched the same rows.", DSN, "Try again.")
_LEASE = _Make(ConflictError, "Another server has taken this conversation over, because this one did not answer for long.", "", "Read it again, and ask again.")
_BAD_VALUE = _Make(InputError, "PostgreSQL cannot store this value: {said}.", "", "Text must hold no NUL character.")
_FOREIGN = _Make(ForeignServiceError, "What answers there is not PostgreSQL.", DSN, "Check host and port.")
_NAME = _Make(UnreachableError, "PostgreSQL cannot be reached: its name cannot be resolved.", DSN, "Check the host, and this machine's name service.")
_REFUSED = _Make(UnreachableError, "PostgreSQL cannot be reached: {said}.", DSN, "Check host and port, whether it runs, and the firewall between.")
_LATE = _Make(
    UnreachableError, "PostgreSQL cannot be reached: no connection within the time allowed.", DSN, f"Check host, port and firewall, and {CONNECT_TIMEOUT}."
)
_NO_TLS = _Make(
    TlsError, "PostgreSQL cannot be trusted: it does not speak TLS.", DSN, "Switch TLS on there; inside one machine, sslmode=disable allows to go without."
)
_TLS_NAME = _Make(TlsError, "PostgreSQL cannot be trusted: its certificate is for another name.", DSN, "Use the name that it is for.")
_TLS_AUTHORITY = _Make(TlsError, "PostgreSQL cannot be trusted: no known authority signed its certificate.", CA, "Add your company's certificate authority.")
_TLS_EXPIRED = _Make(TlsError, "PostgreSQL cannot be trusted: its certificate has expired.", DSN, "Have it renewed; check this machine's clock.")
_TLS_EARLY = _Make(TlsError, "PostgreSQL cannot be trusted: its certificate is not valid yet.", DSN, "Check this machine's clock, and the certificate.")
_TLS_CLIENT = _Make(TlsError, "PostgreSQL wants a client certificate, and refuses ours or the lack of one.", CLIENT, "Check it and its key.")
_TLS_VERSION = _Make(TlsError, "PostgreSQL speaks no TLS version that is allowed here.", "network.tls_min_version", "Have it speak a newer one.")
_TLS = _Make(TlsError, "No secure connection to PostgreSQL: {said}.", DSN, "Check port and sslmode.")
_UNKNOWN = _Make(ServiceUnavailableError, "PostgreSQL failed: {said}.", DSN, "Look at the server's log.")

_STATES: tuple[tuple[str, Maker], ...] = (
    ("28000", _NO_ENTRY),
    ("28", _CREDENTIALS),
    ("3D000", _NO_DATABASE),
    ("42501", _PERMISSION),
    ("53300", _FULL),
    ("53100", _DISK),
    ("53", _MEMORY),
    ("25006", _READ_ONLY),
    ("57014", _SLOW),
    ("57P", _STARTING),
    ("55P03", _SLOW),
    ("40", _BUSY),
    ("42P01", _TABLES),
    ("3F000", _TABLES),
    ("42703", _TABLES),
    ("08", _LOST),
    ("22012", _LEASE),  # see `leases.fence`; no other statement here divides
    ("22", _BAD_VALUE),
)
"""By SQLSTATE, or the beginning of one; the first that fits. https://www.postgresql.org/docs/18/errcodes-appendix.html"""

_BROKEN = r"closed the connection|connection (is )?(lost|closed)|reset by peer|Broken pipe|server conn crashed|connection socket closed|bad record|EOF"
_TEXTS: tuple[tuple[str, Maker], ...] = (
    # libpq gives no SQLSTATE for connections that were refused; these are its words and the server's (English; others fall through).
    (r"client certificate|certificate required|alert bad certificate|alert unknown ca|alert certificate|private key", _TLS_CLIENT),
    (r"server certificate for .* does not match|hostname mismatch|does not match host name", _TLS_NAME),
    (r"certificate has expired", _TLS_EXPIRED),
    (r"certificate is not yet valid", _TLS_EARLY),
    (r"certificate verify failed|self[- ]signed|root certificate|unable to get local issuer", _TLS_AUTHORITY),
    (r"unsupported protocol|protocol version|no protocols available", _TLS_VERSION),
    (r"server does not support SSL|SSL required|server ended the connection.*SSL", _NO_TLS),
    (r"invalid response to SSL negotiation|expected authentication request|unsupported frontend protocol|invalid packet", _FOREIGN),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects", _NO_ENTRY),
    (
        r"password authentication failed|no password supplied|SASL|SCRAM|authentication failed|role .* does not exist|no such user|not permitted to log in",
        _CREDENTIALS,
    ),
    (r"database .* does not exist|no such database", _NO_DATABASE),
    (r"permission denied", _PERMISSION),
    (r"too many (clients|connections)|connection slots|no more connections allowed|query_wait_timeout|pool_size", _FULL),
    (r"session is read-only|session is not read-only|server is in hot standby|read-only", _READ_ONLY),
    (r"starting up|shutting down|not (yet )?accepting connections|recovery|server_login_retry|administrator command", _STARTING),
    (r"translate host name|resolve host|Name or service not known|name resolution|failed to resolve", _NAME),
    (r"timeout expired|timed out|connection timeout", _LATE),
    (r"Connection refused|No such file or directory|Network is unreachable|No route to host", _REFUSED),
    (_BROKEN, _LOST),  # before the next: over TLS it is OpenSSL that says so
    (r"SSL|TLS", _TLS),
    (r"NUL \(0x00\)", _BAD_VALUE),
)

_CLASSES = {"ConnectionTimeout": _LATE, "_WaitTimeout": _SLOW}


def root_of(error: psycopg.Error) -> psycopg.Error:
    """What really happened: leaving a pipeline whose connection broke off raises an error about the pipeline, with the break as its context."""
    while not error.sqlstate and re.search(r"pipeline", str(error)) and hasattr(error.__context__, "sqlstate"):
        error = cast("psycopg.Error", error.__context__)
    return error


def error_of(error: psycopg.Error, hop: str) -> RagError:
    """The error for what psycopg raised."""
    said = _said(error)
    if error.sqlstate:
        found = next((make for state, make in _STATES if error.sqlstate.startswith(state)), None)
        return found(hop, said) if found else _UNKNOWN(hop, f"{said} (SQLSTATE {error.sqlstate})")
    by_class = _CLASSES.get(type(error).__name__)
    if by_class is not None:
        return by_class(hop, said)
    whole = str(error)
    return next((make(hop, said) for pattern, make in _TEXTS if re.search(pattern, whole, re.IGNORECASE)), _UNKNOWN(hop, said))


def is_untrusted(error: psycopg.Error) -> bool:
    """The server's certificate did not verify; libpq says no more than that."""
    return not error.sqlstate and "certificate verify failed" in str(error)


def untrusted(hop: str, why: FaultKind) -> RagError | None:
    """The error for what is wrong with the server's certificate, where that is its dates."""
    made = {"tls-expired": _TLS_EXPIRED, "tls-not-yet-valid": _TLS_EARLY}.get(why)
    return made(hop, "") if made else None


def lost_lease(hop: str) -> RagError:
    """Another replica holds the thread now."""
    return _LEASE(hop, "")


def denied(hop: str, rights: str) -> RagError:
    """What the server says once one of these rights is used."""
    return _PERMISSION(hop, f"no right to {rights}")


def read_only(hop: str) -> RagError:
    """What the server says to the first write."""
    return _READ_ONLY(hop, "")


def is_lost(error: psycopg.Error) -> bool:
    """The connection went away under a statement: nobody knows whether it was done, so only what may be done twice is done again."""
    state = error.sqlstate or ""
    return state.startswith(("08", "57P01", "57P02")) or (not state and re.search(_BROKEN, str(error), re.IGNORECASE) is not None)


def is_refused_password(error: psycopg.Error) -> bool:
    """The server did not take user and password, as with a token that has expired meanwhile."""
    return error_of(error, "").__class__ is ServiceCredentialsError


def _said(error: psycopg.Error) -> str:
    """The server's first line, without the place it came from; its details may hold rows, and stay out."""
    text = error.diag.message_primary or str(error).splitlines()[0] if str(error) else type(error).__name__
    text = re.split(r"(?:FATAL|ERROR):\s+", text)[-1]
    return re.sub(r"^connection (?:failed: )?(?:connection )?to server .*? failed: ", "", text).strip().rstrip(".") or type(error).__name__
