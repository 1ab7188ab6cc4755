"""A throw-away cluster in the foreground: ``make opensearch``, or ``python -m tests.servers.opensearch --flavour secured --port 9201``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.servers.opensearch.jars import ServerUnavailableHereError, jar_folder
from tests.servers.opensearch.node import LAST_PORT, PARTS, NodeDidNotStartError, OpenSearchNode, running


def lines(node: OpenSearchNode) -> str:
    """What to put into config.ini."""
    ini = ["[search]", f"host = {node.url}"]
    if node.security:
        user, password = node.security.user("writer")
        ini += [f"username = {user}", f"password = {password}", "", "[network]", f"ca_bundle = {node.security.ca_file}"]
    return "\n".join(ini)


def main() -> int:
    description = "A throw-away OpenSearch 2.19 on loopback; Ctrl-C ends it and its data."
    parser = argparse.ArgumentParser(prog="python -m tests.servers.opensearch", description=description)
    flavours = "full: k-NN and hybrid; knn: no hybrid; plain: no plugin; secured: full, with TLS and users (default %(default)s)"
    parser.add_argument("--flavour", choices=list(PARTS), default="full", help=flavours)
    parser.add_argument("--port", type=int, default=9201, help=f"HTTP port, {LAST_PORT} at most; 0 takes a free one (default %(default)s)")
    parser.add_argument("--heap", default="1g", help="Java heap (default %(default)s)")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        print("Bringing the jars (once, about 115 MB) and starting ...", flush=True)
        jar_folder()
        with (
            tempfile.TemporaryDirectory(prefix="opensearch-") as folder,
            running(OpenSearchNode(options.flavour, Path(folder), options.heap, options.port, lasting=True)) as node,
        ):
            print(f"OpenSearch ({options.flavour}) serves at {node.url}. Put this into config.ini:\n\n{lines(node)}\n", flush=True)
            if node.security:
                names = ("admin", "writer", "reader", "bare", "nobody", "partner")
                print("Users (password NAME-password): " + ", ".join(names), flush=True)
            print("Ctrl-C ends it and deletes its data.", flush=True)
            while node.running and not ended.wait(1):
                pass
            if not ended.is_set():
                print(f"The node ended by itself.\n{node.log_tail()}", file=sys.stderr)
                return 1
    except (ServerUnavailableHereError, NodeDidNotStartError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
