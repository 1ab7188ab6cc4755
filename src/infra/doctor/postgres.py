"""PostgreSQL: TLS as libpq begins it, then server version and migrations by the product's own database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, ForeignServiceError, TlsError
from ..hops import error_of
from ..network.faults import Fault, fault_of
from . import wire
from .channel import in_thread
from .dsn import parameters
from .vaults import known
from .walk import Step, Walk

if TYPE_CHECKING:
    from ..config import Settings
    from ..persistence.postgres.migrations import State

_LEAST_CONNECT_S = 2
_VERIFIED = "verify-full"


def steps(settings: Settings, remote: bool) -> tuple[Step, ...]:
    """All steps of the hop; without ``remote`` those of the way are libpq's alone."""
    mode = _mode(settings)
    way = (Step("name", wire.name), Step("tcp", wire.tcp)) if remote else ()
    tls = (Step("tls", secure),) if remote and mode == _VERIFIED else ()
    return (Step("settings", configured), *way, *tls, Step("service", answers), Step("migrations", migrations))


def _mode(settings: Settings) -> str:
    return parameters(known(settings.persistence.dsn)).get("sslmode", _VERIFIED)


async def configured(walk: Walk) -> str:
    """The connection string can be read, and the driver is installed."""
    from ..persistence import postgres_database

    database = await in_thread(lambda: postgres_database(walk.settings))  # the connection string may lie in a vault
    if database is None:
        raise ConfigurationError("PostgreSQL is not configured.", setting="persistence.backend")
    await in_thread(database.close)
    mode = _mode(walk.settings)
    if mode != _VERIFIED and walk.target.host not in ("", "localhost", "127.0.0.1", "::1"):
        what = "goes over the network unencrypted" if mode == "disable" else "does not verify the server's name"
        walk.warn(f"sslmode={mode} {what}.", "persistence.dsn", "Leave it out: the default here is verify-full.")
    return f"{database.hop}, sslmode {mode}"


async def secure(walk: Walk) -> str:
    """Ask for TLS, as libpq does, and verify the certificate."""
    answer = await _tls_offered(walk)
    where = {"hop": walk.target.address, "setting": walk.target.setting}
    if answer == b"N":
        hint = "Switch TLS on there; inside one machine, sslmode=disable allows to go without."
        raise TlsError("PostgreSQL cannot be trusted: it does not speak TLS.", hint=hint, **where)
    if answer != b"S":
        raise ForeignServiceError("What answers there is not PostgreSQL.", hint="Check host and port.", **where)
    return await wire.tls(walk)


async def _tls_offered(walk: Walk) -> bytes:
    """The byte with which the server answers the request for TLS."""
    from ..persistence.postgres.handshake import SSL_REQUEST

    assert walk.channel is not None
    limit = walk.left(walk.target.connect_s)
    try:
        async with asyncio.timeout(limit):
            await walk.channel.write(SSL_REQUEST)
            answer = await walk.channel.read()
    except OSError as error:
        fault = Fault("connect-timeout", f"no connection within {limit:.3g} s") if isinstance(error, TimeoutError) else fault_of(error)
        raise error_of(fault, walk.target.way(walk.policy)) from None
    if not answer:
        raise error_of(Fault("reset"), walk.target.way(walk.policy))
    return answer[:1]


async def answers(walk: Walk) -> str:
    """It lets us in, and takes writes; its version."""
    from ..persistence.postgres.failures import read_only

    state, hop = await _state(walk)
    if state.read_only:  # each question that is asked is written down
        raise read_only(hop)
    return f"PostgreSQL {state.version} lets us in"


async def migrations(walk: Walk) -> str:
    """The tables are those of this release, and our user may use them, or make them."""
    from ..persistence.postgres.failures import denied
    from ..persistence.postgres.migrations import OLDEST_SERVER

    state, hop = await _state(walk)
    where = {"hop": hop}
    if state.server_version < OLDEST_SERVER:
        raise ConfigurationError(f"PostgreSQL {state.version} is too old.", setting="persistence.dsn", hint="Use version 13 or newer.", **where)
    told = ", ".join(f"{part.table} {part.applied}/{part.known}" for part in state.parts)
    migrated, makes = state.migrated, walk.settings.persistence.auto_migrate
    if state.denied and (migrated or makes):
        raise denied(hop, "; ".join(state.denied))
    if migrated:
        return told
    if not makes:
        hint = "Switch it on once, as a user who may create tables."
        raise ConfigurationError(f"The database is not migrated: {told}.", setting="persistence.auto_migrate", hint=hint, **where)
    walk.warn(f"The database is not migrated yet ({told}); the first use does it.", "persistence.auto_migrate", "Nothing, if its user may create tables.")
    return "the tables are made on first use"


async def _state(walk: Walk) -> tuple[State, str]:
    """What the database is, and its hop: several hosts, or a socket, are no address of the target's."""
    from ..persistence import postgres_database

    cfg = walk.settings.persistence
    limit = walk.left()
    asked = cfg.model_copy(update={"connect_timeout_s": min(cfg.connect_timeout_s, max(_LEAST_CONNECT_S, limit)), "timeout_s": min(cfg.timeout_s, limit)})
    settings = walk.settings.model_copy(update={"persistence": asked})
    database = await in_thread(lambda: postgres_database(settings))
    assert database is not None
    try:
        return await in_thread(database.inspect), database.hop
    finally:
        await in_thread(database.close)
