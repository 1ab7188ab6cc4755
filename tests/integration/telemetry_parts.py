"""What tests of telemetry share: a collector over TLS, and an SDK that is set up and taken down again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from src.infra import telemetry
from src.infra.config import Settings
from src.infra.settings import load_settings
from src.telemetry import sdk
from tests.emulators.collector import Collector

_hidden: list[ModuleType] = []
"""The SDK, taken out of sight of the tests that follow: without it this package looks for no provider."""


@contextmanager
def no_sdk() -> Iterator[None]:
    """OTel's API as in a fresh process, during and after: it takes one provider a process, and a test needs its own."""
    import opentelemetry._logs._internal as logs
    import opentelemetry.metrics._internal as metrics
    from opentelemetry import trace
    from opentelemetry.util._once import Once

    places: list[tuple[Any, str]] = [(trace, "_TRACER_PROVIDER"), (metrics, "_METER_PROVIDER"), (logs, "_LOGGER_PROVIDER")]
    before = [getattr(module, name) for module, name in places]
    known = sys.modules.get(sdk.MODULE)
    if known is None and _hidden:
        sys.modules[sdk.MODULE] = _hidden[0]

    def fresh(values: list[Any]) -> None:
        for (module, name), value in zip(places, values, strict=True):
            setattr(module, name, value)
            setattr(module, f"{name}_SET_ONCE", Once())

    fresh([None, None, None])
    sdk.look()
    try:
        yield
    finally:
        telemetry.shutdown_telemetry(1.0)
        telemetry._providers, telemetry._foreign = None, False
        fresh(before)
        sdk.look()
        if known is None and sdk.MODULE in sys.modules:
            _hidden[:] = [sys.modules.pop(sdk.MODULE)]
        logging.getLogger().handlers = [handler for handler in logging.getLogger().handlers if handler.get_name() != "rag-otel"]


@pytest.fixture
def fresh_sdk() -> Iterator[None]:
    with no_sdk():
        yield


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def collector(authority: trustme.CA) -> Iterator[Collector]:
    with Collector(authority).running() as found:
        yield found


def settings_for(authority: trustme.CA, folder: Path, **more: Any) -> Settings:
    """Telemetry that trusts the authority; ``more`` by ``section__key``."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    values: dict[str, Any] = {
        "storage.path": folder / "data",
        "telemetry.enabled": True,
        "telemetry.metrics_interval_s": 3600,
        "network.ca_bundle": folder / "ca.pem",
        "network.ca_mode": "replace",
    }
    return load_settings(overrides={**values, **{name.replace("__", "."): value for name, value in more.items()}}, environ={})
