"""The matrix of faults: what each hop says to each way of failing. Data; `running` runs it, `docs/faults.md` prints it.

Most faults are the same error at every hop, and differ in whose key is responsible (`_HOST`); what a hop says otherwise stands with it (`_HOPS`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

FAULTS: dict[str, str] = {
    "refused": "nobody listens there",
    "unknown name": "the name cannot be resolved",
    "connect time-out": "a firewall drops what is sent: no TCP connection",
    "TLS time-out": "connected, and then silence before TLS is agreed on",
    "read time-out": "asked, and no answer comes",
    "dripping": "the answer begins and comes a byte at a time, for ever",
    "reset": "the connection is reset before an answer",
    "truncated": "the answer ends before its `Content-Length`; at a proxy: within its answer to CONNECT",
    "truncated, chunked": "the answer ends without its last chunk",
    "truncated, no length": "the answer has no length and ends in its middle",
    "wrong CA": "the certificate's authority is not trusted here",
    "expired": "the certificate has expired",
    "wrong host name": "the certificate is for another name",
    "no TLS": "what answers does not speak TLS",
    "not HTTP": "what answers does not speak HTTP, but SSH",
    "401": "the credential is refused",
    "403": "the credential is good, and not enough",
    "403, a web page": "something between answers with a page of its own",
    "404": "there is no such deployment, index, tenant",
    "407": "a proxy wants other credentials",
    "429": "no room",
    "500": "the service failed",
    "503": "the service is not available",
    "504": "a gateway before the service waited in vain",
    "200, a web page": "a login or a block page in place of the answer",
    "redirect": "the answer sends elsewhere",
}


@dataclass(frozen=True)
class Row:
    """One fault of one hop, and the error that a caller gets.

    ``at``: where it lies. ``host``: there, and no proxy is on the way; ``behind``: there, behind a proxy that works; ``proxy``: in the
    proxy itself; ``gateway``: in a proxy that breaks TLS open, so that its answer looks like the host's.
    """

    hop: str
    fault: str
    error: str
    setting: str
    at: Literal["host", "behind", "proxy", "gateway"] = "host"

    @property
    def id(self) -> str:
        return f"{self.hop}-{self.at}-{self.fault}"


Said = tuple[str, str]
"""Error and setting; the latter in full, or the name of a field of `_Keys`."""


@dataclass(frozen=True)
class _Keys:
    """The keys of one hop.

    ``address``: holds its address; ``timeout``: how long it may take; ``room``: how patiently it is asked again; ``reach``: where nothing is
    reached, if not the address; ``own``: faults at the host that are its own to explain.
    """

    address: str
    timeout: str
    room: str
    own: Mapping[str, Said]
    reach: str = ""
    proxies: bool = True

    def setting(self, word: str) -> str:
        if word == "reach":
            return self.reach or self.address
        return word if "." in word else str(getattr(self, word))


_HOST: dict[str, Said] = {
    **dict.fromkeys(("refused", "unknown name", "connect time-out", "TLS time-out"), ("UnreachableError", "reach")),
    **dict.fromkeys(("read time-out", "dripping"), ("DeadlineExceededError", "timeout")),
    "reset": ("UnreachableError", "reach"),
    **dict.fromkeys(("truncated", "truncated, chunked", "truncated, no length"), ("UnreachableError", "address")),
    "wrong CA": ("TlsError", "network.ca_bundle"),
    **dict.fromkeys(("expired", "wrong host name", "no TLS"), ("TlsError", "address")),
    "not HTTP": ("ForeignServiceError", "address"),
    "403, a web page": ("ForeignServiceError", "address"),
    "407": ("UnreachableError", "network.proxy_username"),
    "429": ("OverloadedError", "room"),
    **dict.fromkeys(("500", "503"), ("ServiceUnavailableError", "address")),
    "504": ("DeadlineExceededError", "address"),
    **dict.fromkeys(("200, a web page", "redirect"), ("ForeignServiceError", "address")),
}
_BEHIND: dict[str, Said] = {fault: _HOST[fault] for fault in ("wrong CA", "503")} | {"reset": ("UnreachableError", "address")}
"""Behind a proxy something was reached, so the way out is there."""
_PROXY: dict[str, Said] = {
    **dict.fromkeys(
        ("refused", "unknown name", "connect time-out", "read time-out", "reset", "truncated", "not HTTP"),
        ("UnreachableError", "network.proxy"),
    ),
    "wrong CA": ("TlsError", "network.ca_bundle"),
    **dict.fromkeys(("expired", "wrong host name"), ("TlsError", "network.proxy")),
    **dict.fromkeys(("401", "403", "404", "429", "500", "503"), ("UnreachableError", "network.proxy")),
    "407": ("UnreachableError", "network.proxy_username"),
}


def _model(section: str) -> dict[str, Said]:
    credential = ("ModelCredentialsError", f"{section}.api_key")
    return {"401": credential, "403": credential, "404": ("ConfigurationError", f"{section}.model")}


_RERANK: dict[str, Said] = {
    **dict.fromkeys(("401", "403"), ("ModelCredentialsError", "rerank.api_key")),
    "404": ("ConfigurationError", "rerank.model"),
}
_CUT = dict.fromkeys(("truncated", "truncated, chunked", "truncated, no length"), ("StreamInterruptedError", "address"))
_ENGINE: dict[str, Said] = {
    "401": ("ServiceCredentialsError", "search.username"),
    "403": ("ServicePermissionError", "search.index_alias"),
    "404": ("IndexMissingError", "search.index_alias"),
}
_ENTRA: dict[str, Said] = {
    **dict.fromkeys(("truncated, no length", "200, a web page", "404"), ("IdentityError", "address")),
    "401": ("IdentityError", "azure.client_secret"),
    "403": ("IdentityError", "azure.client_id"),
}
_MANAGER: dict[str, Said] = {
    "truncated, no length": ("ForeignServiceError", "address"),
    "401": ("ServiceCredentialsError", "secrets.aws_profile"),
    "403": ("ServicePermissionError", "secrets.aws_profile"),
    "404": ("ConfigurationError", "secrets.aws_region"),
}
_VAULT: dict[str, Said] = {
    "truncated, no length": ("ForeignServiceError", "address"),
    "401": ("ServiceCredentialsError", "azure.tenant_id"),
    "403": ("ServicePermissionError", "azure.client_id"),
    "404": ("ConfigurationError", "secrets.vault"),
}
_STS: dict[str, Said] = {
    "truncated, no length": ("ForeignServiceError", "address"),
    **dict.fromkeys(("401", "403", "404"), ("ServiceCredentialsError", "search.aws_role_arn")),
}

_HOPS: dict[str, _Keys] = {
    "chat": _Keys("chat.api_base", "chat.timeout_s", "chat.max_retries", _model("chat")),
    # A stream begins as an answer does, so its way through proxies is that of "chat".
    "chat, stream": _Keys("chat.api_base", "chat.timeout_s", "chat.max_retries", _model("chat") | _CUT, proxies=False),
    "embeddings": _Keys("embed.api_base", "embed.timeout_s", "embed.max_retries", _model("embed")),
    "reranker": _Keys("rerank.api_base", "rerank.timeout_s", "rerank.max_retries", _RERANK),
    "OpenSearch": _Keys("search.host", "search.timeout_s", "search.max_retries", _ENGINE),
    "search session": _Keys("search.host", "search.timeout_s", "search.max_retries", _ENGINE),
    "AWS STS": _Keys("search.aws_region", "search.timeout_s", "search.timeout_s", _STS, reach="network.proxy"),
    "Entra ID": _Keys("azure.authority_host", "azure.timeout_s", "azure.timeout_s", _ENTRA),
    "AWS Secrets Manager": _Keys("secrets.aws_endpoint", "secrets.timeout_s", "secrets.timeout_s", _MANAGER),
    "Azure Key Vault": _Keys("secrets.vault", "secrets.timeout_s", "secrets.timeout_s", _VAULT),
}


def _rows() -> Iterator[Row]:
    for hop, keys in _HOPS.items():
        host, seen = _HOST | keys.own, {"behind": _BEHIND, "proxy": _PROXY} if keys.proxies else {}
        for fault in FAULTS:
            error, word = host[fault]
            yield Row(hop, fault, error, keys.setting(word), "gateway" if fault == "407" else "host")
        for at, said in seen.items():
            yield from (Row(hop, fault, error, keys.setting(word), at) for fault in FAULTS if fault in said for error, word in [said[fault]])


ROWS: tuple[Row, ...] = tuple(_rows())
