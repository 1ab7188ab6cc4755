"""Search configuration on a real cluster: every body is accepted, and text becomes the terms that the embedded engine has."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.infra.search.embedded.analysis import analyzer
from src.infra.search.text import segment_document, segment_query
from src.infra.search_config import LANGUAGES, QUERY_TERMS, SIZES, index_body, search_pipeline
from tests.servers.opensearch.cluster import Cluster

Analyse = Callable[[str, str], list[str]]

NEWER = {*range(0x363, 0x370), 0xF82, 0xF83}
"""Marks that Unicode 16 made letters; the server's Java is older."""


@pytest.fixture
def analyse(opensearch: Cluster, index_prefix: str) -> Analyse:
    """Terms of an analyser of an English index."""
    index = index_prefix + "english"
    opensearch.ask("PUT", index, index_body(dims=4, embedder="m"))
    return lambda name, text: terms(opensearch, index, name, text)


def terms(cluster: Cluster, index: str, name: str, text: str) -> list[str]:
    return [token["token"] for token in cluster.ask("POST", f"{index}/_analyze", {"analyzer": name, "text": text})["tokens"]]


def blocks() -> Iterator[str]:
    """Characters that Unicode 3.2 knew: every Java that runs OpenSearch agrees with Rust about them, but for a few marks."""
    for code in range(1, 0x30000):
        if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs") and code not in NEWER:
            yield chr(code)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_makes_an_index(opensearch: Cluster, index_prefix: str, language: str) -> None:
    opensearch.ask("PUT", index_prefix + language, index_body(dims=4, embedder="m", language=language, engine="lucene"))
    assert terms(opensearch, index_prefix + language, "rag_query", "2025 2025 1,000") == ["2025", "1", "000"]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_makes_an_index(opensearch: Cluster, index_prefix: str, size: str) -> None:
    # No vector is written: the test servers lack the native libraries that faiss needs for one.
    opensearch.ask("PUT", index_prefix + size, index_body(dims=4, embedder="m", size=size))
    answer = opensearch.ask("GET", f"{index_prefix}{size}/_settings")[index_prefix + size]["settings"]["index"]
    assert answer["number_of_shards"] == str(SIZES[size].shards)
    assert answer["refresh_interval"] == SIZES[size].refresh_interval


@pytest.mark.parametrize("technique", ["min_max", "l2", "rrf"])
def test_pipelines_are_accepted(opensearch: Cluster, index_prefix: str, technique: str) -> None:
    opensearch.ask("PUT", f"_search/pipeline/{index_prefix}{technique}", search_pipeline(technique, [0.54, 1 - 0.54]))  # type: ignore[arg-type] # as above


def test_every_character_separates_or_joins_as_in_the_embedded_engine(analyse: Analyse) -> None:
    characters = list(blocks())
    for start in range(0, len(characters), 3000):
        text = segment_document(" ".join(f"z{character}y" for character in characters[start : start + 3000]))
        assert analyse("rag_body", text) == analyzer().analyze(text)


ALPHABET = "abcdefgs ABC'’.,-_019éüßøİΣς\u00a0\u2003\u200b\t\n\x00½⑴ﬁ٣あ京都한글ไทยहिन्दीабвعرب🙂🇩🇪\U0001d400<>&\"\\"
TEXTS = st.text(alphabet=st.sampled_from(ALPHABET), max_size=200) | st.text(st.characters(max_codepoint=0x24F, exclude_categories=("Cs", "Cn")), max_size=200)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
@example("x" * 254 + " " + "y" * 255 + " " + "z" * 300)
@example("O'Neill's 3.14 + 1,000,000 e-mail foo_bar C++ café CAFÉ naïve Straße İstanbul")
@example("universities organised emergency added internally pathologists pasted skies dying")
def test_texts_become_the_terms_of_the_embedded_engine(analyse: Analyse, text: str) -> None:
    prepared = segment_document(text)
    assert analyse("rag_body", prepared) == analyzer().analyze(prepared)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_a_question_counts_each_word_once_in_order(analyse: Analyse, text: str) -> None:
    prepared = segment_query(text)
    assert analyse("rag_query", prepared) == list(dict.fromkeys(analyzer().analyze(prepared)))


