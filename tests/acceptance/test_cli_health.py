"""`rag health` as an operator runs it: the same shape as the server's, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import rag, write_config


def test_a_server_is_asked_by_its_address_and_tells_the_same_as_over_http(handbook_server: Any) -> None:
    done = rag("health", "--json", "--url", handbook_server.url, "--config", handbook_server.folder / "config.ini", cwd=handbook_server.folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    with handbook_server.client() as client:
        assert said["components"].keys() == client.get("/health").json()["components"].keys()
    search = said["components"]["search"]
    assert (search["status"], search["required"]) == ("healthy", True)
    assert search["checked_at"] >= search["since"]


def test_an_index_that_cannot_be_read_is_unhealthy_and_the_exit_code_says_so(tmp_path: Path) -> None:
    index = tmp_path / "data" / "index"
    index.mkdir(parents=True)
    (index / "index.sqlite").write_bytes(b"no database" * 100)
    done = rag("health", "--config", write_config(tmp_path, {}), cwd=tmp_path)
    assert done.returncode == 1
    assert "unhealthy" in done.stdout.splitlines()[0]
    assert "storage.path" in done.stdout


@pytest.mark.long
def test_an_address_where_nobody_answers_is_an_error_with_its_hop(tmp_path: Path) -> None:
    done = rag("health", "--json", "--url", "http://127.0.0.1:9", "--config", write_config(tmp_path, {}), cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["hop"] == "http://127.0.0.1:9"
