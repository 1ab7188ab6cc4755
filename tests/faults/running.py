"""Runs rows of the matrix: the fault is made, the hop is asked, the error is what comes back; `rag doctor` is asked after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from src.infra.config import Settings
from src.infra.doctor import Report, diagnose
from src.infra.network import NetworkPolicy
from src.infra.settings import load_settings
from tests.faults.hops import HOPS, Limits, machine
from tests.faults.places import Faulty, FaultyProxy, black_hole, nobody
from tests.faults.rows import Row

_OPENSSL = re.compile(r"(no secure connection \()[A-Z_0-9]+")
"""Its word for what is no TLS at all changes between its releases."""
GUARD_S = 90.0
"""No row may come near it: each ends by its own deadline."""
AT_ONCE, WAITING_AT_ONCE = 5, 12
"""Rows that fail at once cost processor time, those that a clock ends next to none."""
SHOWN_PROXY = "http://proxy.company.com:8080"
AT_ONCE_FAILS = Limits(30.0, 60.0)
NO_CONNECTION = Limits(0.5, 10.0)
NO_ANSWER = Limits(10.0, 4.0)
NO_CONNECTION_TO_AWS, NO_ANSWER_OF_AWS = Limits(0.5, 20.0), Limits(10.0, 20.0)
"""AWS's library tries three times, within half of the time that a search has; who searches waits for 0.8 of it, which loading that library
is a part of."""
NO_ROOM = Limits(30.0, 6.0)
"""Less than the 7 s after which the vault wants to be asked again: the product would wait for them."""
LATE = frozenset({"connect time-out", "TLS time-out", "read time-out", "dripping"})
FORGED = frozenset({"wrong CA", "expired", "wrong host name"})


@dataclass(frozen=True)
class Outcome:
    """``error``: what the caller got; ``hop``: where it should say that it failed; ``text``: what a person reads, with names in place of ports."""

    error: BaseException | None
    hop: str
    text: str
    report: Report | None


def limits_of(row: Row) -> Limits:
    """Deadlines short where they are what ends the row, and out of the way elsewhere: machines that run tests are busy."""
    if row.fault in ("connect time-out", "TLS time-out") or (row.at == "proxy" and row.fault == "read time-out"):
        return NO_CONNECTION_TO_AWS if row.hop.startswith("AWS") else NO_CONNECTION
    if row.fault in ("read time-out", "dripping"):
        return NO_ANSWER_OF_AWS if row.hop.startswith("AWS") else NO_ANSWER
    return NO_ROOM if row.hop == "Azure Key Vault" and row.fault == "429" else AT_ONCE_FAILS


class Laboratory:
    """Authorities, and a folder for what must lie in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.other = trustme.CA()
        for name, authority in (("ca.pem", self.authority), ("other.pem", self.other)):
            authority.cert_pem.write_to_path(str(folder / name))
        for hop in HOPS.values():
            (folder / f"{hop.family}.ini").write_text(hop.file)

    @contextmanager
    def place(self, row: Row) -> Iterator[tuple[str, str]]:
        """The hop's address, and its proxy's (empty for none), with the fault made."""
        with ExitStack() as stack:
            fault = "" if row.at == "proxy" else row.fault
            if fault == "unknown name":
                yield "https://no-such-host.invalid", ""
                return
            if fault in ("refused", "connect time-out"):
                port = stack.enter_context(nobody() if fault == "refused" else black_hole())
                yield f"https://{HOPS[row.hop].host}:{port}", ""
                return
            service = stack.enter_context(Faulty(self.authority, fault, HOPS[row.hop].family).running())
            url = service.url.replace("localhost", HOPS[row.hop].host)
            if row.at in ("host", "gateway"):
                yield url, ""
                return
            yield url, stack.enter_context(self._proxy(row, service.port))

    @contextmanager
    def _proxy(self, row: Row, port: int) -> Iterator[str]:
        fault = row.fault if row.at == "proxy" else ""
        if fault == "unknown name":
            yield "http://no-such-proxy.invalid:8080"
            return
        if fault in ("refused", "connect time-out"):
            with nobody() if fault == "refused" else black_hole() as closed:
                yield f"http://localhost:{closed}"
            return
        context = None
        if fault in FORGED:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority = self.other if fault == "wrong CA" else self.authority
            Faulty(authority, fault, "opensearch").certify(context)
        with FaultyProxy(fault, port, context).running() as proxy:
            yield proxy.url

    def settings(self, row: Row, url: str, proxy: str) -> Settings:
        limits = limits_of(row)
        wrong = row.fault == "wrong CA" and row.at != "proxy"
        trusted = str(self.folder / ("other.pem" if wrong else "ca.pem"))
        network: dict[str, Any] = {"ca_bundle": trusted, "ca_mode": "replace", "connect_timeout_s": limits.connect_s}
        if proxy:
            network |= {"proxy": proxy, "no_proxy": "", "proxy_username": "me", "proxy_password": "canary-proxy-password"}
        hop = HOPS[row.hop]
        overrides = {**hop.settings(url, limits), "network": network, "storage": {"path": str(self.folder / "data")}}
        return load_settings([self.folder / f"{hop.family}.ini"], overrides, environ={})


