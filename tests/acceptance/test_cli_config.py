"""`rag config show | explain | validate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RAG = str(Path(sys.executable).parent / "rag")
SECRET = "c4n4ry-s3cr3t"


def rag(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RAG, "config", *arguments], cwd=cwd, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rag.ini"
    path.write_text(f"[search]\nhost = https://search.example\npassword = {SECRET}\nusername = rag\n[environment]\ncloud_profile = jpmc_azure\n")
    return path


def test_show_prints_values_with_their_sources_and_the_files_and_no_secret(config: Path) -> None:
    done = rag("show", "--config", str(config), cwd=config.parent, RAG_API__PORT="81")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == f"# files: {config} (argument)"
    assert f"password = ********** # file {config}:3" in lines
    assert "port = 81 # environment RAG_API__PORT" in lines
    assert "provider = azure # profile jpmc_azure" in lines
    assert "host = 127.0.0.1 # default" in lines
    assert SECRET not in done.stdout + done.stderr


def test_show_as_json_holds_typed_values(config: Path) -> None:
    done = rag("show", "--json", "--config", str(config), cwd=config.parent)
    body = json.loads(done.stdout)
    assert body["files"] == [str(config)]
    assert body["settings"]["api"]["port"] == 8000
    assert body["settings"]["search"]["password"] == "**********"
    assert body["settings"]["api"]["cors_origins"] == []
    assert body["sources"]["search.host"] == {"kind": "file", "where": str(config), "line": 2}
    assert SECRET not in done.stdout


def test_changed_leaves_out_the_defaults(config: Path) -> None:
    body = json.loads(rag("show", "--changed", "--json", "--config", str(config), cwd=config.parent).stdout)
    assert set(body["settings"]["search"]) == {"host", "username", "password", "aws_region"}
    assert "api" not in body["settings"]


def test_explain_says_all_about_a_key(config: Path) -> None:
    arguments = ("explain", "chat.provider", "--config", str(config))
    done = rag(*arguments, cwd=config.parent, RAG_CHAT__PROVIDER="openai")
    text = " ".join(done.stdout.split())
    assert text.startswith("chat.provider = openai")
    assert "source environment RAG_CHAT__PROVIDER shadows profile jpmc_azure, with azure" in text
    assert "default local" in text
    assert "type one of local, openai, azure" in text
    assert "read by src.infra" in text
    body = json.loads(rag(*arguments, "--json", cwd=config.parent).stdout)
    assert body["source"] == {"kind": "profile", "where": "jpmc_azure"}
    secret = rag("explain", "search.password", "--config", str(config), cwd=config.parent)
    assert "**********" in secret.stdout
    assert SECRET not in secret.stdout


def test_explain_of_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    done = rag("explain", "serach.host", cwd=tmp_path)
    assert done.returncode == 2
    assert "search.host" in done.stderr


def test_validate_lists_all_problems_and_says_so_with_its_exit_code(tmp_path: Path, config: Path) -> None:
    good = rag("validate", "--config", str(config), cwd=tmp_path)
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "OK")
    bad = tmp_path / "bad.ini"
    bad.write_text(f"[search]\npasword = {SECRET}\ntimeout_s = soon\n")
    done = rag("validate", "--config", str(bad), cwd=tmp_path, RAG_API__PROT="1")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 3
    body = json.loads(rag("validate", "--json", "--config", str(config), "--config", str(bad), cwd=tmp_path).stdout)
    assert (body["ok"], len(body["files"])) == (False, 2)
    assert [(problem["line"], problem.get("nearest")) for problem in body["problems"]] == [(2, "password"), (3, "")]
    assert SECRET not in done.stdout + done.stderr + str(body)


def test_other_commands_report_the_same_problems_as_json(tmp_path: Path) -> None:
    bad = tmp_path / "bad.ini"
    bad.write_text("[search]\nhosst = a\n")
    done = rag("show", "--json", "--config", str(bad), cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "configuration"
    assert error["problems"][0]["nearest"] == "host"


def test_somebody_elses_config_ini_is_a_helpful_error(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[alembic]\nscript_location = x\n")
    done = rag("show", cwd=tmp_path)
    assert done.returncode == 2
    assert str(tmp_path / "config.ini") in done.stderr
    assert "--config" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_explain_shows_the_variable_that_gave_the_proxy_once_the_environment_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "rag.ini"
    path.write_text("[network]\ntrust_env = true\n")
    environ = {"HTTPS_PROXY": f"http://user:{SECRET}@proxy.example:8080", "https_proxy": f"http://user:{SECRET}@proxy.example:8080"}
    done = rag("explain", "network.proxy", "--config", str(path), cwd=tmp_path, **environ)
    assert "source    environment https_proxy" in done.stdout, done.stderr
    assert SECRET not in done.stdout + done.stderr
    path.write_text("[network]\n")
    assert "source    default" in rag("explain", "network.proxy", "--config", str(path), cwd=tmp_path, **environ).stdout
