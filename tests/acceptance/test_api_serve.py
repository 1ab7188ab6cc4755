"""`rag serve`: where it listens, how it starts and stops; `rag token`."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

RAG = str(Path(sys.executable).parent / "rag")


def rag(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RAG, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def config(folder: Path, **api: Any) -> Path:
    path = folder / "config.ini"
    path.write_text(f"[storage]\npath = {folder / 'data'}\n[api]\n" + "".join(f"{key} = {value}\n" for key, value in api.items()))
    return path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_without_authentication_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    done = rag("serve", "--config", config(tmp_path, port=0), "--host", host, cwd=tmp_path)
    assert done.returncode == 2
    assert "api.host" in done.stderr
    assert "api.auth" in done.stderr


def test_a_taken_port_is_said_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = rag("serve", "--config", config(tmp_path), "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr


def test_it_announces_itself_answers_and_ends_well_on_sigterm(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(tmp_path) as server:
        assert httpx2.get(f"{server.url}/health/live").json() == {"status": "alive"}
        server.process.terminate()
        assert server.process.wait(20) == 0
    assert "Traceback" not in server.log()


def test_the_console_says_where_it_is_and_what_to_do_next(tmp_path: Path) -> None:
    process = subprocess.Popen([RAG, "serve", "--config", config(tmp_path, port=0)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    with process.stdout as stdout:
        lines = [stdout.readline() for _ in range(6)]
        process.terminate()
        assert process.wait(20) == 0
    assert lines[0].startswith("Serving on http://127.0.0.1:")
    assert lines[2].strip().endswith("/admin")
    assert "curl" in lines[4]
    assert lines[5].startswith("Next: ")


def test_tokens_without_any_token_do_not_start(tmp_path: Path) -> None:
    done = rag("serve", "--config", config(tmp_path, auth="tokens", port=0), cwd=tmp_path)
    assert done.returncode == 2
    assert "rag token create" in done.stderr


def test_a_created_token_is_printed_once_and_kept_as_a_hash_for_its_owner_only(tmp_path: Path) -> None:
    path = config(tmp_path, auth="tokens", tokens_file=tmp_path / "keys" / "tokens.json")
    first = rag("token", "create", "--user", "ana", "--tenant", "north", "--group", "ops", "--group", "hr", "--config", path, cwd=tmp_path)
    second = rag("token", "create", "--user", "bo", "--json", "--config", path, cwd=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    token = first.stdout.strip()
    kept = tmp_path / "keys" / "tokens.json"
    text = kept.read_text()
    assert token not in text
    assert json.loads(second.stdout)["token"] not in text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert sorted(json.loads(text).values(), key=lambda entry: entry["user"]) == [
        {"user": "ana", "tenant": "north", "groups": ["ops", "hr"]},
        {"user": "bo", "tenant": "default", "groups": []},
    ]


def test_a_token_needs_a_file_to_go_to(tmp_path: Path) -> None:
    done = rag("token", "create", "--user", "ana", "--config", config(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "api.tokens_file" in done.stderr


def test_without_uvloop_and_httptools_it_serves_all_the_same(tmp_path: Path) -> None:
    """As on a platform for which they are not made."""
    code = "import sys; sys.modules.update(uvloop=None, httptools=None); from src.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, "serve", "--json", "--config", str(config(tmp_path, port=0))]
    process = subprocess.Popen(arguments, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    assert httpx2.get(f"{url}/health/live").json() == {"status": "alive"}
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
