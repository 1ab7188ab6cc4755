"""`rag serve`: the HTTP API and the chat page."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..util.aio import stopped
from .common import CommandContext, common_options, export_telemetry

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

    from ..api.deps import Parts
    from ..infra.config import ApiCfg, Settings

GRACE_S = 5
"""Seconds that running requests get after SIGTERM or Ctrl-C."""
ANSWERING_S = 4
"""Seconds of them after which what is not answered is ended with an error: what uvicorn cuts off at their end tells its client nothing."""


@click.command("serve")
@common_options
@click.option("--host", help="Address to listen on; default `[api] host`.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one; default `[api] port`.")
def command(context: CommandContext, host: str | None, port: int | None) -> None:
    """Serve the HTTP API and the chat page until Ctrl-C or SIGTERM."""
    from ..api.auth import check_bind_address
    from ..infra.logging_setup import log_uncaught

    settings = with_address(context.settings, host, port)
    check_bind_address(settings.api)
    log_uncaught()
    listener = bind(settings.api)
    with listener:
        context.run(serve(context, settings, listener), event_loop())


async def serve(context: CommandContext, settings: Settings, listener: socket.socket) -> None:
    """Run the server on a bound socket until it is told to stop."""
    from ..api.app import create_app
    from ..infra.resource_manager import ResourceManager, use_resources

    async with ResourceManager(settings) as resources:
        export_telemetry(resources)
        with figures_listener(settings) as figures, use_resources(resources):
            server = make_server(create_app(resources), lambda: announce(context, settings, listener, figures))
            await server.serve(sockets=[listener])


@contextmanager
def figures_listener(settings: Settings) -> Iterator[str]:
    """A listener for `/metrics` alone, where `[telemetry] metrics_port` wants one; its address, or nothing.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    cfg = settings.telemetry
    if not cfg.metrics or cfg.metrics_port is None:
        yield ""
        return
    from ..api.metrics import Shown
    from ..infra.metrics_listener import MetricsListener

    listener = MetricsListener(Shown(settings), cfg.metrics_host, cfg.metrics_port, cfg.metrics_token)
    listener.start()
    try:
        yield listener.url
    finally:
        listener.close()


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes libuv's event loop where `uvloop` is installed (it is not for Windows), which takes less of the processor; else None for Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def end_answers(parts: Parts) -> None:
    """End the answers that are not ready soon enough after the server was told to stop."""
    await asyncio.sleep(ANSWERING_S)
    await parts.end_answers()


async def settle(loaded: asyncio.Task[None]) -> None:
    """Once all is loaded, leave it out of the garbage collector's rounds.

    Nothing of it goes before the process does, and each full round over its 200,000 objects held up every answer under way for 0.1 s.
    """
    await asyncio.wait([loaded])
    if not loaded.cancelled():
        gc.collect()
        gc.freeze()


def with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with the command line's address."""
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    return settings.model_copy(update={"api": settings.api.model_copy(update=given)})


def bind(cfg: ApiCfg) -> socket.socket:
    """A socket on the configured address.

    Raises:
        ConfigurationError: the address is taken, is not this machine's, or may not be used.
    """
    import errno

    from ..errors import ConfigurationError

    host = cfg.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, cfg.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"{cfg.host} is not an address of this machine: {error.strerror}.", setting="api.host") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            hint = "Stop the other server, or take another port: rag serve --port 8001."
            raise ConfigurationError(f"Port {cfg.port} of {cfg.host} is taken.", setting="api.port", hint=hint) from error
        raise ConfigurationError(f"Cannot listen on {cfg.host}:{cfg.port}: {error.strerror}.", setting="api.host") from error
    return listener


def make_server(app: FastAPI, ready: Callable[[], None]) -> Server:
    """A uvicorn server that calls ``ready`` once it listens, and for which being told to stop is a good end (exit code 0)."""
    import uvicorn

    class GracefulServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()
            if (loading := getattr(app.state, "warming", None)) is not None:
                self.settling = asyncio.create_task(settle(loading))

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            ending = asyncio.create_task(end_answers(app.state.parts))
            try:
                await super().shutdown(sockets)
            finally:
                await stopped(ending)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again after the shutdown, which would end the process as if it had been killed.
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        app,
        log_config=None,  # ours is set up already
        access_log=False,
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return GracefulServer(config)


def announce(context: CommandContext, settings: Settings, listener: socket.socket, figures: str = "") -> None:
    """Say where the server is and what to do next."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if context.json:
        context.emit({"url": url, "pid": os.getpid(), "auth": settings.api.auth, **({"metrics": figures} if figures else {})})
        return
    click.secho(f"Serving on {url}", bold=True)
    if settings.features.chat_page:
        click.echo(f"  Chat page    {url}/")
    if settings.features.admin_page:
        click.echo(f"  Operators    {url}/admin")
    if settings.features.openapi:
        click.echo(f"  API          {url}/docs")
    if figures:
        click.echo(f"  Figures      {figures}")
    question = '{"message": "How many days of annual leave do employees get?"}'
    token = " -H 'Authorization: Bearer TOKEN'" if settings.api.auth == "tokens" else ""
    click.echo(f"  From a shell curl {url}/v1/chat{token} -H 'Content-Type: application/json' -d '{question}'")
    click.echo("Next: open the chat page and ask; `rag ingest PATH` in another shell adds documents. Ctrl-C stops.")
