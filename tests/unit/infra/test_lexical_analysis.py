"""A document's text is analysed once; the index then takes its terms as they are."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from src.infra.search.embedded.analysis import analyzer, document_terms, query_terms, separator

TEXTS = st.text(max_size=200) | st.text(alphabet="aé ßﬁΩ½⑴\u00a0\u2003\u3000\x1c\x85İ京都。", max_size=80)


@given(TEXTS)
@example("x" * 300 + " running")
def test_the_index_sees_exactly_the_terms_of_the_analysis(text: str) -> None:
    terms = document_terms(text)
    assert separator().analyze(terms) == (terms.split(" ") if terms else [])


@given(st.lists(TEXTS, max_size=5))
def test_terms_of_joined_texts_are_those_of_each(texts: list[str]) -> None:
    joined = " ".join(document_terms(text) for text in texts)
    assert separator().analyze(joined) == [term for text in texts for term in separator().analyze(document_terms(text))]


@given(st.text(max_size=100).filter(str.isascii))
def test_plain_text_is_found_by_its_own_words(text: str) -> None:
    assert set(query_terms(text)) <= set(document_terms(text).split(" "))
    assert document_terms(text).split() == analyzer().analyze(text)
