"""What PostgreSQL, PgBouncer and libpq say, and which error that is. The texts are theirs, word for word."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from src.errors import (
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
from src.infra.persistence.postgres.failures import error_of, is_lost, is_untrusted, root_of, untrusted

AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '
DSN = "persistence.dsn"


@pytest.mark.parametrize(
    ("text", "kind", "setting"),
    [
        ('FATAL:  password authentication failed for user "rag"', ServiceCredentialsError, DSN),
        ("fe_sendauth: no password supplied", ServiceCredentialsError, DSN),
        ("FATAL:  SASL authentication failed", ServiceCredentialsError, DSN),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "rag", database "rag", no encryption', ServiceCredentialsError, DSN),
        ('FATAL:  database "rag" does not exist', ConfigurationError, DSN),
        ("FATAL:  permission denied for database rag", ServicePermissionError, DSN),
        ("FATAL:  sorry, too many clients already", OverloadedError, "persistence.pool_size"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", OverloadedError, "persistence.pool_size"),
        ("FATAL:  no more connections allowed (max_client_conn)", OverloadedError, "persistence.pool_size"),
        ("FATAL:  query_wait_timeout", OverloadedError, "persistence.pool_size"),
        ("FATAL:  the database system is starting up", UnreachableError, DSN),
        ("FATAL:  the database system is in recovery mode", UnreachableError, DSN),
        ("session is read-only", WriteBlockedError, DSN),
        ("server does not support SSL, but SSL was required", TlsError, DSN),
        ("SSL error: certificate verify failed", TlsError, "network.ca_bundle"),
        ('server certificate for "db" (and 1 other name) does not match host name "10.0.0.7"', TlsError, DSN),
        ("SSL error: tlsv13 alert certificate required", TlsError, "network.client_certificate"),
        ("FATAL:  connection requires a valid client certificate", TlsError, "network.client_certificate"),
        ("SSL error: unsupported protocol", TlsError, "network.tls_min_version"),
        ("received invalid response to SSL negotiation: H", ForeignServiceError, DSN),
        ("Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", UnreachableError, DSN),
        ("server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally", UnreachableError, DSN),
        ("consuming input failed: SSL error: unexpected eof while reading", UnreachableError, DSN),
        ("SSL SYSCALL error: EOF detected", UnreachableError, DSN),
        ("timeout expired", UnreachableError, DSN),
        ("something that no version of today says", ServiceUnavailableError, DSN),
    ],
)
def test_a_connection_that_is_refused_is_told_by_its_words(text: str, kind: type[RagError], setting: str) -> None:
    error = error_of(psycopg.OperationalError(AT + text), "postgres://10.0.0.7:5432")
    assert (type(error), error.setting, error.hop) == (kind, setting, "postgres://10.0.0.7:5432")
    assert "10.0.0.9" not in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (pg.InvalidPassword, ServiceCredentialsError),
        (pg.InsufficientPrivilege, ServicePermissionError),
        (pg.InvalidCatalogName, ConfigurationError),
        (pg.UndefinedTable, ConfigurationError),
        (pg.TooManyConnections, OverloadedError),
        (pg.OutOfMemory, OverloadedError),
        (pg.DiskFull, WriteBlockedError),
        (pg.ReadOnlySqlTransaction, WriteBlockedError),
        (pg.QueryCanceled, DeadlineExceededError),
        (pg.LockNotAvailable, DeadlineExceededError),
        (pg.AdminShutdown, UnreachableError),
        (pg.SerializationFailure, ConflictError),
        (pg.DeadlockDetected, ConflictError),
        (pg.DivisionByZero, ConflictError),  # the fence of a lease
        (pg.UntranslatableCharacter, InputError),
        (pg.SyntaxError, ServiceUnavailableError),
    ],
)
def test_a_statement_that_fails_is_told_by_its_state(raised: type[psycopg.Error], kind: type[RagError]) -> None:
    assert type(error_of(raised("ERROR: words"), "h")) is kind


def test_details_of_a_failure_which_may_hold_rows_stay_out() -> None:
    error = error_of(pg.UniqueViolation('duplicate key value\nDETAIL:  Key (question)=("canary") already exists.'), "h")
    assert "canary" not in str(error)


def test_a_break_inside_a_pipeline_is_found_behind_the_pipelines_own_error() -> None:
    def leave() -> None:
        try:
            raise pg.AdminShutdown("terminating connection due to administrator command")
        finally:
            raise psycopg.OperationalError("cannot exit pipeline mode while busy")

    with pytest.raises(psycopg.OperationalError) as found:
        leave()
    assert isinstance(root_of(found.value), pg.AdminShutdown)
    assert is_lost(root_of(found.value))
    assert not is_lost(pg.DiskFull("full"))


def test_dates_of_a_certificate_are_told_apart_from_its_authority() -> None:
    assert is_untrusted(psycopg.OperationalError(AT + "SSL error: certificate verify failed"))
    assert not is_untrusted(psycopg.OperationalError(AT + "SSL error: unsupported protocol"))
    over, early = untrusted("postgres://h:1", "tls-expired"), untrusted("postgres://h:1", "tls-not-yet-valid")
    assert over is not None
    assert early is not None
    assert ("expired" in over.message, "not valid yet" in early.message) == (True, True)
    assert {(type(one), one.setting) for one in (over, early)} == {(TlsError, DSN)}
    assert untrusted("postgres://h:1", "tls-authority") is None
