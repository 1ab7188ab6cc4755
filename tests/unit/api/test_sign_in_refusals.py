"""Refused sign-ins in the audit trail: recorded, and bounded however many knock."""

from __future__ import annotations

from src.api.recording import PER_SECOND, SignInRefusals
from src.errors import AuditError, AuthenticationError, ServiceUnavailableError
from src.telemetry.audit import AuditEvent

SCOPE = {"type": "http", "method": "POST", "client": ("10.1.2.3", 5), "path": "/v1/secret-in-a-path"}
WRONG = AuthenticationError("The bearer token is not known.")


class Kept:
    """A trail that keeps events, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.events: list[AuditEvent] = []
        self.fails = fails

    async def record(self, event: AuditEvent) -> None:
        if self.fails:
            raise AuditError("full")
        self.events.append(event)


async def test_a_flood_is_counted_and_the_next_record_says_how_many() -> None:
    now, trail = 0.0, Kept()
    refused = SignInRefusals(lambda: trail, clock=lambda: now)
    for _ in range(1000):
        await refused(SCOPE, WRONG)
    assert len(trail.events) == PER_SECOND
    now = 1.0
    await refused(SCOPE, WRONG)
    assert trail.events[-1].facts["not_recorded"] == 1000 - PER_SECOND
    assert (trail.events[0].outcome, trail.events[0].reason, trail.events[0].facts["client"]) == ("refused", "unauthenticated", "10.1.2.3")
    assert "secret-in-a-path" not in repr(trail.events)


async def test_the_caller_hears_of_no_failing_trail_and_an_outage_is_no_refusal() -> None:
    await SignInRefusals(lambda: Kept(fails=True))(SCOPE, WRONG)
    trail = Kept()
    await SignInRefusals(lambda: trail)(SCOPE, ServiceUnavailableError("Nobody can sign in at present."))
    assert trail.events == []
