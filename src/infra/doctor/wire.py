"""The steps of every hop that leaves this machine: name, connection, proxy, TLS. What fails is classified as the product does it."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import RagError
from ..hops import error_of
from ..network.faults import Fault, FaultKind, fault_of
from . import certificates, fixes
from .bundles import authorities_of
from .channel import MAX_HEAD, Channel, TlsChannel, connect, in_thread, resolve
from .handshake import Seen, chain_of, seen
from .report import Fix
from .targets import Target, wire_name
from .walk import Step, Walk

if TYPE_CHECKING:
    from ..network import ProxySettings

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_SCHEME = re.compile(rb"\r\nproxy-authenticate:[ \t]*([A-Za-z]+)", re.IGNORECASE)
_PAGE = re.compile(rb"\r\n(content-length:[ \t]*0*[1-9]|content-type:[ \t]*text/html|transfer-encoding:)", re.IGNORECASE)
_PAGE_S = 1.0
"""How long the page of an answer that announces one may take; who opens the way announces none."""
_PORTAL = (401, 407, 511)
"""What is said of ourselves, and not of the host behind."""
_ALERT_S = 2.0
"""In TLS 1.3 a server that asked for our certificate says what it thinks of it after the handshake, within a round trip."""


def steps_of(walk_proxy: bool, scheme: str) -> tuple[Step, ...]:
    """The steps to a host: with or without a proxy between, with or without TLS."""
    way = [Step("name", name), Step("tcp", tcp)]
    if walk_proxy:
        way.append(Step("proxy", proxy))
    if scheme == "https":
        way.append(Step("tls", tls))
    return tuple(way)


def proxy_of(walk: Walk) -> ProxySettings | None:
    """The proxy on this hop's way."""
    target = walk.target
    if target.kind == "postgres":
        return None
    if target.kind == "proxy":
        return next(found for found in walk.policy.proxies if found.url == target.address)
    return walk.policy.proxy_for(target.host, target.port, target.scheme)


async def name(walk: Walk) -> str:
    """Resolve the name of the first machine on the way."""
    found = proxy_of(walk)
    host, port = _place(found.url) if found else (walk.target.host, walk.target.port)
    if not walk.target.host.isascii():
        raise _error(walk, Fault("name", "it is no host name"))
    try:
        async with asyncio.timeout(walk.left(walk.target.connect_s)):
            addresses = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise _error(
            walk,
            _at(fault_of(error) if isinstance(error, OSError) else Fault("name", "it is no host name"), found, late="no answer of the name service in time"),
        ) from None
    if walk.target.scheme == "http" and walk.target.kind != "proxy" and not (found is None and _all_here(addresses)):
        walk.warn("It is asked over plain http: credentials and text go over the network unencrypted.", walk.target.setting, "Use https.")
    return f"{'proxy ' if found else ''}{host} is {', '.join(addresses[:4])}"


def _all_here(addresses: Sequence[str]) -> bool:
    return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in addresses)


async def tcp(walk: Walk) -> str:
    """Connect to it."""
    found = proxy_of(walk)
    host, port = _place(found.url) if found else (walk.target.host, walk.target.port)
    limit = walk.left(walk.target.connect_s)
    try:
        async with asyncio.timeout(limit):
            walk.channel, address = await connect(await resolve(host, port), port)
    except OSError as error:
        raise _error(walk, _at(fault_of(error), found, late=f"no connection within {limit:.3g} s")) from None
    return f"connected to {'the proxy at ' if found else ''}{address} port {port}"


async def proxy(walk: Walk) -> str:
    """Have the proxy open the way to the host behind it."""
    found = proxy_of(walk)
    assert found is not None
    assert walk.channel is not None
    if walk.target.scheme != "https":
        return f"{found.url} forwards plain http"
    status, head, page = await _open(walk, found, walk.target.host, walk.target.port)
    if page:
        raise _page(walk, status)
    if 200 <= status < 300:
        return f"{found.url} opens the way" + (f" to the user {found.username!r}" if found.username else ", without a credential")
    raise _refused(walk, walk.target, status, head)


def _refused(walk: Walk, target: Target, status: int, head: bytes) -> RagError:
    """What a proxy that does not open the way says."""
    kinds: dict[int, FaultKind] = {407: "proxy-auth", 403: "proxy-forbidden"}
    walk.fixes = fixes.of_proxy(walk.settings, target, status)
    error = _error(walk, Fault(kinds.get(status, "proxy-failed"), at_proxy=True, status=status))
    if status in (401, 511) or 300 <= status < 400:
        error.hint = "That is a login, or another server: check the proxy's address, and whether this machine has to be signed in there first."
        walk.fixes = []
    schemes = [scheme.decode("latin-1") for scheme in _SCHEME.findall(head)]
    if status == 407 and schemes and not any(scheme.lower() == "basic" for scheme in schemes):
        error.message = f"{error.message} It takes {', '.join(schemes)} only, and Basic is what is spoken here."
        error.hint = "Let a relay on this machine (px, cntlm) sign in there, and name the relay in network.proxy; or have this machine let through without."
        walk.fixes = [Fix("network.proxy", "http://127.0.0.1:3128", ready=False, note="The relay's address.")]
    return error


