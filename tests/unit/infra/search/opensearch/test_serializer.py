"""JSON: exact vectors, and text of every kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InputError
from src.infra.search.opensearch.wire.serializer import dumps, loads

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None, exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None, exclude_categories=())), inner, max_size=4),
    max_leaves=20,
)


@given(anything)
def test_every_value_comes_back_lone_surrogates_too(value: Any) -> None:
    sent = dumps(value)
    sent.decode("utf-8")
    assert json.loads(sent) == value
    assert loads(sent) == value


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.booleans())
def test_float32_vectors_are_exact_and_in_their_shortest_form(values: list[float], beside_a_surrogate: bool) -> None:
    vector = np.array(values, dtype=np.float32)
    sent = dumps({"v": vector, "t": "\ud800" if beside_a_surrogate else "x"})
    assert np.array_equal(np.array(json.loads(sent)["v"], dtype=np.float32), vector)
    numbers = sent[sent.index(b"[") + 1 : sent.index(b"]")].decode().split(",")
    digits = [number.partition("e")[0].replace(".", "").replace("-", "").strip("0") for number in numbers]
    assert max(map(len, digits)) <= 9, "a float64 of the same value takes up to 17"


def test_one_tenth_is_written_as_such() -> None:
    tenth = np.array([0.1], dtype=np.float32)
    assert dumps(tenth) == b"[0.1]"
    assert dumps([tenth, "\udfff"]) == rb'[[0.1],"\udfff"]'


def test_integers_beyond_64_bits_are_sent_exactly() -> None:
    assert dumps({"n": 2**64 + 1}) == b'{"n":18446744073709551617}'


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, ["\ud800", float("nan")]])
def test_what_is_no_json_is_the_callers_error(value: object) -> None:
    with pytest.raises(InputError):
        dumps(value)


def test_an_answer_that_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="char"):
        loads(b'{"hits": [')
