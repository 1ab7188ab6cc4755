"""How many tokens a model reads and writes in all."""

from __future__ import annotations

# As OpenAI's and Azure's pages of models gave them in 2026-11; the longest fitting beginning counts.
_WINDOWS = {
    "gpt-3.5-turbo": 16_385,
    "gpt-35-turbo": 16_385,
    "gpt-4": 8_192,
    "gpt-4-32k": 32_768,
    "gpt-4-turbo": 128_000,
    "gpt-4-1106": 128_000,
    "gpt-4-0125": 128_000,
    "gpt-4-vision": 128_000,
    "gpt-4o": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-4.5": 128_000,
    "gpt-5": 400_000,
    "gpt-oss": 131_072,
    "o1": 200_000,
    "o1-mini": 128_000,
    "o1-preview": 128_000,
    "o3": 200_000,
    "o4-mini": 200_000,
}


def known_window(model: str) -> int | None:
    """Tokens of a model that is known by name; None for others."""
    fitting = [name for name in _WINDOWS if model == name or model.startswith((f"{name}-", f"{name}_", f"{name}."))]
    return _WINDOWS[max(fitting, key=len)] if fitting else None


def input_room(context_window: int | None, model: str, max_output_tokens: int, *, exact: bool) -> int | None:
    """Tokens that a prompt may have; None where nobody knows.

    A window that is only known by the model's name is held to only where tokens are counted exactly: by the bound, a
    prompt that fits would seem not to.
    """
    window = context_window if context_window is not None else known_window(model) if exact else None
    return None if window is None else window - max_output_tokens
