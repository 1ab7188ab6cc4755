"""What companies put in front of a model: it ends TLS, demands a client's certificate, and passes the rest on."""

from __future__ import annotations

import select
import socket
import ssl

import trustme

from tests.emulators.service import Service


class Gateway(Service):
    """A `Service` whose answers are those of ``port``, on loopback and without TLS."""

    def __init__(self, authority: trustme.CA, *names: str, port: int) -> None:
        super().__init__(authority, *names, demands_certificate=True)
        authority.issue_cert(*names).configure_cert(self._context)  # a `Service`'s own certificate ends soon, which `rag doctor` tells
        self._backend = port

    def _answer(self, tls: ssl.SSLSocket) -> bool:
        with socket.create_connection(("127.0.0.1", self._backend)) as back:
            while True:
                # What TLS has read already no select shows.
                ready = [tls] if tls.pending() else select.select([tls, back], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return False
                    (back if source is tls else tls).sendall(data)
