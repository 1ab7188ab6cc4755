"""The check of support: what follows from a passage and what was swapped in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.agent.compared import Source, Text
from src.agent.quantities import quantities
from src.agent.support import check_support, support_of
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


AROUND = "The office is open on weekdays for all visitors, whatever they come for. Parking costs extra: £5 a day, or £30 a month. "
SWAPPED = [
    ("The fee is £30.", "The fee is $30.", "number"),
    ("The fee is £30.", "The fee is 30 pence.", "number"),
    ("The fee is £30.", "The fee is 30 euros.", "number"),
    ("The default timeout is 3 days for 3D clouds.", "The default timeout is 3 years for 3D clouds.", "number"),
    ("Add 5 g of salt.", "Add 5 kg of salt.", "number"),
    ("The loan grew by 2 percentage points.", "The loan grew by 2 percent.", "number"),
    ("Report a leak within one hour.", "Report a leak within one day.", "number"),
    ("Revenue fell by 5 percent.", "Revenue rose by 5 percent.", "direction"),
    ("Sales of the shop decreased in March.", "Sales of the shop increased in March.", "direction"),
    ("The maximum is 5 bar.", "The minimum is 5 bar.", "direction"),
    ("Payments above £500 need approval.", "Payments below £500 need approval.", "direction"),
    ("Close the valve before opening the meter.", "Close the valve after opening the meter.", "direction"),
    ("Imports rose and exports fell last year.", "Imports fell and exports fell last year.", "direction"),
    ("The year ended with a gain of 5 million.", "The year ended with a loss of 5 million.", "direction"),
    ("It takes more than two days.", "It takes less than two days.", "direction"),
    ("It takes no more than two days.", "It takes more than two days.", "direction"),
    ("Staff must wear a badge.", "Staff may wear a badge.", "direction"),
    ("The discount is for pensioners only.", "The discount is for students only.", "direction"),
    ("Only pensioners get the discount.", "Only students get the discount.", "direction"),
]


@pytest.mark.parametrize("passage", ["{}", AROUND + "{} " + AROUND], ids=["alone", "among others"])
@pytest.mark.parametrize(("sentence", "claim", "reason"), SWAPPED)
def test_a_swapped_unit_or_direction_is_caught(sentence: str, claim: str, reason: str, passage: str) -> None:
    verdict = check_support(claim, passage.format(sentence))
    assert reason in verdict.reasons
    assert check_support(sentence, passage.format(sentence)).supported


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("The fee is £30.", "The fee is 30 GBP."),
        ("The fee is £30.", "The fee is 30 pounds."),
        ("The fee is £30.", "The fee is 30."),
        ("The sack weighs 5kg.", "The sack weighs five kilograms."),
        ("Calls cost 30p a day.", "Calls cost 30 pence a day."),
        ("Ask for a refund within a day.", "Ask for a refund within one day."),
        ("The fence is 5 m long.", "The fence is five metres long."),
        ("Revenue fell by 5 percent.", "Revenue decreased by 5%."),
        ("Wait no more than 5 minutes at the gate.", "Wait at most 5 minutes at the gate."),
        ("Prices did not rise before May.", "Before May, prices did not rise."),
        ("Staff must wear a badge.", "Staff have to wear a badge."),
        ("Discounts are only for pensioners.", "Discounts are for pensioners only."),
    ],
)
def test_the_same_unit_or_direction_in_other_words_is_supported(sentence: str, claim: str) -> None:
    assert check_support(claim, sentence).reasons == ()


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            "the price fee rose fell above below only must trillion thousand one five second % £ $ kg p.m. : . , - [ ] | 12:30 2024-02-30 May ٣ ² ½ ° C".split()
        ),
        st.integers(0, 10).map(str),
        st.integers(1, 5000).map(lambda length: "9" * length),
        st.text(max_size=8),
    ),
    max_size=12,
)


@given(PIECES, PIECES, st.sampled_from(["", " "]))
def test_no_text_makes_the_check_or_the_reading_of_numbers_fail(claim: list[str], passage: list[str], between: str) -> None:
    assert all(quantity.value for quantity in quantities(between.join(claim)))
    check_support(between.join(claim), between.join(passage), between.join(claim[:2]))


def test_numbers_of_any_length_compare_digit_by_digit() -> None:
    long = "9" * 400
    assert check_support(f"The code has the value {long} today.", f"Today, the code has the value {long}.").supported
    assert not check_support(f"The code has the value {long[:-1]}8 today.", f"Today, the code has the value {long}.").supported
    assert quantities("trillion " * 100_000)


def test_figures_alone_say_nothing() -> None:
    assert check_support("| 1 | 2 |", "| Day | Night |\n| 1 | 2 |").reasons == ("empty",)


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


@given(st.lists(st.sampled_from([*FOLLOWS, *PASSAGE.split(". "), "Leave is paid out in money.", "28 days"]), min_size=1, max_size=5))
def test_a_verdict_is_the_same_whatever_the_passage_was_held_against_before(claims: list[str]) -> None:
    source, other = Source(PASSAGE, "Leave"), Source(" ".join(claims), "Leave")
    for claim in claims:
        said = Text(claim)
        assert support_of(said, source) == check_support(claim, PASSAGE, "Leave")
        assert support_of(said, other) == check_support(claim, " ".join(claims), "Leave")


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
        ("0.50, 007, 5.0 kWh", ["0.5", "7", "5"]),
        ("5m people, 5 m, £5 m", ["5000000", "5", "5000000"]),
    ],
)
def test_numbers_are_read_in_every_spelling(text: str, expected: list[str]) -> None:
    assert [quantity.value for quantity in quantities(text)] == expected
