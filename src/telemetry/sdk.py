"""Whether an OpenTelemetry SDK is set up in this process: by `setup_telemetry`, ``opentelemetry-instrument`` or code of its own.

That the SDK is loaded does not say so: LangSmith, which LangGraph brings, loads it wherever it is installed.
"""

from __future__ import annotations

import sys
import time

MODULE = "opentelemetry.sdk.trace"
"""What a process with an SDK has loaded; without it the API is not even imported."""
LOOK_S = 1.0
"""Asking the API takes 1 µs each time, which no stage has to spare."""
_OF_THE_API = ("opentelemetry.trace", "opentelemetry.metrics")
"""Where the providers are from that hand nothing on."""


class _Seen:
    found = False
    due = 0.0


def set_up() -> bool:
    """Whether spans and figures may go anywhere; an SDK that somebody else sets up is seen within `LOOK_S`."""
    if MODULE not in sys.modules:
        return False
    return _Seen.found if time.monotonic() < _Seen.due else look()


def look() -> bool:
    """As `set_up`, asked now."""
    from opentelemetry import metrics, trace

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    _Seen.found = any(not type(provider).__module__.startswith(_OF_THE_API) for provider in providers)
    _Seen.due = time.monotonic() + LOOK_S
    return _Seen.found
