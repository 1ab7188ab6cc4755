"""The statuses of components: no blip flaps, what stays is always told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from src.infra.health.hysteresis import SEVERITY, Rules, Standing, Status, observe

STATUSES: list[Status] = ["healthy", "degraded", "unhealthy"]
SEEN = st.lists(st.sampled_from([*STATUSES, "unknown"]), max_size=40)
RULES = st.builds(Rules, st.integers(1, 5), st.integers(1, 5))


def after(seen: list[Status], rules: Rules) -> list[Standing]:
    """The standing after each observation; time is their number."""
    standing, found = Standing(), []
    for at, one in enumerate(seen):
        standing = observe(standing, one, float(at), rules)
        found.append(standing)
    return found


@settings(max_examples=50)
@given(SEEN, RULES)
def test_a_status_changes_only_after_enough_observations_in_a_row_on_its_side(seen: list[Status], rules: Rules) -> None:
    standings = after(seen, rules)
    known = [one for one in seen if one != "unknown"]
    steps = [standing for at, standing in enumerate(standings) if seen[at] != "unknown"]
    for at in range(1, len(steps)):
        before, now = steps[at - 1], steps[at]
        if now.status == before.status:
            assert now.since == before.since
            continue
        worse = SEVERITY[now.status] > SEVERITY[before.status]
        needed = rules.failures if worse else rules.recoveries if before.proven else 1
        last = known[at + 1 - needed : at + 1]
        assert len(last) == needed
        assert all((SEVERITY[one] >= SEVERITY[now.status]) if worse else (SEVERITY[one] <= SEVERITY[now.status]) for one in last)


@settings(max_examples=50)
@given(SEEN, RULES, st.sampled_from(STATUSES))
def test_what_is_seen_often_enough_is_told_in_the_end(seen: list[Status], rules: Rules, steady: Status) -> None:
    standing = after([*seen, *[steady] * (2 * max(rules.failures, rules.recoveries))], rules)[-1]
    assert standing.status == steady


@settings(max_examples=50)
@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=8))
def test_one_blip_among_good_answers_never_shows(blips: list[Status]) -> None:
    seen: list[Status] = ["healthy"]
    for blip in blips:
        seen += [blip, "healthy"]
    assert {one.status for one in after(seen, Rules(2, 2))} == {"healthy"}


def test_one_lucky_answer_amid_an_outage_never_shows_and_a_start_is_no_outage() -> None:
    outage = after(["healthy", "unhealthy", "unhealthy", "healthy", "unhealthy", "healthy", "healthy"], Rules(2, 2))
    assert [one.status for one in outage] == ["healthy", "healthy", "unhealthy", "unhealthy", "unhealthy", "unhealthy", "healthy"]
    assert [one.since for one in outage] == [0, 0, 2, 2, 2, 2, 6]
    assert [one.status for one in after(["unhealthy", "healthy"], Rules(2, 2))] == ["unhealthy", "healthy"]


def test_nothing_known_says_nothing_for_or_against() -> None:
    assert [one.status for one in after(["unknown", "healthy", "unhealthy", "unknown", "unhealthy"], Rules(2, 2))] == [
        "unknown",
        "healthy",
        "healthy",
        "healthy",
        "unhealthy",
    ]
