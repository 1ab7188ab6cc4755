"""Redaction with the real Presidio; in a process of its own, for it takes spaCy along and keeps it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, socket
def refused(*given, **named): raise AssertionError("nothing is looked up")
socket.socket.connect = socket.getaddrinfo = refused
from src.errors import ConfigurationError
from src.infra.redacting import policy_of
from src.infra.settings import load_settings
def policy(entities): return policy_of(load_settings(overrides={"telemetry.presidio": entities}).telemetry)
found = policy("IP_ADDRESS, UK_NHS, US_PASSPORT").redact("from 192.168.1.100\\u200b, NHS 9434765919, mail ann@example.com, passport 912803456")
errors = []
for entities in ("PERSON", "EMAIL_ADDRESS", "IP_ADRESS"):
    try:
        policy(entities)
    except ConfigurationError as error:
        errors.append(f"{error.setting}: {error.message}")
print(json.dumps([found, errors]))
"""


def test_presidio_s_patterns_are_redacted_without_models_or_network_and_what_it_has_not_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, errors = json.loads(done.stdout)
    assert found == "from [redacted:presidio]\u200b, NHS [redacted:presidio], mail [redacted:email], passport 912803456", (
        "without its words a passport is a number"
    )
    assert errors == [f"telemetry.presidio: Presidio has no pattern here for {name}." for name in ("PERSON", "EMAIL_ADDRESS", "IP_ADRESS")]
