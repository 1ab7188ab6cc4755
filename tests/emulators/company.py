"""A company's network, whole: nothing is reached but through its proxy, nothing trusted but its own authority.

Behind the proxy, by names that only the proxy knows: Entra ID (login.company.test), Azure OpenAI (openai.company.test), and the same
behind a gateway that demands a client's certificate (gateway.company.test).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.emulators.breaks import BREAKS
from tests.emulators.certificates import issue
from tests.emulators.entra import CLIENT, TENANT, EntraEmulator
from tests.emulators.gateway import Gateway
from tests.emulators.proxy import Proxy
from tests.emulators.quoting import QuotingModel
from tests.emulators.service import client_certificate

LOGIN, OPENAI, GATEWAY = (f"{name}.company.test" for name in ("login", "openai", "gateway"))
PROXY_USER, PROXY_PASSWORD = "svc-rag", "p@ss:word/ü"
CLIENT_NAME = "rag-client"
IDENTITY_PASSWORD, CLIENT_PASSWORD = "identity-password", "client-password"
DIMS = 1536


class Company:
    """Servers, with certificates and ``config.ini`` in ``folder``.

    ``broken``: one of `BREAKS`. ``authority``: of all certificates, instead of an own one. ``others``: further hosts (``name:port``)
    behind the proxies, and their ports here.
    """

    def __init__(self, folder: Path, broken: str = "", *, authority: trustme.CA | None = None, others: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self.broken = broken
        self.authority = authority or trustme.CA(organization_name="Company", organization_unit_name="Private authority")
        folder.mkdir(parents=True, exist_ok=True)
        self._others = dict(others or {})
        self._hosts: dict[str, int] = {}
        self.proxy = Proxy(PROXY_USER, PROXY_PASSWORD, self._hosts)
        self.open_proxy = Proxy("", "", self._hosts)
        self.entra = EntraEmulator(self.authority)
        self.openai = self._openai()
        self.proxy.forbidden = {f"{OPENAI}:443"} if broken == "proxy-forbids" else set()
        self._write()
        self.gateway: Gateway

    def _openai(self) -> AzureOpenAIEmulator:
        names = ["other.company.test" if self.broken == "wrong-name" else OPENAI]
        ends = datetime.now(UTC) - timedelta(hours=1) if self.broken == "expired-certificate" else None
        openai = AzureOpenAIEmulator(self.folder, DIMS, self.authority, names=names, not_after=ends, model=QuotingModel())
        openai.problem_of = self.entra.problem_of
        if self.broken:
            openai.always = BREAKS[self.broken].reply
        return openai

    def _write(self) -> None:
        identity = issue("rag-server", ends=timedelta(days=-1 if self.broken == "expired-identity" else 365), starts=timedelta(days=-30))
        identity.written(self.folder / "identity.pem", IDENTITY_PASSWORD)
        if self.broken != "unknown-identity":
            self.entra.apps[CLIENT].certificates.append(identity.certificate)
        client_certificate(self.authority, self.folder / "client.pfx", CLIENT_PASSWORD, CLIENT_NAME)
        trusted = trustme.CA(organization_name="Another company") if self.broken == "wrong-ca" else self.authority
        trusted.cert_pem.write_to_path(self.folder / "ca.pem")

    @property
    def direct(self) -> int:
        """Connections to the services that no proxy made, as far as their handshakes went well."""
        return len((self.entra.peers | self.openai.peers | self.gateway.peers) - self.proxy.ports - self.open_proxy.ports)

    @contextmanager
    def running(self, port: int = 0, path: Path | None = None) -> Iterator[Company]:
        """``port``: of the proxy; the next one is that of the proxy that asks nobody for a password. ``path``: see `Proxy.running`."""
        with ExitStack() as stack:
            stack.enter_context(self.entra.running())
            stack.enter_context(self.openai.running())
            self.gateway = stack.enter_context(Gateway(self.authority, GATEWAY, port=self.openai.plain_port).running())
            own = {LOGIN: self.entra.port, OPENAI: self.openai.port, GATEWAY: self.gateway.port}
            self._hosts.update({f"{name}:443": at for name, at in own.items()} | self._others)
            stack.enter_context(self.proxy.running(port, path))
            stack.enter_context(self.open_proxy.running(port and port + 1))
            (self.folder / "config.ini").write_text(self.config(), encoding="utf-8")
            yield self

    def config(self, proxy: str = "") -> str:
        """What to put into config.ini. ``proxy``: another address than the own one's."""
        password = "wrong" if self.broken == "proxy-password" else PROXY_PASSWORD
        shown = (
            "" if self.broken == "no-client-certificate" else f"client_certificate = {self.folder / 'client.pfx'}\nclient_key_password = {CLIENT_PASSWORD}\n"
        )
        model = "provider = azure\napi_version = 2024-06-01\n"
        return (
            f"[network]\nproxy = {proxy or f'http://127.0.0.1:{self.proxy.port}'}\nproxy_username = {PROXY_USER}\nproxy_password = {password}\n"
            f"ca_bundle = {self.folder / 'ca.pem'}\n{shown}"
            f"[azure]\nauthority_host = https://{LOGIN}\ntenant_id = {TENANT}\nclient_id = {CLIENT}\n"
            f"certificate_path = {self.folder / 'identity.pem'}\ncertificate_password = {IDENTITY_PASSWORD}\n"
            f"[chat]\n{model}model = gpt-4\napi_base = https://{OPENAI}\n"
            f"[embed]\n{model}model = text-embedding-ada-002\ndims = {DIMS}\napi_base = https://{GATEWAY}\n"
        )
