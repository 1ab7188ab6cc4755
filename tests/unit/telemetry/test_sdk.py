"""Telemetry is on where an SDK is set up; that one is loaded, as LangGraph's dependencies do, does not switch it on."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import opentelemetry.sdk.trace
from src.telemetry import otel, sdk
from src.telemetry.stages import stage
with stage("embed"):
    pass
print(otel.on(), end=" ")
{then}
print(sdk.look(), otel.on())
"""


TRACES = "from opentelemetry import trace; trace.set_tracer_provider(opentelemetry.sdk.trace.TracerProvider())"
FIGURES = "from opentelemetry import metrics; import opentelemetry.sdk.metrics as made; metrics.set_meter_provider(made.MeterProvider())"


@pytest.mark.parametrize(("then", "shown"), [("", "False False False"), (TRACES, "False True True"), (FIGURES, "False True True")])
def test_only_a_provider_switches_telemetry_on(then: str, shown: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(then=then)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == shown
