"""A network namespace from which nothing is reached but one proxy, and where each attempt to reach anything else is seen.

Every address of the internet is local there: what connects directly meets a trap that notes it, and the kernel counts for that
namespace alone. The proxy listens outside on a unix socket; a relay inside leads to it. Run as a program, this file is the inside.
`watch.py` does the same where no namespace can be made.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

RAG_PORT = 8000
"""Where a server inside listens: all ports are free there."""
TRAPS = (80, 443, 3128, 8080, 9200)
"""Ports whose callers are noted with the address that they wanted; the kernel counts the others, too."""
ANYWHERE = "203.0.113.1"
"""RFC 5737: what the trap for name resolution answers."""


class NoNamespaceError(Exception):
    """This machine makes no namespace; the message says why."""


class Enclave:
    """``folder`` must have a short path, for sockets lie in it; the proxy listens at its ``proxy.sock``, and inside seems to at ``port`` on loopback."""

    serve_port = RAG_PORT
    """To be given to a server inside."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._pid = 0
        self._user = False
        self.environment: dict[str, str] = {}
        """For what runs inside."""

    @contextmanager
    def running(self) -> Iterator[Enclave]:
        """Raises `NoNamespaceError`."""
        # As root, or as one who is root in a namespace for users of his own.
        reasons = []
        for self._user in (False, True):
            process = self._started()
            assert process.stdout is not None
            try:
                if line := process.stdout.readline():
                    self._pid = int(line)
                    yield self
                    return
            finally:
                _, told = process.communicate()  # closes its input, on which it ends
            reasons.append(told.strip())
        raise NoNamespaceError("\n".join(reasons))

    def _started(self) -> subprocess.Popen[str]:
        command = ["unshare", "--net", "--mount", *(["--user", "--map-root-user"] if self._user else []), sys.executable, __file__]
        try:
            pipe = subprocess.PIPE
            return subprocess.Popen([*command, str(self._folder), str(self._port)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        except FileNotFoundError as error:
            raise NoNamespaceError(str(error)) from None

    def command(self, *command: str) -> list[str]:
        """The same command, inside."""
        user = ["--user", "--preserve-credentials"] if self._user else []
        return ["nsenter", "--target", str(self._pid), *user, "--net", "--mount", *command]

    def client(self, url: str) -> httpx2.Client:
        """For the server inside that says it listens at ``url``."""
        return httpx2.Client(base_url=url, timeout=60, transport=httpx2.HTTPTransport(uds=str(self._folder / "inward.sock")))

    def proxied(self) -> int:
        """Connections to the proxy."""
        return self._noted().count("proxy")

    def direct(self) -> list[str]:
        """Attempts to reach anything else: names asked for, addresses connected to, and what the kernel counted beyond that."""
        noted, counters = self._noted(), self._counters()
        names = [line for line in noted if line.startswith("name ")]
        unseen = ["a connection"] * (counters["connections"] - len(noted) + len(names))
        # Each question and its answer are a datagram.
        unseen += ["a datagram"] * (counters["datagrams"] - 2 * len(names))
        return [line for line in noted if line.startswith(("name ", "address "))] + unseen

    def _noted(self) -> list[str]:
        return (self._folder / "noted").read_text().splitlines()

    def _counters(self) -> dict[str, int]:
        """Of this namespace: connections begun, whatever came of them, and datagrams sent."""
        rows = [line.split() for line in Path(f"/proc/{self._pid}/net/snmp").read_text().splitlines()]
        found = {f"{head[0]}{name}": int(value) for head, row in zip(rows[::2], rows[1::2], strict=True) for name, value in zip(head[1:], row[1:], strict=True)}
        six = dict(line.split() for line in Path(f"/proc/{self._pid}/net/snmp6").read_text().splitlines())
        return {"connections": found["Tcp:ActiveOpens"], "datagrams": found["Udp:OutDatagrams"] + int(six["Udp6OutDatagrams"])}


class Inside:
    """The relay to the proxy, the way in, and the traps."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._notes = (folder / "noted").open("w", buffering=1)

    def note(self, line: str) -> None:
        self._notes.write(f"{line}\n")

    def prepare(self) -> None:
        (self._folder / "resolv.conf").write_text("nameserver 198.51.100.53\n")
        (self._folder / "nsswitch.conf").write_text("hosts: files dns\n")
        for name in ("resolv.conf", "nsswitch.conf"):
            with suppress(FileNotFoundError):
                subprocess.run(["mount", "--bind", str(self._folder / name), str(Path("/etc", name).resolve())], check=True)
        for arguments in ("link set lo up", "route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"):
            subprocess.run(["ip", *arguments.split()], check=True)

    async def serve(self) -> None:
        async def out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.note("proxy")
            await _joined(reader, writer, *await asyncio.open_unix_connection(self._folder / "proxy.sock"))

        async def inward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", RAG_PORT)
            self.note("inward")
            await _joined(reader, writer, *there)

        async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host, port, *_ = writer.get_extra_info("sockname")
            self.note(f"address {host.removeprefix('::ffff:')}:{port}")
            writer.transport.abort()

        await asyncio.start_server(out, "127.0.0.1", self._port)
        await asyncio.start_unix_server(inward, self._folder / "inward.sock")
        for port in TRAPS:
            await asyncio.start_server(trap, sock=socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: Names(self), local_addr=("0.0.0.0", 53))
        print(os.getpid(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Names(asyncio.DatagramProtocol):
    """Answers each question for an address with the same one, and notes the name."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment] - of this kind, always

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += length + 1
        question = data[12 : at + 5]
        self._inside.note("name " + ".".join(labels))
        # An address for A; for AAAA and the rest: there is none.
        answer = b"\xc0\x0c\x00\x01\x00\x01" + struct.pack(">IH", 1, 4) + socket.inet_aton(ANYWHERE) if data[at + 1 : at + 3] == b"\x00\x01" else b""
        self._transport.sendto(data[:2] + b"\x81\x80\x00\x01" + struct.pack(">HHH", bool(answer), 0, 0) + question + answer, addr)


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other_reader: asyncio.StreamReader, other_writer: asyncio.StreamWriter) -> None:
    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(pipe(reader, other_writer), pipe(other_reader, writer))


if __name__ == "__main__":
    within = Inside(Path(sys.argv[1]), int(sys.argv[2]))
    within.prepare()
    asyncio.run(within.serve())
