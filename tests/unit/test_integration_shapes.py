"""What answers read like for a model or a person, outside of the page."""

from __future__ import annotations

from src.core.chat import Answer, Approval, ApprovalCall
from src.integrations.shapes import answer_text


def test_an_answer_that_waits_for_a_decision_names_its_tools_its_thread_and_where_it_is_decided() -> None:
    calls = (ApprovalCall("send_mail", "{}"), ApprovalCall("send_mail", "{}"))
    text = answer_text(Answer("thread-1", "m", "", approval=Approval("approval-1", "thread-1", "2026-01-01T00:00:00Z", "Tell them?", calls)))
    assert "(send_mail)" in text
    assert "/v1/threads/thread-1/approvals/approval-1" in text
    assert "chat page" in text
