"""What stands in for PostgreSQL where a real one cannot be made to fail so: it speaks the bytes that are needed, under real TLS, and then fails.

https://www.postgresql.org/docs/18/protocol-message-formats.html
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trustme

from tests.emulators.listening import conversing
from tests.faults.places import Faulty, reset

CANCEL = 80877102
HTTP = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
AT_LOGIN = {
    "not let in": ("28000", 'no pg_hba.conf entry for host "10.0.0.9", user "rag", database "rag", SSL encryption'),
    "starting up": ("57P03", "the database system is starting up"),
    "shutting down": ("57P03", "the database system is shutting down"),
}
AT_STATEMENTS = {
    "session ended": ("57P01", "terminating connection due to administrator command"),
    "disk full": ("53100", 'could not extend file "base/16384/16390": No space left on device'),
}
READY = b"Z" + struct.pack("!ic", 5, b"I")


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _error(severity: str, code: str, text: str) -> bytes:
    fields = {"S": severity, "V": severity, "C": code, "M": text}
    return _message(b"E", b"".join(f"{kind}{value}\0".encode() for kind, value in fields.items()) + b"\0")


def _welcome() -> bytes:
    told = {"server_version": "18.1", "client_encoding": "UTF8", "server_encoding": "UTF8", "standard_conforming_strings": "on", "integer_datetimes": "on"}
    parameters = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in told.items())
    return _message(b"R", struct.pack("!i", 0)) + parameters + _message(b"K", struct.pack("!ii", 1, 2)) + READY


class FaultyPostgres:
    """``fault``: one of `postgres_rows.FAULTS` that is not real."""

    def __init__(self, authority: trustme.CA, fault: str) -> None:
        self._fault = fault
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        Faulty(authority, fault, "").certify(self._context)
        if fault == "client certificate":
            self._context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(self._context)

    @contextmanager
    def running(self) -> Iterator[int]:
        with conversing(self._serve, self._open) as port:
            try:
                yield port
            finally:
                self._over.set()

    def _serve(self, conversation: socket.socket) -> None:
        self._open.add(conversation)
        with suppress(OSError), conversation:
            if conversation.recv(4096) and self._begin(conversation):
                conversation.sendall(b"S")
                if self._fault == "TLS time-out":
                    self._over.wait(30)
                    return
                with self._context.wrap_socket(conversation, server_side=True) as tls:
                    self._open.add(tls)
                    self._converse(tls)

    def _begin(self, conversation: socket.socket) -> bool:
        """Whether TLS is offered."""
        if self._fault == "no word":
            self._over.wait(30)
        elif self._fault == "reset":
            reset(conversation)
        elif self._fault.startswith("not PostgreSQL"):
            conversation.sendall(HTTP)
            conversation.shutdown(socket.SHUT_WR)
            conversation.recv(4096)
        else:
            return self._fault != "closed"
        return False

    def _converse(self, tls: ssl.SSLSocket) -> None:
        startup = tls.recv(4096)
        if len(startup) < 8 or struct.unpack("!i", startup[4:8])[0] == CANCEL:
            return
        if self._fault in AT_LOGIN:
            tls.sendall(_error("FATAL", *AT_LOGIN[self._fault]))
            return
        if self._fault == "login time-out":
            self._over.wait(30)
            return
        tls.sendall(_welcome())
        while tls.recv(4096) and self._answer(tls):
            pass

    def _answer(self, tls: ssl.SSLSocket) -> bool:
        """Whether the session goes on."""
        row = _message(b"D", struct.pack("!hi", 1, 1000) + b" " * 1000)
        if self._fault == "read time-out":
            self._over.wait(30)
        elif self._fault == "dripping":
            tls.sendall(row[:100])
            while not self._over.wait(0.05):
                tls.sendall(b" ")
        elif self._fault == "reset, let in":
            reset(tls)
        elif self._fault == "truncated":
            tls.sendall(row[:100])
        elif self._fault == "session ended":
            tls.sendall(_error("FATAL", *AT_STATEMENTS[self._fault]))
        else:
            tls.sendall(_error("ERROR", *AT_STATEMENTS[self._fault]) + READY)
            return True
        return False
