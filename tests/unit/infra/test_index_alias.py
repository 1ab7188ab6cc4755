"""`[search] index_alias` is a name that OpenSearch takes for an index, or a problem of the configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from src.errors import InvalidSettingsError
from src.infra.config import SearchCfg
from src.infra.settings import load_settings


@pytest.mark.parametrize("alias", ["handbook", "utilities-docs", "a.b_c+d", ".hidden", "ümlaut", "日本", "a(b)[c]{d};e=f&g", "x" * 220])
def test_what_the_server_takes_is_taken(alias: str) -> None:
    assert SearchCfg(index_alias=alias).index_alias == alias


@pytest.mark.parametrize(
    "alias",
    ["A/B*", "a/b", "a#b", "UPPER", "a b", "*", "a,b", "a:b", "a|b", 'a"b', "a<b", "a>b", "a?b", "a\\b", "a%2fb", "a\tb", "a\u00a0b"],
)
def test_characters_that_it_does_not_take_are_named_with_the_setting(alias: str) -> None:
    assert refused(alias) == ["search.index_alias"]


@pytest.mark.parametrize("alias", ["", "_all", "-a", "+a", ".", "..", "x" * 221, "ü" * 111])
def test_beginnings_and_lengths_that_it_does_not_take_are_refused(alias: str) -> None:
    assert refused(alias) == ["search.index_alias"]


def refused(alias: str) -> list[str]:
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings([], {"search.index_alias": alias}, environ={})
    return [problem.key for problem in caught.value.problems]


@given(st.text(min_size=1))
def test_no_accepted_name_reaches_another_path(alias: str) -> None:
    try:
        name = SearchCfg(index_alias=alias).index_alias
    except ValidationError:
        return
    assert not set(name) & set('/?#%,*<> \\:"|')
    assert name.lower() == name
    assert len(f"{name}-000001.by-0123456789ab".encode()) < 255
