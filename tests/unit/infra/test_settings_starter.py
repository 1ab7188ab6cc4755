"""What `rag config init` writes loads, and says what was answered, whichever way the questions go."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.infra.configuring.interpolation import interpolate
from src.infra.configuring.profiles import PROFILES
from src.infra.configuring.schema import all_names, find, value_of
from src.infra.configuring.starter import ALSO_CALLED, STARTS, Start, fault_of, render, secrets_of
from src.infra.settings import load

# Answers that open or close other questions, each beside leaving the default.
BRANCHES = {
    "search.host": ("", "https://search.example:9200"),
    "search.use_aws_auth": ("", "true", "no"),
    "search.username": ("", "u # ; = x"),
    "azure.credential": ("", "certificate", "secret", "managed", "workload", "cli", "chain"),
    "network.proxy": ("", "http://proxy.example:8080"),
    "network.proxy_username": ("", "svc"),
    "network.client_certificate": ("", "/etc/rag/client.pem"),
}
WORDS = {
    "storage.path": "/var/lib/rag",
    "embed.dims": "3072",
    "chat.model": "gpt-4o",
    "environment.jpmc_user_sid": "u1",
    "network.no_proxy": "localhost, .example",
}


def answered(start: Start, chosen: dict[str, str]) -> dict[str, str]:
    """As the command does: open questions in order; what is left empty stays at its default."""
    answers: dict[str, str] = {}
    for question in start.open_questions(answers):
        if question.is_asked and (text := chosen.get(question.key) or WORDS.get(question.key) or ""):
            answers[question.key] = text
    if "search.host" in start.required:
        answers.setdefault("search.host", "https://search.example:9200")
    return answers


def check(start: Start, answers: dict[str, str], folder: Path) -> None:
    path = folder / "rag.ini"
    path.write_text(render(start, answers), encoding="utf-8")
    loaded = load(path, environ={})
    assert loaded.problems == (), path.read_text()
    assert loaded.settings is not None
    assert loaded.settings.environment.cloud_profile == start.profile
    for key, text in answers.items():
        spec = find(key)
        assert spec is not None
        assert loaded.settings.provenance.sources[key].kind == "file"
        alone = load([], {key: text}, environ={}).settings
        assert alone is not None
        assert value_of(loaded.settings, spec) == value_of(alone, spec)
        assert not spec.secret or spec.is_address
    text = path.read_text()
    for spec in secrets_of(start, answers):
        assert spec.variable in text
    assert max(map(len, text.splitlines())) <= 120


@settings(max_examples=80)
@given(st.sampled_from(sorted(STARTS)), st.fixed_dictionaries({key: st.sampled_from(values) for key, values in BRANCHES.items()}))
def test_every_way_through_the_questions_ends_in_a_file_that_loads(tmp_path_factory: pytest.TempPathFactory, name: str, chosen: dict[str, str]) -> None:
    check(STARTS[name], answered(STARTS[name], chosen), tmp_path_factory.mktemp("s"))


@pytest.mark.long
@pytest.mark.parametrize("name", STARTS)
def test_all_ways_through_the_questions_end_in_a_file_that_loads(name: str, tmp_path: Path) -> None:
    ways = (dict(zip(BRANCHES, values, strict=True)) for values in itertools.product(*BRANCHES.values()))
    for answers in {tuple(answered(STARTS[name], way).items()) for way in ways}:
        check(STARTS[name], dict(answers), tmp_path)


@pytest.mark.parametrize("name", STARTS)
def test_each_start_asks_known_keys_of_a_known_profile_and_its_suggestions_are_good(name: str) -> None:
    start = STARTS[name]
    assert start.profile in PROFILES
    assert [question.key for question in start.questions if find(question.key) is None] == []
    assert start.required | set(start.suggested) <= {question.key for question in start.questions}
    for key, text in start.suggested.items():
        assert fault_of(find(key), text) == ""  # type: ignore[arg-type] # known, see above


def test_other_names_are_those_of_profiles() -> None:
    assert {PROFILES[name] is PROFILES[STARTS[start].profile] for name, start in ALSO_CALLED.items()} == {True}


@pytest.mark.parametrize("name", STARTS)
def test_what_is_commented_out_is_the_default(name: str, tmp_path: Path) -> None:
    start = STARTS[name]
    section, shown = "", {}
    for line in render(start, dict.fromkeys(start.required, "https://x.example")).splitlines():
        section = line.strip("[]") if line.startswith("[") else section
        key, equals, text = line.removeprefix("# ").partition(" =")
        if section and line.startswith("# ") and equals and f"{section}.{key}" in all_names():
            shown[f"{section}.{key}"] = text.strip()
    settings_of_profile = load([], environ={"CLOUD_PROFILE": start.profile}).settings
    assert settings_of_profile is not None
    for key, text in shown.items():
        spec = find(key)
        assert spec is not None
        if not spec.secret or spec.is_address:
            assert interpolate(text, {}).text == spec.show(value_of(settings_of_profile, spec))
    assert shown


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("search.host", "https://u:canary@search.example", "credentials"),
        ("search.password", "canary", "secret"),
        ("search.password", "canary${X}", "secret"),
        ("network.proxy", "http://u:canary@proxy.example:1", "proxy_username"),
        ("network.proxy", "not an address", "address"),
        ("embed.dims", "many", "whole number"),
        ("embed.dims", "", "empty"),
        ("azure.credential", "magic", "allowed"),
        ("storage.path", "a\nb", "one line"),
        ("storage.path", "a\x1b[2Jb", "one line"),
        ("network.proxy", "http://proxy.example:1", ""),
        ("network.proxy", "http://proxy.example:1/", ""),
        ("network.proxy", "", ""),
        ("network.proxy", "${PROXY:}", ""),
        ("search.password", "${PASSWORD}", ""),
        ("search.username", "", ""),
        ("storage.path", "a = b # c ; d", ""),
    ],
)
def test_answers_are_checked_one_by_one_and_secrets_are_no_answers(key: str, text: str, said: str) -> None:
    spec = find(key)
    assert spec is not None
    fault = fault_of(spec, text)
    assert said in fault
    assert bool(fault) == bool(said)
    assert "canary" not in fault
