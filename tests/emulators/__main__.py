"""A company's network to try things on: ``make emulators``, or ``python -m tests.emulators --break 429 --folder /tmp/company``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import ExitStack
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
    asked = [target for proxy in proxies for target in proxy.asked]
    tunnels = ", ".join(f"{target} {asked.count(target)}" for target in sorted(set(asked))) or "none"
    return f"Tunnels: {tunnels}. Refused by the proxy: {sum(proxy.refused for proxy in proxies)}. Connections round it: {company.direct}."


def main() -> int:
    options = parsed()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with ExitStack() as stack:
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
