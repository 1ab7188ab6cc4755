"""The check of support: what follows from a passage and what was swapped in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.agent.quantities import quantities
from src.agent.support import check_support
from src.util.sentences import split_sentences

PASSAGE = (
    "Full-time employees of Northmoor have 26 days of annual leave, in addition to public holidays. The entitlement rises to"
    " 28 days after five years of service. Leave is not paid out in money, unless the contract ends. Smoking is prohibited in"
    " Building F-204. Requests above £1,000 go to Alice Grant; the Westhaven office cannot approve them. The gate closes at 5 p.m."
    " on 1 March 2025. About 12.5% of calls are never answered."
)

FOLLOWS = [
    "Full-time employees of Northmoor have 26 days of annual leave, in addition to public holidays.",
    "Northmoor employees get twenty-six days of annual leave.",
    "After five years of service, the entitlement rises to 28 days.",
    "After 5 years of service the entitlement is 28 days.",
    "Leave isn't paid out in money unless the contract ends.",
    "In Building F-204, smoking is not allowed.",
    "Requests above 1000 pounds go to Alice Grant.",
    "Requests above £1000 go to Alice Grant, because the Westhaven office can't approve them.",
    "The gate closes at 17:00 on March 1, 2025.",
    "12.5 percent of calls are never answered.",
    "The gate closes at 5 pm.",
]
DOES_NOT = [
    ("Full-time employees of Northmoor have 36 days of annual leave.", "number"),
    ("Full-time employees of Southmoor have 26 days of annual leave.", "name"),
    ("The entitlement rises to 28 days after six years of service.", "number"),
    ("The entitlement rises to twenty days after five years of service.", "number"),
    ("Leave is paid out in money, unless the contract ends.", "negation"),
    ("Leave is not paid out in money, if the contract ends.", "negation"),
    ("Smoking is allowed in Building F-204.", "negation"),
    ("Smoking is not prohibited in Building F-204.", "negation"),
    ("Smoking is prohibited in Building F-205.", "name"),
    ("Requests above £10,000 go to Alice Grant.", "number"),
    ("Requests above £1,000 go to Bob Grant.", "name"),
    ("The Westhaven office can approve requests above £1,000.", "negation"),
    ("The gate closes at 5 a.m. on 1 March 2025.", "number"),
    ("The gate closes at 5 p.m. on 1 April 2025.", "number"),
    ("About 12.5% of calls are always answered.", "negation"),
    ("About 12.5 million of calls are never answered.", "number"),
    ("The canteen serves vegetarian food every working day.", "coverage"),
    ("So that is it.", "empty"),
]


@pytest.mark.parametrize("claim", FOLLOWS)
def test_what_follows_is_supported(claim: str) -> None:
    assert check_support(claim, PASSAGE).reasons == ()


@pytest.mark.parametrize(("claim", "reason"), DOES_NOT)
def test_what_was_swapped_is_caught_for_its_reason(claim: str, reason: str) -> None:
    verdict = check_support(claim, PASSAGE)
    assert not verdict.supported
    assert reason in verdict.reasons


def test_names_of_the_heading_count() -> None:
    assert check_support("Northmoor's gate closes at 5 p.m.", "The gate closes at 5 p.m.", "Northmoor Ltd").supported
    assert not check_support("Southmoor's gate closes at 5 p.m.", "The gate closes at 5 p.m.", "Northmoor Ltd").supported


def test_the_span_is_the_sentence_that_was_used() -> None:
    start, end = check_support("The entitlement rises to 28 days after five years.", PASSAGE).span
    assert PASSAGE[start:end] == "The entitlement rises to 28 days after five years of service."


def test_a_claim_may_draw_two_sentences_together() -> None:
    claim = "Employees have 26 days of annual leave, which rises to 28 days after five years of service."
    assert check_support(claim, PASSAGE).supported


@given(st.text(min_size=1, max_size=300))
def test_every_sentence_of_a_text_is_supported_by_the_text(text: str) -> None:
    for sentence in split_sentences(text):
        verdict = check_support(sentence, text)
        assert verdict.supported or verdict.reasons == ("empty",)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_get_a_verdict_and_a_span_inside_the_passage(claim: str, passage: str) -> None:
    verdict = check_support(claim, passage)
    assert 0 <= verdict.span[0] <= verdict.span[1] <= len(passage)
    assert 0 <= verdict.coverage <= 1.0001
    assert verdict.supported == (not verdict.reasons)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,000 or 1000 or one thousand", ["1000"] * 3),
        ("5% or five percent", ["5", "5"]),
        ("one hundred and fifty-five", ["155"]),
        ("$1.2bn and $81,797 million", ["1200000000", "81797000000"]),
        ("5 p.m., 17:00, 5pm", ["1020"] * 3),
        ("2024-03-01", ["2024", "3", "1"]),
        ("form F-204, version v2.1, COVID-19", []),
        ("30-day, 5kg, 5-10", ["30", "5", "5", "10"]),
    ],
)
def test_numbers_are_read_in_every_spelling(text: str, expected: list[str]) -> None:
    assert [quantity.value for quantity in quantities(text)] == expected
