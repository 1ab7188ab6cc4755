"""What the model is told of the conversation so far: the turns that fit, and a summary of those that no longer do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.chat import ContextUse, Message, Turn, Usage
from ...errors import ModelError, ServiceUnavailableError
from ...infra.config import AgentCfg
from ...infra.persistence.turns import StoredTurns
from ...infra.providers.passages import new_fence
from ...infra.providers.protocol import ChatModel
from ...infra.resilience.deadline import check
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ..context.counting import LazyCounter, TokenCounter, clipped
from ..context.history import SUMMARY_AROUND, History, Summary, fitted, messages_of_turns, pieces_of, summary_of, summary_size
from ..context.window import plan_fold
from ..prompts import SUMMARY, Prompts
from ..state import AgentState, earlier_turns

log = get_logger(__name__)

READ = 8
"""A summary is written from at most this many times ``history_tokens``; longer conversations give their newest turns."""
WORDS_PER_TOKEN = 0.6
"""Words that the model is asked for, for each token that the summary may have: English takes 1.3 tokens a word, German 1.7."""


async def recall(state: AgentState, *, chat: ChatModel, counter: LazyCounter, cfg: AgentCfg, prompts: Prompts) -> AgentState:
    """Choose the earlier turns by ``[agent] history_strategy``. A model that only quotes is sent none of them: its follow-ups are made whole by rules."""
    turns = StoredTurns(earlier_turns(state))
    if chat.extractive:
        return {"history": History(tuple(turns[-cfg.history_turns :] if cfg.history_turns else ()))}
    with stage("recall"):
        counts = await counter.ready()
        if cfg.history_strategy == "summarise" and state["request"].history is None:
            return await _Summarising(chat, counts, cfg, prompts).recall(state, turns)
        # A caller that tells the history keeps no summary for us, and would pay for one with every request.
        strategy = "sliding" if cfg.history_strategy == "summarise" else cfg.history_strategy
        chosen, kept = fitted(turns, counts, strategy=strategy, budget=cfg.history_tokens, most=cfg.history_turns)
        use = ContextUse(strategy, counts.exact, cfg.history_tokens, kept.tokens, len(chosen), dropped_turns=len(turns) - len(chosen))
        return {"history": History(chosen, use=use)}


@dataclass(frozen=True, slots=True)
class _Summarising:
    """The strategy that keeps a summary."""

    chat: ChatModel
    counter: TokenCounter
    cfg: AgentCfg
    prompts: Prompts

    async def recall(self, state: AgentState, turns: Sequence[Turn]) -> AgentState:
        """Bring the summary up to date, if turns have to go into it, and take what then fits. At most one call of the model."""
        known = summary_of(state.get("summary"), turns)
        covered = known.turns if known else 0
        # Those that the summary holds are asked for no more: their sizes count for nothing.
        sizes = [0] * covered + [sum(piece.tokens for piece in pieces_of(messages_of_turns([turn]), self.counter)) for turn in turns[covered:]]
        fold = plan_fold(sizes, covered=covered, budget=self.cfg.history_tokens, summary=self.cfg.summary_tokens)
        if not fold.needed:
            return {"history": self._taken(known, turns)}
        try:
            summary, usage = await self._written(known, turns[covered : fold.end], turns[fold.end - 1].message_id, fold.end)
        except (ModelError, ServiceUnavailableError) as error:
            check()  # the request's own time is up: nothing is left to fall back for
            log.warning("the conversation was not summarised; its oldest turns are left out", error=error.code, hop=error.hop)
            reason = f"summarising the conversation failed ({error.code}): its oldest turns were left out"
            return {"history": self._taken(known, turns), "degraded": (*state.get("degraded", ()), reason)}
        return {"history": self._taken(summary, turns), "summary": summary.to_dict(), "usage": state.get("usage", Usage()) + usage}

    def _taken(self, summary: Summary | None, turns: Sequence[Turn]) -> History:
        text = summary.text if summary else ""
        size, covered = summary_size(text, self.counter), summary.turns if summary else 0
        if size > self.cfg.history_tokens:  # the setting has come down since
            text, size, covered = "", 0, 0
        budget = self.cfg.history_tokens
        chosen, kept = fitted(turns[covered:], self.counter, strategy="summarise", budget=budget - size, most=0)
        use = ContextUse("summarise", self.counter.exact, budget, kept.tokens + size, len(chosen), covered, len(turns) - covered - len(chosen), size)
        return History(chosen, text, use)

    async def _written(self, known: Summary | None, turns: Sequence[Turn], through: str, number: int) -> tuple[Summary, Usage]:
        """The summary so far and these turns in one; cut to ``summary_tokens`` where the model wrote more."""
        read, kept = fitted(turns, self.counter, strategy="summarise", budget=READ * self.cfg.history_tokens, most=0)
        if kept.dropped_turns:
            log.warning("turns too long to be summarised were left out", turns=kept.dropped_turns)
        room = self.cfg.summary_tokens - SUMMARY_AROUND
        fence = new_fence()
        parts = [f"<<summary {fence}>>\n{known.text}\n<<end summary {fence}>>"] if known else []
        lines = "\n".join(f"{'User' if message.role == 'user' else 'Assistant'}: {message.content}" for message in messages_of_turns(read))
        parts.append(f"<<turns {fence}>>\n{lines}\n<<end turns {fence}>>")
        system = self.prompts.text(SUMMARY, fence=fence, words=str(max(20, int(room * WORDS_PER_TOKEN))))
        result = await self.chat.generate([Message("system", system), Message("user", "\n\n".join(parts))])
        text = clipped(" ".join(result.content.split()).replace(fence, ""), room, self.counter)
        if not text:
            raise ModelError("The model gave no summary.", setting="chat.model")
        return Summary(text, through, number, summary_size(text, self.counter)), result.usage
