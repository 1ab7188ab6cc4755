"""What makes a configuration that loads one with which no hop can work: proxies, `no_proxy`, and files that are not there.

Loading reads no certificate and asks no vault, so it leaves these to `rag config validate` and `rag config init`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import Problem, RagError
from ..audit.trail import make_audit
from ..network.bypass import direct_hosts
from ..network.proxies import PROXY_KEYS, proxies_of
from ..network.tls import make_context
from ..secrets.live import LiveSecret
from .provenance import DEFAULT

if TYPE_CHECKING:
    from ..config import NetworkCfg, Settings

FILES = (
    *("network.ca_bundle", "network.client_certificate", "network.client_key"),
    *("azure.certificate_path", "azure.federated_token_file", "api.tokens_file"),
)
"""Keys of files that must be there."""


def rule_problems(settings: Settings) -> tuple[Problem, ...]:
    """What is wrong, each at the place that sets it. Reads certificates; what a vault holds is not looked at."""
    files = [problem for name in FILES for problem in _file(settings, name)]
    found = [*_network(settings.network), *files]
    if not any(problem.key.startswith("network.") for problem in files):
        found += _tls(settings.network)
    if not isinstance(settings.audit.keys, LiveSecret):
        found += _of(lambda: make_audit(settings))
    return tuple(placed(settings, problem) for problem in found)


def placed(settings: Settings, problem: Problem) -> Problem:
    """A problem with the place that sets its key."""
    source = settings.provenance.sources.get(problem.key, DEFAULT)
    return problem if source is DEFAULT else replace(problem, where=source.where, line=source.line)


def _network(cfg: NetworkCfg) -> Iterator[Problem]:
    held = [getattr(cfg, key) for key in PROXY_KEYS]
    if not any(isinstance(value, LiveSecret) for value in held):
        yield from _of(lambda: proxies_of(cfg))
    yield from _of(lambda: direct_hosts(cfg.no_proxy))


def _tls(cfg: NetworkCfg) -> Iterator[Problem]:
    """Only where there is something to read: the system's own authorities are no matter of the configuration."""
    if isinstance(cfg.client_key_password, LiveSecret):
        cfg = cfg.model_copy(update={"client_certificate": None, "client_key": None})
    if cfg.ca_bundle or cfg.client_certificate or cfg.client_key or cfg.ca_mode == "replace":
        yield from _of(lambda: make_context(cfg))


def _of(check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except RagError as error:
        yield Problem(f"{error.message} {error.hint}".strip(), error.setting)


def _file(settings: Settings, name: str) -> Iterator[Problem]:
    section, _, key = name.partition(".")
    path = getattr(getattr(settings, section), key)
    if not isinstance(path, Path):
        return
    try:
        if not (name == "network.ca_bundle" and path.is_dir()):
            path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or "no path"
        yield Problem(f"{str(path)!r} cannot be read: {reason}.", name)