def _page(walk: Walk, status: int) -> RagError:
    """The error of an answer that says it opens the way, and is a page."""
    error = _error(walk, Fault("proxy-failed", at_proxy=True, status=status))
    error.message = f"{error.message.removesuffix('.')}: it answers with a page of its own."
    error.hint = "Check the proxy's address, and whether this machine has to sign in there first: a web server or a login page answers."
    return error


async def itself(walk: Walk) -> str:
    """What a proxy says to its first customer; that one's own hop tells whether it gets through."""
    found = proxy_of(walk)
    assert found is not None
    from .targets import targets_of

    behind = [one for one in targets_of(walk.settings) if one.remote and one.scheme == "https" and one.kind not in ("proxy", "postgres")]
    first = next((one for one in behind if walk.policy.proxy_for(one.host, one.port, one.scheme) == found), None)
    if first is None:
        return "no configured https host goes through it"
    status, head, page = await _open(walk, found, first.host, first.port)
    if page:
        raise _page(walk, status)
    if status in _PORTAL or 300 <= status < 400:
        raise _refused(walk, first, status, head)
    if status >= 300:
        return f"it answers, and lets nothing through to {first.address} (HTTP {status})"
    return "it " + (f"takes the user {found.username!r}" if found.username else "asks for no credential")


async def tls(walk: Walk) -> str:
    """Agree on keys, and verify the certificate."""
    assert walk.channel is not None
    context = await _context(walk)
    limit = walk.left(walk.target.connect_s)
    try:
        async with asyncio.timeout(limit):
            channel = walk.channel = await _wrapped(walk, context, walk.channel, walk.target.host)
            assert isinstance(channel, TlsChannel)
            note = await _client_certificate(walk, channel)
    except OSError as error:
        fault = fault_of(error)
        if isinstance(error, TimeoutError):
            fault = Fault("connect-timeout", f"no connection within {limit:.3g} s")
        raise await _told(walk, fault) from None
    certificate = channel.tls.getpeercert() or {}
    leaf = seen(certificate)
    days = (leaf.not_after - time.time()) / 86_400
    if days < certificates.SOON_DAYS:
        walk.warn(f"Its certificate expires in {days:.0f} days, on {certificates.day(leaf.not_after)}.", walk.target.setting, "Have it renewed.")
    return f"{channel.tls.version()}, signed by {leaf.issuer}, valid until {certificates.day(leaf.not_after)}{note}"


async def _context(walk: Walk) -> ssl.SSLContext:
    """Certificates of the policy, read in the hop's time and not in the connection's."""
    return await in_thread(walk.site.inspector.context)


async def _wrapped(walk: Walk, context: ssl.SSLContext, below: Channel, host: str) -> TlsChannel:
    channel = TlsChannel(below, context, host)
    walk.channel = channel
    await channel.handshake()
    return channel


async def _client_certificate(walk: Walk, channel: TlsChannel) -> str:
    """Whether the server asked for our certificate, and whether it is content with what it got."""
    if not walk.site.inspector.asked(channel.tls):
        return ""
    shown = walk.settings.network.client_certificate is not None
    if channel.tls.version() == "TLSv1.3":
        with_alert = asyncio.timeout(min(_ALERT_S, walk.left()))
        try:
            async with with_alert:
                await channel.settled()
        except TimeoutError:
            if not with_alert.expired():
                raise
    if not shown:
        walk.warn("It asks for a client certificate, and goes on without one; other requests may be refused.", "network.client_certificate")
    return ", takes our client certificate" if shown else ""


async def _trusted(walk: Walk) -> Sequence[Seen]:
    context = await _context(walk)
    return await in_thread(lambda: authorities_of(walk.settings.network.ca_bundle, context))


