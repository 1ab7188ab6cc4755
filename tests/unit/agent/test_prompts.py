"""Prompts are files; a folder's take the place of ours, and none of them can lose the fence around data."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.agent.prompts import ANSWER, CLARIFY, NAMES, Prompts
from src.errors import ConfigurationError


def test_every_prompt_is_a_file_of_its_version() -> None:
    folder = Path("src/agent/prompts")
    assert {path.stem for path in folder.glob("*.txt")} == set(NAMES)


def test_a_file_of_the_folder_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / f"{CLARIFY}.txt").write_text("Was ist mit „$words“ gemeint?\n", encoding="utf-8")
    prompts = Prompts(tmp_path)
    assert prompts.text(CLARIFY, words="es") == "Was ist mit „es“ gemeint?"
    assert prompts.text(ANSWER, fence="f00", sentinel="NONE") == Prompts().text(ANSWER, fence="f00", sentinel="NONE")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (ANSWER, "Answer as you like; $sentinel if you cannot.", r"answer.v2.txt does not use exactly the names"),
        (ANSWER, "$fence $sentinel $user", "does not use exactly the names"),
        (CLARIFY, "That is $5 for $words", "does not use exactly the names"),
        ("answer.v1", "$fence $sentinel", "none of this release's prompts"),
    ],
)
def test_a_file_that_would_lose_the_fence_or_is_not_ours_is_an_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as raised:
        Prompts(tmp_path).text(CLARIFY, words="it")
    assert raised.value.setting == "agent.prompts"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Prompts(tmp_path / "missing").text(CLARIFY, words="it")
