"""`rag doctor` as it is run: exit codes, JSON, lines and table, and hints that mend what they are about."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.conftest import RAG, clean_environment
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator
from tests.emulators.proxy import Proxy

PLAIN = {"NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[AzureOpenAIEmulator]:
    with AzureOpenAIEmulator(tmp_path).running() as emulator:
        yield emulator


def written(azure: AzureOpenAIEmulator, folder: Path, **more: str) -> Path:
    """A configuration of both models on the emulator; ``more``: ``section__key``, which replace or add."""
    values = {
        "storage__path": str(folder / "data"),
        "chat__provider": "azure",
        "chat__model": "gpt-4",
        "chat__api_base": azure.url,
        "chat__api_version": "2024-06-01",
        "embed__provider": "azure",
        "embed__model": "text-embedding-ada-002",
        "embed__dims": "8",
        "azure_openai__api_key": KEY,
        "network__ca_bundle": str(azure.ca_file),
        **more,
    }
    sections: dict[str, list[str]] = {}
    for name, value in values.items():
        section, _, key = name.partition("__")
        sections.setdefault(section, [f"[{section}]"]).append(f"{key} = {value}")
    path = folder / "rag.ini"
    path.write_text("\n".join(line for lines in sections.values() for line in lines) + "\n", encoding="utf-8")
    return path


def doctor(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [RAG, "doctor", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120, env=clean_environment() | PLAIN | environment)


def report_of(*arguments: str | Path, cwd: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    done = doctor("--json", *arguments, cwd=cwd, **environment)
    report = json.loads(done.stdout)
    return done.returncode, report | {"by_name": {hop["hop"]: hop for hop in report["hops"]}}


def test_a_configuration_that_works_ends_with_0_and_says_so_of_each_step(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    code, report = report_of("--config", written(azure, tmp_path), cwd=tmp_path)
    assert (code, report["ok"]) == (0, True)
    assert [hop["hop"] for hop in report["hops"]] == ["data", "index", "network", "chat", "embed"]
    assert {step["status"] for hop in report["hops"] for step in hop["steps"]} == {"ok"}


def test_the_default_configuration_needs_no_network_and_is_good(tmp_path: Path) -> None:
    code, report = report_of(cwd=tmp_path)
    assert code == 0
    assert [hop["hop"] for hop in report["hops"]] == ["data", "model", "index"]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_names_hop_step_setting_its_line_and_the_fix_and_ends_with_1(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    config = written(azure, tmp_path, embed__dims="1536")
    code, report = report_of("--config", config, cwd=tmp_path)
    hop = report["by_name"]["embed"]
    line = 1 + config.read_text().splitlines().index("dims = 1536")
    assert code == 1
    assert (hop["status"], hop["step"], hop["setting"], hop["source"]) == ("failed", "service", "embed.dims", f"file {config}:{line}")
    assert hop["fixes"] == [{"key": "embed.dims", "value": "8", "ready": True, "note": hop["fixes"][0]["note"]}]
    assert report["by_name"]["chat"]["status"] == "ok"


def test_lines_say_the_same_where_nobody_looks_at_a_terminal(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    done = doctor("--config", written(azure, tmp_path, embed__dims="1536"), cwd=tmp_path)
    assert done.returncode == 1
    assert "setting: embed.dims (file " in done.stdout
    assert "fix: Set it to 8" in done.stdout
    assert "failed: embed" in done.stdout
    assert "\x1b" not in done.stdout


def test_on_a_terminal_it_is_a_table(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    config = written(azure, tmp_path)
    master, slave = pty.openpty()
    command = [RAG, "doctor", "--hop", "chat", "--config", str(config)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=slave, stderr=slave, stdin=slave, env=clean_environment() | {"COLUMNS": "120", "TERM": "xterm"})
    os.close(slave)
    said = b""
    while data := _read(master):
        said += data
    assert process.wait(60) == 0
    assert "│ tls" in said.decode()
    assert "gpt-4" in said.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side was closed
        return b""


def test_a_configuration_that_cannot_be_loaded_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "bad.ini").write_text("[chat]\nprovidr = azure\n")
    done = doctor("--config", tmp_path / "bad.ini", cwd=tmp_path)
    assert done.returncode == 2
    assert "provider" in done.stderr


def test_a_hop_that_is_not_configured_ends_with_2_and_lists_those_that_are(tmp_path: Path) -> None:
    done = doctor("--hop", "postgres", cwd=tmp_path)
    assert done.returncode == 2
    assert "data, model, index" in done.stderr


def test_one_hop_alone_asks_nothing_of_the_others(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    _, report = report_of("--hop", "embed", "--config", written(azure, tmp_path), cwd=tmp_path)
    assert [hop["hop"] for hop in report["hops"]] == ["embed"]
    assert [request.path.rpartition("/")[2] for request in azure.requests] == ["embeddings"]


# -- hints


def hints(*arguments: str | Path, folder: Path) -> Path:
    """What `--fix-hints` prints, as a file."""
    done = doctor("--fix-hints", *arguments, cwd=folder)
    path = folder / "hints.ini"
    path.write_text(done.stdout, encoding="utf-8")
    return path


def test_the_printed_dims_mend_the_embeddings(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    config = written(azure, tmp_path, embed__dims="1536")
    code, _ = report_of("--config", config, "--config", hints("--config", config, folder=tmp_path), cwd=tmp_path)
    assert code == 0


def test_the_printed_exception_mends_a_proxy_that_forbids_the_host(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with Proxy("", "", {}).running() as proxy:
        proxy.forbidden = {f"localhost:{azure.port}"}
        config = written(azure, tmp_path, network__proxy=f"http://localhost:{proxy.port}")
        before, report = report_of("--config", config, cwd=tmp_path)
        assert (before, report["by_name"]["chat"]["step"]) == (1, "proxy")
        code, _ = report_of("--config", config, "--config", hints("--config", config, folder=tmp_path), cwd=tmp_path)
        assert code == 0


def test_a_printed_line_that_only_a_person_can_complete_mends_once_completed(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    config = written(azure, tmp_path, network__ca_bundle=str(tmp_path / "stranger.pem"))
    printed = hints("--config", config, folder=tmp_path)
    text = printed.read_text()
    assert "# ca_bundle = /etc/ssl/company-ca.pem" in text
    assert "trustme" in text  # who signed it
    printed.write_text(text.replace("# ca_bundle = /etc/ssl/company-ca.pem", f"ca_bundle = {azure.ca_file}"))
    code, _ = report_of("--config", config, "--config", printed, cwd=tmp_path)
    assert code == 0


def test_proxy_credentials_are_asked_for_and_never_printed_and_mend_once_given(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with Proxy("clerk", "right-passw0rd", {f"localhost:{azure.port}": azure.port}).running() as proxy:
        config = written(azure, tmp_path, network__proxy=f"http://clerk:wr0ng-passw0rd@localhost:{proxy.port}")
        printed = hints("--config", config, folder=tmp_path)
        text = printed.read_text()
        assert "# proxy_password = ${PROXY_PASSWORD}" in text
        assert "passw0rd" not in text
        printed.write_text(text.replace("# proxy_password", "proxy_password"))
        code, _ = report_of("--config", config, "--config", printed, cwd=tmp_path, PROXY_PASSWORD="right-passw0rd")
        assert code == 0


def test_a_value_of_the_environment_is_named_as_the_place_to_change(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    config = written(azure, tmp_path)
    _, report = report_of("--config", config, cwd=tmp_path, RAG_EMBED__DIMS="1536")
    hop = report["by_name"]["embed"]
    assert hop["source"] == "environment RAG_EMBED__DIMS"
    assert hop["fixes"][0]["ready"] is False
    assert "RAG_EMBED__DIMS, which outranks files" in hop["fixes"][0]["note"]


def test_no_secret_is_printed_whatever_fails(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    canaries = {
        "azure_openai__api_key": "canary-api-key",
        "network__proxy": "http://user:canary-proxy-url@localhost:1",
        "network__proxy_password": "canary-proxy-password",
        "search__host": "https://localhost:1",
        "search__username": "search_user",
        "search__password": "canary-search-password",
        "persistence__backend": "postgres",
        "persistence__dsn": "postgresql://rag:canary-dsn@localhost:1/rag",
        "azure__client_secret": "canary-client-secret",
        "azure__tenant_id": "11111111-2222-3333-4444-555555555555",
        "azure__client_id": "66666666-7777-8888-9999-000000000000",
        "azure__authority_host": "https://localhost:1",
        "network__client_key_password": "canary-key-password",
    }
    config = written(azure, tmp_path, **canaries)
    for how in (["--json"], ["--fix-hints"], []):
        done = doctor(*how, "--config", config, cwd=tmp_path, RAG_LOGGING__LEVEL="DEBUG")
        assert done.returncode == 1
        assert "canary" not in done.stdout + done.stderr
