"""Documents and chunks as OpenSearch entries: nothing is lost on the way to JSON and back, and words lie where the embedded engine has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.documents import Chunk, Document
from src.infra.search.embedded.analysis import document_terms
from src.infra.search.opensearch import fields, records
from src.infra.search.opensearch.wire.serializer import dumps, loads
from src.infra.search.protocol import DocumentWrite
from src.infra.search.requests import checked_vectors
from src.infra.search.text import segment_document

any_text = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=30)
scalars = any_text | st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()
metadata = st.dictionaries(any_text, scalars | st.lists(scalars, max_size=3).map(tuple), max_size=4)
DIMS = 4


@st.composite
def writes(draw: st.DrawFn) -> DocumentWrite:
    document = Document(
        draw(any_text.filter(bool)), *(draw(any_text) for _ in range(5)), tuple(sorted(set(draw(st.lists(any_text, max_size=3))))), draw(metadata)
    )
    count = draw(st.integers(0, 6))
    chunks = tuple(
        Chunk(f"c{at}", document.id, document.tenant, at, draw(any_text), draw(st.none() | st.integers(1, 9)), draw(any_text), draw(st.integers(0, 2**65)), at)
        for at in range(count)
    )
    vectors = np.array(draw(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=DIMS, max_size=DIMS), min_size=count, max_size=count)), np.float32)
    return DocumentWrite(document, chunks, vectors.reshape(count, DIMS))


def there_and_back(entry: Any) -> Any:
    """As the server keeps `_source`: parsed, what is excluded left out, and written anew."""
    return loads(dumps(loads(dumps(entry))))


@given(writes())
def test_documents_chunks_and_vectors_come_back_as_they_were(item: DocumentWrite) -> None:
    record = there_and_back(records.record_entry(item.document, chunks=len(item.chunks), revision="r"))
    assert records.document_from(record["payload"]) == item.document
    assert records.id_from(record["payload"]) == item.document.id
    vectors = checked_vectors(item, DIMS)
    entries = [there_and_back(entry) for entry in records.chunk_entries(item, vectors, "r")]
    assert tuple(records.chunk_from(entry["payload"]) for entry in entries) == item.chunks
    assert all(
        shown == entry["payload"] or "vector" in entry["payload"]
        for shown, entry in zip(records.shown_from([entry["shown"] for entry in entries]), entries, strict=True)
    )
    found = records.vectors_from(entries, DIMS)
    assert found.shape == vectors.shape
    # A zero is a zero, whichever sign it had where its whole vector is one.
    assert (found == vectors).all()
    assert all(repr(hit.metadata) == repr(dict(item.document.metadata)) for hit in (records.hit_from(entry["payload"], 1.0, {}) for entry in entries))


@given(writes())
def test_nothing_but_payload_holds_what_a_server_could_refuse(item: DocumentWrite) -> None:
    for entry in records.chunk_entries(item, checked_vectors(item, DIMS), "r"):
        orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY)


@given(st.lists(st.tuples(any_text, any_text), min_size=2, max_size=8))
def test_sort_keys_sort_as_the_embedded_engine_does_and_are_told_apart(pairs: list[tuple[str, str]]) -> None:
    def stored(text: str) -> tuple[int, bytes]:
        """SQLite: texts by their bytes, then bytes."""
        try:
            return 0, text.encode()
        except UnicodeEncodeError:
            return 1, text.encode("utf-8", "surrogatepass")

    pairs = [pair for pair in pairs if not any(part.startswith("\U0010ffff") for part in pair)]
    by_key = sorted(set(pairs), key=lambda pair: records.sort_key(*pair).encode())
    assert by_key == sorted(set(pairs), key=lambda pair: (stored(pair[0]), stored(pair[1])))
    assert len({records.sort_key(*pair) for pair in pairs}) == len(set(pairs))
    assert all(records.sort_key(*pair).startswith(records.sort_prefix(pair[0])) for pair in pairs)


@given(st.tuples(any_text, any_text), st.tuples(any_text, any_text))
def test_keys_and_tenants_are_told_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (records.doc_key(*one) == records.doc_key(*other)) is (one == other)
    assert (records.tenant_term(one[0]) == records.tenant_term(other[0])) is (one[0] == other[0])


def test_ids_of_any_length_give_terms_that_lucene_takes() -> None:
    for text in ("x" * 100_000, "\u6771" * 40_000, "\udce9" * 50_000):
        assert len(records.sort_key(text, text).encode()) < 32_766
        assert len(records.tenant_term(text)) < 1_100


@given(st.lists(st.sampled_from(["The meters", "東京都", "1,000 volts", "ladder-rungs", ""]), min_size=1, max_size=12), st.sampled_from(["", "Title", "電力"]))
def test_body_and_context_hold_the_words_that_the_embedded_engine_indexes(texts: list[str], title: str) -> None:
    document = Document("d", "t", title, "", "", "", ())
    chunks = tuple(Chunk(f"c{at}", "d", "t", at, text, section="A > B") for at, text in enumerate(texts))
    for at, entry in enumerate(
        records.chunk_entries(DocumentWrite(document, chunks, np.ones((len(texts), 1), np.float32)), np.ones((len(texts), 1), np.float32), "")
    ):
        # The analyser of both comes after segmentation, which document_terms does by itself.
        assert document_terms_of(entry[fields.BODY]) == words(title, "A > B", texts[at])
        assert document_terms_of(entry[fields.CONTEXT]) == words(title, *texts[max(0, at - 4) : at + 5])


@given(writes())
def test_a_copied_chunk_is_the_entry_that_was_written(item: DocumentWrite) -> None:
    entries = dict(enumerate(records.chunk_entries(item, checked_vectors(item, DIMS), "r")))
    kept = {at: there_and_back({name: value for name, value in entry.items() if name not in (fields.CONTEXT, fields.SHOWN)}) for at, entry in entries.items()}
    assert {at: there_and_back(entry) for at, entry in records.chunk_copies(kept)} == {at: there_and_back(entry) for at, entry in entries.items()}


def test_the_words_of_another_revision_are_not_the_surroundings_of_a_copied_chunk() -> None:
    """They may have another access list; by rank, words of the surroundings would tell them."""

    def entries(word: str) -> list[dict[str, Any]]:
        document = Document("d", "t", "", "", "", "", (), {})
        chunks = tuple(Chunk(f"{word}{at}", "d", "t", at, f"{word}{at}") for at in range(4))
        return list(records.chunk_entries(DocumentWrite(document, chunks, np.ones((4, DIMS), np.float32)), np.ones((4, DIMS), np.float32), word))

    old, new = entries("old"), entries("new")
    copies = dict(records.chunk_copies({0: old[0], 1: new[1], 2: new[2], 3: old[3]}))
    assert [copies[at][fields.CONTEXT].split() for at in range(4)] == [["old0", "old3"], ["new1", "new2"], ["new1", "new2"], ["old0", "old3"]]


def document_terms_of(segmented: str) -> list[str]:
    from src.infra.search.embedded.analysis import analyzer

    return list(analyzer().analyze(segmented))


def words(*texts: str) -> list[str]:
    return " ".join(document_terms(text) for text in texts).split()


def test_segmentation_is_done_here_once_and_not_again_by_a_server() -> None:
    assert segment_document("東京") == " 東京 東 京 "


@pytest.mark.parametrize("binade", [-126, -60, -30, -24, -20, -16, -12, -10, -8, -7, -6, -5, -4, -3, -2, -1, 0])
def test_float32_comes_back_exactly_from_its_shortest_json(binade: int) -> None:
    """A sample of each size; `test_every_float32_of_a_unit_vector_comes_back_exactly` tries all."""
    rng = np.random.default_rng(binade + 200)
    values = np.ldexp(1 + rng.integers(0, 2**23, size=50_000) / 2**23, binade - 1).astype(np.float32)
    assert back(values).tobytes() == values.tobytes()


@pytest.mark.long
def test_every_float32_of_a_unit_vector_comes_back_exactly() -> None:
    """All 251,658,240 positive values from 2^-30 up to 1: by way of a double, as orjson and the server's parser read them."""
    for binade in range(-30, 0):
        first = int(np.float32(2.0**binade).view(np.uint32))
        for start in range(first, first + 2**23, 2**20):
            values = np.arange(start, start + 2**20, dtype=np.uint32).view(np.float32)
            assert back(values).tobytes() == values.tobytes(), binade


def back(values: np.ndarray) -> np.ndarray:
    """Written by orjson, read as doubles, written again as Java writes doubles (any spelling that reads back), read again."""
    doubles = orjson.loads(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY))
    return np.array(doubles, dtype=np.float32)
