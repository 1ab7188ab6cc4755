"""`rag doctor` where a file never answers: it ends with its time, and at once when interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import RAG, clean_environment

CHAT = "[chat]\nprovider = azure\nmodel = gpt-4\napi_base = https://localhost:1\napi_version = 2024-06-01\n"
IDENTITY = "[azure]\ntenant_id = 11111111-2222-3333-4444-555555555555\nclient_id = 66666666-7777-8888-9999-000000000000\n"
NETWORK = f"{CHAT}[azure_openai]\napi_key = key\n[network]\n"


def blocked(folder: Path, text: str) -> list[str]:
    """The command, under a configuration whose ``FIFO`` nobody writes into."""
    os.mkfifo(folder / "fifo")
    path = folder / "rag.ini"
    path.write_text(f"[storage]\npath = {folder / 'data'}\n{text.replace('FIFO', str(folder / 'fifo'))}")
    return [RAG, "doctor", "--json", "--config", str(path)]


@pytest.mark.parametrize(
    ("text", "hop", "step", "setting"),
    [
        (f"{NETWORK}ca_bundle = FIFO\n", "network", "authorities", "network.ca_bundle"),
        (f"{NETWORK}client_certificate = FIFO\n", "network", "certificate", "network.client_certificate"),
        (f"{CHAT}{IDENTITY}certificate_path = FIFO\n", "identity", "certificate", "azure.certificate_path"),
    ],
)
def test_a_file_that_blocks_fails_its_hop_at_the_deadline(text: str, hop: str, step: str, setting: str, tmp_path: Path) -> None:
    done = subprocess.run([*blocked(tmp_path, text), "--timeout", "2"], capture_output=True, text=True, check=False, timeout=60, env=clean_environment())
    found = {one["hop"]: one for one in json.loads(done.stdout)["hops"]}[hop]
    assert (done.returncode, found["step"], found["setting"]) == (1, step, setting)


def test_an_interruption_ends_it_at_once_and_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    command = [*blocked(tmp_path, f"{NETWORK}ca_bundle = FIFO\n"), "--timeout", "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
        writer = _opened(tmp_path / "fifo")
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=30)
        os.close(writer)
    assert (process.returncode, said) == (130, "")
    assert json.loads(complaint)["error"]["code"] == "interrupted"


def _opened(fifo: Path) -> int:
    """The pipe's other end, as soon as the command reads it."""
    for _ in range(600):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody reads")