async def run(row: Row, laboratory: Laboratory, profile: Callable[[str], None], *, doctor: bool) -> Outcome:
    """One row, and what the doctor says of it."""
    with ExitStack() as stack:
        url, proxy = await asyncio.to_thread(lambda: stack.enter_context(laboratory.place(row)))
        profile(url)
        settings = await asyncio.to_thread(laboratory.settings, row, url, proxy)
        error: BaseException | None = None
        try:
            async with asyncio.timeout(GUARD_S):
                await HOPS[row.hop].call(settings, NetworkPolicy(settings.network))
        except Exception as caught:  # noqa: BLE001 - whatever comes is the outcome
            error = caught
        if HOPS[row.hop].family == "vault":
            # A vault that failed is not asked again for 5 s; the doctor, a process of its own, knows nothing of that. Likewise at AWS, but
            # there asking again takes 8 s of processor time in all rows together.
            settings = await asyncio.to_thread(laboratory.settings, row, url, proxy)
        report = await diagnose(settings, timeout_s=GUARD_S / 3, hops=[HOPS[row.hop].doctor]) if doctor and HOPS[row.hop].doctor else None
        await asyncio.to_thread(stack.close)
    shown = HOPS[row.hop].shown
    text = str(error).replace("IP address mismatch", "Hostname mismatch")
    machine_name = repr((SHOWN_PROXY if row.at == "proxy" else shown).partition("://")[2].partition(":")[0])
    for real, name in ((url, shown), (proxy, SHOWN_PROXY), ("'localhost'", machine_name), ("'127.0.0.1'", machine_name)):
        text = text.replace(real, name) if real else text
    text = _OPENSSL.sub(r"\1…", text)
    hop = f"proxy to {url}" if row.at in ("proxy", "gateway") else url
    return Outcome(error, hop, text, report)


def run_all(rows: Sequence[Row], folder: Path, *, doctor: bool) -> dict[Row, Outcome]:
    """All rows, several at once: most of their time they wait."""

    async def work() -> dict[Row, Outcome]:
        laboratory, working, waiting = Laboratory(folder), asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(WAITING_AT_ONCE)

        async def one(row: Row) -> tuple[Row, Outcome]:
            async with waiting if row.fault in LATE else working:
                return row, await run(row, laboratory, profile, doctor=doctor)

        with machine(folder) as profile:
            # Fault by fault, not hop by hop: AWS's library takes 0.2 s of processor time in each of its rows.
            return dict(await asyncio.gather(*map(one, sorted(rows, key=lambda row: (row.fault, row.at)))))

    return asyncio.run(work())
