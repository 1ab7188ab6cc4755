"""Python runs this first where `watch.py` puts it on the path: connections to the proxy alone are let through, and all attempts noted."""

import errno
import os
import socket
import sys

_ALLOWED = os.environ["WATCH_ALLOWED"]
_FILE = os.open(os.environ["WATCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_LITERAL = set("0123456789.:[]abcdefABCDEF")


def _note(line: str) -> None:
    os.write(_FILE, f"{line}\n".encode())


def _hook(event: str, arguments: tuple) -> None:  # type: ignore[type-arg] - of whatever the event has
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if host and host != "localhost" and not set(host) <= _LITERAL:
            _note(f"name {host}")
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        address = f"{arguments[1][0]}:{arguments[1][1]}"
        if address != _ALLOWED:
            _note(f"address {address}")
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        _note("proxy")


sys.addaudithook(_hook)
