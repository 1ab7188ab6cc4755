from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.infra.providers.tokenizer import ModelTokenizer, encodable

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


@pytest.fixture(scope="module")
def tokenizer(model_cache: Path) -> ModelTokenizer:
    return ModelTokenizer(model_cache)


@given(text=ANY_TEXT)
def test_offsets_lie_in_the_original_text_in_order(tokenizer: ModelTokenizer, text: str) -> None:
    last = 0
    for start, end in tokenizer.spans(text):
        assert 0 <= start < end <= len(text)
        assert start >= last
        last = start


@given(words=st.lists(st.text("abcdefghijklmnopqrstuvwxyzABCÄÖÜé", min_size=1, max_size=12), min_size=1, max_size=40))
def test_tokens_of_words_cover_every_letter(tokenizer: ModelTokenizer, words: list[str]) -> None:
    text = "  ".join(words)
    covered = {place for start, end in tokenizer.spans(text) for place in range(start, end)}
    assert covered == {place for place, char in enumerate(text) if char != " "}


PIECES = st.sampled_from(
    ["[CLS]", "x[SEP]y", "[UNK]", "\u0301", "e\u0301", "\u0344\u0323", "\x1c", "\x85", "\u00a0", "\u2028", "京都", "Σ", "İ", "\ud800", "a" * 101, "..."]
)
WHITE = st.text(" \t\n\r\u3000\x0b", max_size=3)


@given(pieces=st.lists(st.tuples(PIECES | st.text(max_size=20), WHITE), max_size=20))
def test_word_by_word_gives_the_tokens_of_the_whole_text(tokenizer: ModelTokenizer, pieces: list[tuple[str, str]]) -> None:
    text = "".join(word + white for word, white in pieces)
    whole = tokenizer._tokenizer.get().encode(encodable(text), add_special_tokens=False)
    assert tokenizer.spans(text) == whole.offsets
    assert tokenizer.spans(text) == whole.offsets  # from memory


def test_memory_of_words_is_bounded_and_forgetting_changes_nothing(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.infra.providers.tokenizer._MAX_KNOWN", 50)
    tokenizer = ModelTokenizer(model_cache)
    texts = [" ".join(f"meter{number * k}" for number in range(40)) + " " + "z" * 500 for k in range(1, 8)]
    first = [tokenizer.spans(text) for text in texts]
    assert len(tokenizer._known) <= 50
    assert max(map(len, tokenizer._known)) < 100
    assert [tokenizer.spans(text) for text in texts] == first


def test_nothing_is_truncated_or_padded(tokenizer: ModelTokenizer) -> None:
    text = "meter " * 5000
    spans = tokenizer.spans(text)
    assert len(spans) == 5000
    assert spans[-1] == (len(text) - 6, len(text) - 1)
    assert tokenizer.spans("") == []
    assert len(tokenizer.spans("one meter")) == 2


def test_offsets_stay_true_behind_emoji_surrogates_and_nul(tokenizer: ModelTokenizer) -> None:
    text = "\U0001f600 \ud800 \x00 e\u0301 tariff"
    start, end = tokenizer.spans(text)[-1]
    assert text[start:end] == "tariff"


@given(text=ANY_TEXT)
def test_what_is_made_encodable_has_the_same_length(text: str) -> None:
    assert len(encodable(text)) == len(text)
    encodable(text).encode()


def test_many_threads_load_it_once(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ModelTokenizer(model_cache)
    loads = []
    load = tokenizer._tokenizer._load
    monkeypatch.setattr(tokenizer._tokenizer, "_load", lambda: loads.append(1) or load())
    found: list[list[tuple[int, int]]] = []
    threads = [threading.Thread(target=lambda: found.append(tokenizer.spans("Reading the meter."))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 8
    assert all(spans == found[0] for spans in found)
