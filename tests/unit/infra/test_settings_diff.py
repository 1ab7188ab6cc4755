"""What differs between two configurations: values alone, with their sources, and no secret."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from src.infra.config import Settings
from src.infra.configuring.diff import differences
from src.infra.settings import load_settings

VALUES = {
    "search.host": st.sampled_from([None, "https://a.example", "https://b.example"]),
    "search.timeout_s": st.sampled_from([1.0, 5.0, 10.0]),
    "azure.client_secret": st.sampled_from([None, "one", "two"]),
    "network.no_proxy": st.sampled_from([(), ("localhost",)]),
    "chat.provider": st.sampled_from(["local", "azure"]),
}
OVERRIDES = st.fixed_dictionaries({}, optional=VALUES)


def loaded(overrides: dict[str, object]) -> Settings:
    return load_settings([], overrides, environ={})


@settings(max_examples=60)
@given(OVERRIDES, OVERRIDES)
def test_exactly_the_keys_whose_values_differ_are_named(first: dict[str, object], second: dict[str, object]) -> None:
    a, b = loaded(first), loaded(second)
    changes = differences(a, b)
    default = {"search.host": None, "search.timeout_s": 10.0, "azure.client_secret": None, "network.no_proxy": (), "chat.provider": "local"}
    assert {change.spec.name for change in changes} == {name for name in default if first.get(name, default[name]) != second.get(name, default[name])}
    assert bool(changes) == (a != b)
    for change in changes:
        name = change.spec.name
        assert change.kind == ("added" if name not in first else "removed" if name not in second else "changed")
    assert [change.spec.name for change in differences(b, a)] == [change.spec.name for change in changes]


def test_a_value_from_another_place_is_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "rag.ini"
    path.write_text("[search]\ntimeout_s = 10\n")
    assert differences(load_settings(path, environ={}), load_settings([], environ={"RAG_SEARCH__TIMEOUT_S": "10.0"})) == ()


def test_a_rule_that_one_side_lacks_shows_what_it_sets(tmp_path: Path) -> None:
    path = tmp_path / "rag.ini"
    path.write_text("[intent:how]\npattern = how\nmode = bm25\n")
    changes = differences(load_settings(path, environ={}), loaded({}))
    assert [(change.spec.name, change.kind, change.after.value) for change in changes] == [
        ("intent:how.pattern", "removed", None),
        ("intent:how.mode", "removed", None),
    ]


def test_secrets_differ_without_being_repeated() -> None:
    (change,) = differences(loaded({"azure.client_secret": "canary-1"}), loaded({"azure.client_secret": "canary-2"}))
    assert (change.spec.name, change.kind) == ("azure.client_secret", "changed")
    assert "canary" not in repr(change)
