"""The tools that `[agent] tools` allows, and the one door to them: whatever a model asks for, it gets an answer, never an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...core.chat import ToolCall, ToolSpec
from ...errors import DeadlineExceededError, InputError, RagError
from ...infra.resilience.deadline import remaining
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ...util.registry import Registry
from .protocol import Outcome, Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from ...infra.resource_manager import ResourceManager

log = get_logger(__name__)

ToolFactory = Callable[["ResourceManager"], Tool]
TOOLS: Registry[ToolFactory] = Registry("tool", "founders_rag.tools")
"""All tools that there are, allowed or not. A package announces its own as an entry point, or registers it here."""
MAX_CALLS = 4
"""Calls of one reply that are run; the others are told to come later."""
MAX_RESULT_CHARS_PER_TOKEN = 4
"""Characters of a text for each token of `[agent] tool_result_tokens`."""


class Toolbox:
    """The allowed tools.

    Args:
        tools: those, and no others.
        result_tokens: of one result, what the model gets to read.
        timeout_s: what one call may take.
    """

    def __init__(self, tools: Sequence[Tool], *, result_tokens: int, timeout_s: float) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._timeout_s = timeout_s
        self._max_chars = MAX_RESULT_CHARS_PER_TOKEN * result_tokens
        self.result_tokens = result_tokens
        self.specs = tuple(ToolSpec(tool.name, tool.description, schema_of(tool.arguments)) for tool in self._tools.values())

    async def run(self, calls: Sequence[ToolCall], context: ToolContext) -> list[Outcome]:
        """Run the calls of one reply, at once, each in a task of its own; outcomes in order.

        Raises:
            DeadlineExceededError: the time of the whole request is over.
        """
        tasks = [asyncio.create_task(self._run(call, context)) for call in calls[:MAX_CALLS]]
        try:
            ran = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        late = [refused(call, f"Only {MAX_CALLS} calls of one reply are run; call again.") for call in calls[MAX_CALLS:]]
        return [*ran, *late]

    async def _run(self, call: ToolCall, context: ToolContext) -> Outcome:
        tool = self._tools.get(call.name)
        if tool is None:
            log.warning("the model called a tool that is not allowed", tool=call.name[:100], setting="agent.tools")
            return refused(call, f"There is no tool {call.name[:100]!a}. There are: {', '.join(self._tools)}.")
        arguments = parsed(tool.arguments, call.arguments)
        if isinstance(arguments, str):
            return refused(call, arguments)
        with stage("tool", tool=tool.name):
            return await self._finished(call, tool, arguments, context)

    async def _finished(self, call: ToolCall, tool: Tool, arguments: BaseModel, context: ToolContext) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                result = await tool.run(arguments, context)
            return Outcome(call, ToolResult(self._bounded(result.text), result.hits, result.degraded))
        except InputError as error:
            return refused(call, error.message)
        except TimeoutError:
            return failed(call, "deadline, agent.tool_timeout_s" if limit.expired() else "timeout")
        except RagError as error:
            if isinstance(error, DeadlineExceededError) and remaining() == 0:
                raise
            log.warning("a tool failed", tool=tool.name, error=error.code, hop=error.hop)
            return failed(call, error.code)
        except Exception as error:  # a tool may be anybody's; the model is told, the log has the rest
            log.error("a tool failed", tool=tool.name, error=type(error).__name__, exc_info=error)
            return failed(call, "internal")

    def _bounded(self, text: str) -> str:
        if len(text) <= self._max_chars:
            return text
        return f"{text[: self._max_chars]}\n[cut here: the first {self._max_chars} of {len(text)} characters]"


def refused(call: ToolCall, why: str) -> Outcome:
    """The model's own mistake: it is told, and the answer is none the less whole."""
    return Outcome(call, ToolResult(f"Error: {why}"), failed=True)


def failed(call: ToolCall, why: str) -> Outcome:
    """Not the model's mistake: the answer says so too."""
    return Outcome(call, ToolResult(f"Error: the tool failed ({why}).", degraded=(f"the tool {call.name} failed ({why})",)), failed=True)


def parsed(shape: type[BaseModel], text: str) -> BaseModel | str:
    """The arguments that a model wrote, or what is wrong with them, without repeating them."""
    from pydantic import ValidationError

    try:
        return shape.model_validate_json(text or "{}")
    except ValidationError as error:
        return f"The arguments do not fit: {_problems(error)}."
    except (ValueError, RecursionError):
        return "The arguments are no JSON."


def schema_of(shape: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of the arguments, without the titles that pydantic adds for people."""
    schema = shape.model_json_schema()
    properties = {name: {key: value for key, value in field.items() if key != "title"} for name, field in schema.get("properties", {}).items()}
    kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
    return {**kept, "properties": properties}


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)[:5]
    return "; ".join(": ".join(part for part in (".".join(str(at)[:60] for at in problem["loc"]), problem["msg"][:200]) if part) for problem in problems)


def build_toolbox(resources: ResourceManager) -> Toolbox | None:
    """The tools of `[agent] tools`; None where it allows none.

    Raises:
        ConfigurationError: there is no such tool.
    """
    from . import shipped  # noqa: F401 - registers the tools that ship

    cfg = resources.settings.agent
    if not cfg.tools:
        return None
    tools = []
    for name in dict.fromkeys(cfg.tools):
        try:
            tools.append(TOOLS.get(name)(resources))
        except RagError as error:
            error.setting = error.setting or "agent.tools"
            raise
    return Toolbox(tools, result_tokens=cfg.tool_result_tokens, timeout_s=cfg.tool_timeout_s)
