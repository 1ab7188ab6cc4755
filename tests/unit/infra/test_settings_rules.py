"""Configurations that load, and with which no hop can work."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from src.errors import Problem
from src.infra.configuring.rules import FILES, rule_problems
from src.infra.configuring.schema import find
from src.infra.settings import load_settings


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    (folder / "rag.ini").write_text(text)
    return rule_problems(load_settings(folder / "rag.ini", environ={}))


@pytest.mark.parametrize("key", ["proxy", "http_proxy", "https_proxy"])
@pytest.mark.parametrize("address", ["http://h/proxy.pac", "socks5://h:1", "http://user:hunter2@h:99999", "http://user:hunter2@[::1", "nonsense:x"])
def test_a_proxy_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, key: str, address: str) -> None:
    (problem, *_) = problems(tmp_path, f"[network]\n{key} = {address}\n")
    assert (problem.key, problem.line, Path(problem.where).name) == (f"network.{key}", 2, "rag.ini")
    assert "hunter2" not in str(problem)


def test_an_entry_of_no_proxy_is_named_with_its_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "[network]\n\nno_proxy = localhost, 10.0.*\n")
    assert (problem.key, problem.line) == ("network.no_proxy", 3)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    section, _, key = name.partition(".")
    (problem,) = problems(tmp_path, f"[{section}]\n{key} = /nope.pem\n")
    assert (problem.key, problem.line) == (name, 2)
    assert "No such file" in problem.message
    spec = find(name)
    assert spec is not None
    assert spec.kind is Path


def test_certificates_are_read_as_the_hops_would_read_them(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "text.pem").write_text("nothing")
    assert problems(tmp_path, f"[network]\nca_bundle = {tmp_path / 'ca.pem'}\n") == ()
    assert problems(tmp_path, f"[network]\nca_bundle = {tmp_path}\n") == ()
    for key in ("ca_bundle", "client_certificate"):
        (problem,) = problems(tmp_path, f"[network]\n{key} = {tmp_path / 'text.pem'}\n")
        assert (problem.key, problem.line) == (f"network.{key}", 2)
    assert problems(tmp_path, "[chat]\nmodel = extractive\n") == ()
