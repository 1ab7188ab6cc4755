"""`rag config diff | schema`, and `explain` where it lists: as they are run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from src.cli.main import main

SECRET = "c4n4ry"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CLOUD_PROFILE", "RAG_CONFIG", "RAG_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)


def config(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], prog_name="rag")


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return name


def test_diff_shows_both_values_with_their_places_and_leaves_with_1() -> None:
    a = write("a.ini", f"[search]\nhost = https://a.example\nusername = u\npassword = {SECRET}1\n")
    b = write("b.ini", f"[search]\nhost = https://b.example\nusername = u\npassword = {SECRET}2\ntimeout_s = 5\n")
    done = config("diff", a, b)
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert done.exit_code == 1
    assert f"- host = https://a.example # file {Path(a).absolute()}:2" in lines
    assert f"+ host = https://b.example # file {Path(b).absolute()}:2" in lines
    assert f"+ password = ********** # file {Path(b).absolute()}:4 (different)" in lines
    assert "- timeout_s = 10.0 # default" in lines
    assert SECRET not in done.output
    body = json.loads(config("diff", a, b, "--json").output)
    assert (body["equal"], [(change["key"], change["change"]) for change in body["changes"]]) == (
        False,
        [("search.host", "changed"), ("search.password", "changed"), ("search.timeout_s", "added")],
    )
    assert SECRET not in json.dumps(body)


def test_diff_of_the_same_configuration_in_two_shapes_leaves_with_0() -> None:
    a = write("a.ini", "[search]\ntimeout_s = 5\n[api]\nport = 81\n")
    write("b/1.yaml", "search: {timeout_s: 5.0}\n")
    write("b/2.json", '{"api": {"port": "81"}, "chat": {"provider": "local"}}')
    done = config("diff", a, "b")
    assert (done.exit_code, done.output) == (0, "# a.ini and b mean the same\n")
    assert json.loads(config("diff", a, "b", "--json").output)["equal"] is True


def test_diff_of_profiles_takes_the_configuration_with_each() -> None:
    path = write("own.ini", "[profile:acme]\nchat.model = ours\n[chat]\nprovider = azure\n")
    done = config("diff", "local", "acme", "--config", path)
    assert done.exit_code == 1
    assert "+ model = ours" in done.output
    assert "profile acme" in done.output
    assert "provider" not in done.output
    built_in = config("diff", "local", "jpmc_azure")
    assert "+ proxy = http://proxy.jpmchase.net:10443" in built_in.output
    assert "+ credential = certificate" in built_in.output


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gone.ini", None, "No such file"),
        ("broken.ini", f"[search]\npasword = {SECRET}\n", "password"),
        ("broken.json", f'{{"search": {{"password": "{SECRET}"', "is not JSON"),
        ("empty", "", "the folder holds no"),
        ("nobody", None, "no profile is called 'nobody'"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_of_its_own_exit_code(name: str, text: str | None, said: str) -> None:
    good = write("a.ini", "[api]\nport = 81\n")
    if name == "empty":
        Path(name).mkdir()
    elif text is not None:
        write(name, text)
    for arguments in ((good, name), (name, good)):
        done = config("diff", *arguments)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert SECRET not in done.output
    assert json.loads(config("diff", good, name, "--json").output)["error"]["code"] == "configuration"


def test_diff_needs_two_names() -> None:
    assert config("diff", "a.ini").exit_code == 2


def test_schema_prints_json_schema_either_way() -> None:
    body = json.loads(config("schema").output)
    Draft202012Validator.check_schema(body)
    assert json.loads(config("schema", "--json").output) == body


def test_explain_without_a_key_lists_what_is_set_and_what_that_stands_in_place_of(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write("1.ini", "[search]\nhost = https://a.example\n"), write("2.ini", "[search]\nhost = https://b.example\n")
    monkeypatch.setenv("RAG_SEARCH__HOST", "https://c.example")
    done = config("explain", "--config", first, "--config", second)
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert lines[lines.index("[search]") :] == [
        "[search]",
        "host = https://c.example # environment RAG_SEARCH__HOST",
        f"# instead of file {Path(second).absolute()}:2, with https://b.example",
        f"# instead of file {Path(first).absolute()}:2, with https://a.example",
    ]
    body = json.loads(config("explain", "--json", "--config", first).output)
    assert [entry["key"] for entry in body] == ["search.host"]
    assert [source["value"] for source in body[0]["shadowed"]] == ["https://a.example"]


def test_explain_all_and_a_section_list_keys_at_their_default_too() -> None:
    path = write("1.ini", "[search]\nhost = https://a.example\n")
    every = config("explain", "--all", "--config", path)
    assert "[features]" in every.output
    assert len(json.loads(config("explain", "--all", "--json", "--config", path).output)) > 100
    section = config("explain", "[Search]", "--config", path)
    assert "# Seconds a search may take.\ntimeout_s = 10.0" in section.output
    assert "[chat]" not in section.output
    assert isinstance(json.loads(config("explain", "storage", "--json", "--config", path).output), list)
    assert isinstance(json.loads(config("explain", "storage.path", "--json", "--config", path).output), dict)
    assert config("explain", "search", "--all").exit_code == 2


def test_explain_where_nothing_is_set_says_so() -> None:
    done = config("explain", "--config", write("1.ini", ""))
    assert "every key has its default" in done.output


def test_an_unknown_key_is_named_with_the_nearest_also_where_the_files_are_wrong() -> None:
    done = config("explain", "serach", "host", "--config", write("1.ini", "[nope]\n"))
    assert (done.exit_code, "`search.host`" in done.output) == (2, True)
    assert json.loads(config("explain", "serach.host", "--json").output)["error"]["code"] == "configuration"
