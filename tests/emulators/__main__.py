"""A company's network to try things on: ``make emulators``, or ``python -m tests.emulators --break 429 --folder /tmp/company``."""

from __future__ import annotations

import argparse
import fcntl
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.emulators.breaks import BREAKS
from tests.emulators.company import GATEWAY, LOGIN, OPENAI, Company
from tests.emulators.interceptor import Interceptor, UnavailableHereError

PORT = 9310


def parsed() -> argparse.Namespace:
    ways = "\n".join(f"  {name:<22} {found.means}: {found.code}, {found.setting}" for name, found in BREAKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulators",
        description="Entra ID, Azure OpenAI and a gateway that demands client certificates, behind proxies, all with certificates of a private authority.",
        epilog=f"ways to break it, and what `rag` then says (error, setting):\n{ways}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path(".cache/emulators"), help="for certificates and config.ini (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=PORT, help="of the proxy; the next two are those without a password and with interception (default %(default)s)"
    )
    parser.add_argument("--break", dest="broken", choices=["", *BREAKS], default="", metavar="WAY", help="see below")
    parser.add_argument("--intercept", action="store_true", help="also a proxy that breaks TLS open (mitmproxy, from PyPI, into a cache folder)")
    return parser.parse_args()


def greeting(company: Company, interceptor: Interceptor | None) -> str:
    lines = [
        f"{LOGIN}, {OPENAI} and {GATEWAY} are served behind the proxy http://127.0.0.1:{company.proxy.port};",
        f"http://127.0.0.1:{company.open_proxy.port} is the same without a password.",
    ]
    if interceptor:
        lines.append(f"http://127.0.0.1:{interceptor.port} is the same again and breaks TLS open: {interceptor.ca_file} is its authority.")
    if company.broken:
        lines.append(f"Broken: {BREAKS[company.broken].means}.")
    lines += [f"This is in {company.folder / 'config.ini'}:", "", company.config()]
    return "\n".join([*lines, "`python -m tests.emulators --help` names the ways to break it. Ctrl-C ends it."])


def counts(company: Company) -> str:
    proxies = (company.proxy, company.open_proxy)
    opened = [target for proxy in proxies for target in proxy.opened]
    tunnels = ", ".join(f"{target} {opened.count(target)}" for target in sorted(set(opened))) or "none"
    refused = sum(proxy.refused + len(proxy.asked) - len(proxy.opened) for proxy in proxies)
    return f"Tunnels: {tunnels}. Refused by the proxy: {refused}. Connections round it: {company.direct}."


@contextmanager
def alone(folder: Path, *ports: int) -> Iterator[None]:
    """Nobody else serves from the folder, and the ports are free: only then may its certificates be written anew.

    Raises:
        UnavailableHereError: somebody does, or they are not; nothing was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UnavailableHereError(f"The emulators are running in {folder} already: end them, or name another --folder and --port.") from None
        for port in ports:
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError as error:
                text = f"Port {port} is not free ({error.strerror}): the emulators may be running already. Name another --port."
                raise UnavailableHereError(text) from None
        yield


def main() -> int:
    options = parsed()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with ExitStack() as stack:
            ports = range(options.port, options.port + 2 + options.intercept) if options.port else ()
            stack.enter_context(alone(options.folder.resolve(), *ports))
            company = stack.enter_context(Company(options.folder.resolve(), options.broken).running(options.port))
            interceptor = stack.enter_context(Interceptor(company).running(options.port and options.port + 2)) if options.intercept else None
            print(greeting(company, interceptor), flush=True)
            ended.wait()
            print(counts(company), flush=True)
    except (UnavailableHereError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
