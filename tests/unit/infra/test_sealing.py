"""Sealed values: whatever goes in comes out, and nothing else does."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import StorageCorruptError
from src.infra.persistence.sealing import Blob, SealedSerializer, parse_keys, strict_serializer

ONE, TWO = (f"{name}:{base64.b64encode(bytes(range(start, start + 32))).decode()}" for name, start in (("one", 0), ("two", 50)))
SEALED = SealedSerializer(strict_serializer(), parse_keys(f"{ONE},{TWO}"))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(plain)
def test_what_is_sealed_is_opened_as_it_was(value: object) -> None:
    kind, data = SEALED.dumps_typed(value)
    assert kind.endswith("+aesgcm.one")
    assert SEALED.loads_typed((kind, data)) == value
    assert SEALED.loads_typed(SEALED.dumps_typed(Blob(value))) == value


@given(st.text())
def test_texts_are_sealed_for_a_column_of_text(text: str) -> None:
    sealed = SEALED.seal_text(text)
    assert sealed.isascii()
    assert SEALED.open_text(sealed) == text


@given(plain, st.data())
def test_a_changed_bit_opens_nothing(value: object, data: st.DataObject) -> None:
    kind, sealed = SEALED.dumps_typed(value)
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(StorageCorruptError):
        SEALED.loads_typed((kind, bytes(changed)))


@pytest.mark.parametrize("kind", ["json+aesgcm.one", "msgpack+aesgcm.two", "msgpack+aesgcm.three", "msgpack", "msgpack+aes", "", "+", "msgpack+aesgcm."])
def test_another_type_or_key_than_it_was_sealed_with_opens_nothing(kind: str) -> None:
    _, sealed = SEALED.dumps_typed({"a": 1})
    with pytest.raises(StorageCorruptError):
        SEALED.loads_typed((kind, sealed))


def test_the_same_value_is_never_sealed_the_same_way() -> None:
    assert len({SEALED.dumps_typed("x")[1] for _ in range(100)}) == 100