def test_words_of_real_documents_have_the_stems_of_the_embedded_engine(analyse: Analyse, shared_data: Path) -> None:
    corpus = (shared_data / "cranfield" / "corpus.jsonl").read_text()
    words = sorted({word for word in corpus.lower().split() if word.isalpha()})
    assert len(words) > 3000
    for start in range(0, len(words), 3000):
        text = " ".join(words[start : start + 3000])
        assert analyse("rag_body", text) == analyzer().analyze(text)


def test_a_long_question_fits_the_clauses_of_the_server(opensearch: Cluster, index_prefix: str) -> None:
    index = index_prefix + "long"
    opensearch.ask("PUT", index, index_body(dims=4, embedder="m"))
    text = " ".join(f"w{number}" for number in range(5000))
    assert len(terms(opensearch, index, "rag_query", text)) == QUERY_TERMS
    query = {"bool": {"must": [{"match": {"body": text}}], "should": [{"match": {"context": text}}], "filter": [{"term": {"facets": "x"}}] * 64}}
    assert opensearch.ask("POST", f"{index}/_search", {"query": query})["_shards"]["failed"] == 0


def test_written_text_keeps_phrases_of_scripts_without_spaces(opensearch: Cluster, index_prefix: str) -> None:
    index = index_prefix + "phrases"
    opensearch.ask("PUT", index, index_body(dims=4, embedder="m"))
    opensearch.ask("PUT", f"{index}/_doc/1?refresh=true", {"text": "東京都の水道料金は、12月に変わります。 Water rates change."})
    for phrase, found in (("水道料金", 1), ("道水", 0), ("12月に変わ", 1), ("rates changed", 1), ("change rates", 0)):
        assert opensearch.ask("POST", f"{index}/_count", {"query": {"match_phrase": {"text": phrase}}})["count"] == found, phrase


PAIRS = {
    "arabic": ("كتاب", "الكتاب"),
    "armenian": ("քաղաք", "քաղաքներ"),
    "basque": ("etxe", "etxeak"),
    "bengali": ("বই", "বইগুলো"),
    "brazilian": ("carro", "carros"),
    "bulgarian": ("град", "градът"),
    "catalan": ("persona", "persones"),
    "czech": ("hrad", "hradem"),
    "danish": ("hus", "husene"),
    "dutch": ("boek", "boeken"),
    "english": ("meter", "meters"),
    "estonian": ("raamat", "raamatud"),
    "finnish": ("talo", "talossa"),
    "french": ("maison", "maisons"),
    "galician": ("casa", "casas"),
    "german": ("Haus", "Häuser"),
    "greek": ("δρόμος", "δρόμου"),
    "hindi": ("किताब", "किताबें"),
    "hungarian": ("ház", "házak"),
    "indonesian": ("buku", "bukunya"),
    "irish": ("fear", "fhear"),
    "italian": ("prodotto", "prodotti"),
    "latvian": ("galds", "galdi"),
    "lithuanian": ("namas", "namai"),
    "nepali": ("किताब", "किताबहरू"),
    "norwegian": ("hus", "husene"),
    "nynorsk": ("hus", "husa"),
    "persian": ("کتاب", "کتاب‌ها"),
    "portuguese": ("livro", "livros"),
    "romanian": ("carte", "cărți"),
    "russian": ("книга", "книги"),
    "serbian": ("књига", "књиге"),
    "sorani": ("کتێب", "کتێبەکان"),
    "spanish": ("libro", "libros"),
    "swedish": ("hus", "husen"),
    "tamil": ("புத்தகம்", "புத்தகங்கள்"),
    "turkish": ("kitap", "kitaplar"),
    "yiddish": ("קינד", "קינדער"),
}
"""A word and another form of it, which a question may use."""


@pytest.mark.parametrize("language", PAIRS)
def test_forms_of_a_word_find_each_other(opensearch: Cluster, index_prefix: str, language: str) -> None:
    index = index_prefix + language
    opensearch.ask("PUT", index, index_body(dims=4, embedder="m", language=language))
    one, other = (terms(opensearch, index, "rag_body", segment_document(word)) for word in PAIRS[language])
    assert set(one) & set(other), (one, other)