async def _told(walk: Walk, fault: Fault) -> RagError:
    """The error of a handshake, with what the certificates say."""
    error = _error(walk, fault)
    chain = chain_of(walk.channel.tls) if isinstance(walk.channel, TlsChannel) else ()
    if fault.tls:
        host = walk.channel.name if isinstance(walk.channel, TlsChannel) else walk.target.host
        trusted = await _trusted(walk) if fault.kind == "tls-authority" else ()
        more = certificates.why(fault.kind, chain, host, trusted)
        if certificates.same_name(chain, trusted):
            error.hint = "Replace it by the present one, or add that: an authority may have been renewed, or what answers is not what it says."
        error.message = f"{error.message} {more}".rstrip()
        walk.fixes = fixes.of_tls(walk.settings, walk.target, fault, chain)
    if fault.kind == "tls-client-certificate" and walk.settings.network.client_certificate is None:
        error.hint = "Name one, with its key; this hop's authority has to have issued it, or to know who did."
    return error


async def _greet(walk: Walk, found: ProxySettings) -> None:
    """TLS with the proxy itself, where its address is https."""
    if not found.url.startswith("https"):
        return
    assert walk.channel is not None
    context = await _context(walk)
    limit = walk.left(walk.target.connect_s)
    try:
        async with asyncio.timeout(limit):
            await _wrapped(walk, context, walk.channel, _place(found.url)[0])
    except OSError as error:
        raise await _told(walk, _at(fault_of(error), found, late=f"no connection within {limit:.3g} s")) from None


async def _open(walk: Walk, found: ProxySettings, host: str, port: int) -> tuple[int, bytes, bool]:
    """The status that the proxy answers to CONNECT with, the head of its answer, and whether a page follows where the way should be open."""
    await _greet(walk, found)
    assert walk.channel is not None
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    if found.authorization:
        lines.append(f"Proxy-Authorization: {found.authorization}")
    limit = walk.left(walk.target.connect_s)
    try:
        async with asyncio.timeout(limit):
            await walk.channel.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            head, rest = await _final_head(walk.channel)
        status = _STATUS.match(head)
        page = status is not None and status[1].startswith(b"2") and (bool(rest) or await _page_follows(walk, head))
    except OSError as error:
        raise _error(walk, _at(fault_of(error), found, late=f"no answer within {limit:.3g} s")) from None
    if status is None or b"\r\n\r\n" not in head:
        raise _error(walk, Fault("not-http" if head and status is None else "reset", at_proxy=True))
    return int(status[1]), head, page


async def _final_head(channel: Channel) -> tuple[bytes, bytes]:
    """The head of an answer, without those that only say to wait (1xx), and what came behind it."""
    data = b""
    while len(data) < MAX_HEAD:
        head, end, rest = data.partition(b"\r\n\r\n")
        status = _STATUS.match(head)
        if end and (status is None or not status[1].startswith(b"1") or status[1] == b"101"):
            return head + end, rest
        if end:
            data = rest
            continue
        more = await channel.read()
        if not more:
            break
        data += more
    return data, b""


async def _page_follows(walk: Walk, head: bytes) -> bool:
    """Whether bytes, or the end, come unasked behind an opened way: no TLS server speaks first."""
    assert walk.channel is not None
    if not _PAGE.search(head):
        return False
    try:
        async with asyncio.timeout(min(_PAGE_S, walk.left())) as limit:
            await walk.channel.read()
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


def _at(fault: Fault, found: ProxySettings | None, *, late: str) -> Fault:
    if fault.kind in ("read-timeout", "connect-timeout"):
        return Fault("connect-timeout", late, at_proxy=found is not None)
    return Fault(fault.kind, fault.detail, at_proxy=found is not None, status=fault.status)


def _error(walk: Walk, fault: Fault) -> RagError:
    """The product's own error for a fault on this hop."""
    hop = walk.target.way(walk.policy)
    if walk.target.kind == "proxy":
        error = error_of(Fault(fault.kind, fault.detail, at_proxy=True, status=fault.status), replace(hop, proxy_setting=walk.target.setting))
        error.message, error.hop = error.message.replace("The proxy on the way to the proxy", "The proxy"), walk.target.address
    else:
        error = error_of(fault, hop)
    target, waited = walk.target, walk.site.timeout_s
    if fault.kind == "connect-timeout" and target.connect_s > waited:
        said = f"{error.hint.removesuffix('.')}, which" if error.hint.endswith(f"{target.connect_setting}.") else f"{error.hint} {target.connect_setting}"
        error.hint = f"{said} allows {target.connect_s:g} s; `rag doctor --timeout` waits longer than {waited:g} s."
    if fault.kind in ("name", "refused", "no-route", "connect-timeout") and not hop.proxy and target.kind != "proxy" and walk.policy.proxies:
        error.hint = f"{error.hint} It is reached directly, round {walk.policy.proxies[0].url}: look at network.no_proxy."
    if not walk.fixes:
        walk.fixes = fixes.of_fault(walk.settings, walk.target, fault)
    return error


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return wire_name(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
