"""Answers cut into sentences, and their marks checked and numbered."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.agent.citing import CitationChecker
from src.agent.sentences import SentenceStream, marks_of
from src.core.retrieval import Passage
from src.core.search import Hit
from src.infra.providers.passages import NO_ANSWER


def passage(n: int, text: str, title: str = "Handbook") -> Passage:
    return Passage(n, Hit(f"c{n}", f"d{n}", title, text, f"/{n}", 0.5, {}, page=n, section="S"))


LEAVE = passage(1, "Employees have 26 days of leave. Unused leave is not paid out.")
GATE = passage(2, "The gate closes at 5 p.m. each day.\nVisitors sign in at the desk.")


def test_marks_after_a_full_stop_belong_to_the_sentence_before() -> None:
    stream = SentenceStream()
    text = "Due in 14 days. [1][2] Paid by card. [3, 4]\n- one item [5]\n\nThe end"
    found = [sentence for character in text for sentence in stream.feed(character)] + stream.flush()
    assert found == ["Due in 14 days. [1][2]", " Paid by card. [3, 4]", "\n- one item [5]", "\n\nThe end"]
    assert marks_of(found[1]) == (" Paid by card.", (3, 4))


ANSWERS = st.lists(
    st.sampled_from(
        ["Due in 14 days.", "Paid by card", " [1]", "[2, 3]", " ", "\n", "\n- ", "e.g. this", "Who? ", "[", "]", "x", "。", "1.", "【1】", "[^1]", "\n[2] "]
    ),
    max_size=12,
)


@given(ANSWERS, st.integers(1, 7))
def test_the_pieces_of_an_answer_join_to_it_again_however_it_arrives(parts: list[str], size: int) -> None:
    text = "".join(parts)
    stream = SentenceStream()
    found = [sentence for start in range(0, len(text), size) for sentence in stream.feed(text[start : start + size])] + stream.flush()
    assert "".join(found).strip() == text.strip()
    assert all(sentence.strip() for sentence in found)


class Looking(SentenceStream):
    """Looks for ends in all of its text with every piece."""

    def feed(self, piece: str) -> list[str]:
        self._may_end = True
        return super().feed(piece)


@given(ANSWERS, st.integers(1, 7))
def test_pieces_in_which_no_sentence_can_end_change_nothing(parts: list[str], size: int) -> None:
    text = "".join(parts)
    stream, looking = SentenceStream(), Looking()
    for start in range(0, len(text), size):
        assert stream.feed(text[start : start + size]) == looking.feed(text[start : start + size])
    assert stream.flush() == looking.flush()


@pytest.mark.parametrize(
    ("mark", "numbers"),
    [
        ("[1-3]", (1, 2, 3)),
        ("[1–2]", (1, 2)),
        ("[1 to 2]", (1, 2)),
        ("【1】", (1,)),
        ("【1†source】", (1,)),
        ("[passage 1]", (1,)),
        ("[Source 1; Source 2]", (1, 2)),
        ("[^1]", (1,)),
        ("[1], [2]", (1, 2)),
        ("[1] and [2]", (1, 2)),
        ("[12345]", ()),
        ("[2-1]", (2, 1)),
        ("[1-9999]", (1, 9999)),
        (f"[{'9' * 5000}]", ()),
    ],
)
def test_marks_in_any_common_form_are_marks_and_no_numbers_of_the_claim(mark: str, numbers: tuple[int, ...]) -> None:
    for said in (f"Employees have 26 days of leave {mark}.", f"Employees have 26 days of leave. {mark}"):
        assert marks_of(said) == ("Employees have 26 days of leave.", numbers)
        assert CitationChecker([LEAVE, GATE]).check(said) == "Employees have 26 days of leave [1]."


def test_brackets_of_the_documents_own_text_stay_in_a_quote() -> None:
    text = "Line with **marks** [1] [2] and more.\n\nThe study says so [2].\n\n[1] Smith, On meters, 2020."
    checker = CitationChecker([passage(3, text)])
    assert checker.check("Line with marks [1] [2] and more [3].") == "Line with marks [1] [2] and more [1]."
    assert checker.check("The study says so [2] [3].") == "The study says so [2] [2]."
    assert checker.check("\n[1] Smith, On meters, 2020 [3].") == "\n[1] Smith, On meters, 2020 [3]."
    assert checker.check("Line with marks and more [1] [3].") == "Line with marks and more [1]."
    assert [citation.quote for citation in checker.citations] == [
        "Line with **marks** [1] [2] and more.",
        "The study says so [2].",
        "[1] Smith, On meters, 2020.",
    ]


def test_an_entry_of_a_list_of_references_keeps_its_number() -> None:
    stream = SentenceStream()
    text = "The study says so [3].\n[1] Smith, On meters, 2020 [3].\n[2]"
    found = [sentence for character in text for sentence in stream.feed(character)] + stream.flush()
    assert found == ["The study says so [3].", "\n[1] Smith, On meters, 2020 [3].\n[2]"]


def test_a_colon_before_the_mark_is_not_followed_by_a_full_stop() -> None:
    checker = CitationChecker([passage(1, "Visitors bring the following:\n- a badge")])
    assert checker.check("Visitors bring the following: [1].") == "Visitors bring the following: [1]."
    assert checker.check("Visitors bring the following [1]:") == "Visitors bring the following: [1]"


def test_the_sentinel_counts_only_where_the_reply_begins_with_it() -> None:
    told = passage(1, f"Our machine says {NO_ANSWER} when it knows nothing.\n\n{NO_ANSWER}\n\n{LEAVE.hit.text}")
    quote = f"Our machine says {NO_ANSWER} when it knows nothing [1]."
    leave = "Employees have 26 days of leave [1]."
    assert CitationChecker([told]).check(quote) == quote
    assert CitationChecker([told]).check(f"{NO_ANSWER} [1].") == f"{NO_ANSWER} [1]."
    for first in (NO_ANSWER, f"**{NO_ANSWER}**.", f"{NO_ANSWER}\nThe passages do not say."):
        checker = CitationChecker([told])
        assert [checker.check(first), checker.check(leave), checker.dropped] == [None, None, 0]
    checker = CitationChecker([told])
    assert [checker.check(leave), checker.check(NO_ANSWER), checker.check(leave), checker.dropped] == [leave, None, leave, 0]
    assert CitationChecker([LEAVE], strict=False).check(f"{NO_ANSWER}, as they tell of the moon.") is None


def test_a_row_of_figures_without_its_head_is_left_out() -> None:
    checker = CitationChecker([passage(1, "| Day | Night |\n|---|---|\n| 1 | 2 |")])
    assert checker.check("| 1 | 2 | [1]") is None
    assert checker.dropped == 1


def test_citations_are_numbered_by_first_use_and_a_quote_has_one_number() -> None:
    checker = CitationChecker([LEAVE, GATE])
    said = [
        checker.check("The gate closes at 5 p.m. each day. [2]"),
        checker.check(" Employees have 26 days of leave [1]."),
        checker.check(" The gate closes at 17:00 [2]."),
        checker.check(" Leave that is unused isn't paid out [1]."),
    ]
    assert said == [
        "The gate closes at 5 p.m. each day [1].",
        " Employees have 26 days of leave [2].",
        " The gate closes at 17:00 [1].",
        " Leave that is unused isn't paid out [3].",
    ]
    assert [(c.n, c.chunk_id, c.quote) for c in checker.citations] == [
        (1, "c2", "The gate closes at 5 p.m. each day."),
        (2, "c1", "Employees have 26 days of leave."),
        (3, "c1", "Unused leave is not paid out."),
    ]


def test_a_claim_that_needs_both_of_its_passages_keeps_both_marks() -> None:
    checker = CitationChecker([LEAVE, GATE])
    assert (
        checker.check("Employees have 26 days of leave and the gate closes at 5 p.m. [1][2]")
        == "Employees have 26 days of leave and the gate closes at 5 p.m [1][2]."
    )


def test_what_is_left_out_is_counted_unless_it_says_nothing() -> None:
    checker = CitationChecker([LEAVE, GATE])
    assert checker.check("Employees have 62 days of leave [1].") is None
    assert checker.check("Here it is:") is None
    assert checker.check("[7]") is None
    assert checker.dropped == 1
    assert checker.citations == ()


def test_without_verification_the_models_marks_are_believed_but_numbers_of_no_passage_go() -> None:
    checker = CitationChecker([LEAVE, GATE], strict=False)
    assert checker.check("Employees have 62 days of leave [1][9].") == "Employees have 62 days of leave [1]."
    assert checker.check("The moon is cheese [9].") == "The moon is cheese."
    assert checker.dropped == 0


@given(st.lists(st.text(max_size=60), max_size=8))
def test_every_quote_is_verbatim_and_every_mark_has_its_citation(sentences: list[str]) -> None:
    checker = CitationChecker([LEAVE, GATE])
    kept = [text for sentence in [*sentences, "Employees have 26 days of leave."] if (text := checker.check(sentence)) is not None]
    numbers = {int(n) for text in kept for n in re.findall(r"\[(\d+)\](?=[^\[\]]*$|\[)", text)}
    for citation in checker.citations:
        assert any(citation.quote in p.hit.text for p in (LEAVE, GATE))
    assert {citation.n for citation in checker.citations} >= {n for n in numbers if n <= len(checker.citations)}
    assert [citation.n for citation in checker.citations] == list(range(1, len(checker.citations) + 1))
