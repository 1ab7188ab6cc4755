"""Settings and shorthands of the tests of `rag doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.infra.config import Settings
from src.infra.doctor import HopReport, Report, diagnose
from src.infra.settings import load_settings
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator


def settings_of(folder: Path, values: dict[str, Any]) -> Settings:
    """Settings as a program gives them, with a data folder of the test's own and nothing of this machine's environment."""
    return load_settings([], {"storage.path": str(folder / "data"), "cache.path": str(folder / "cache"), **values}, environ={})


def azure_values(azure: AzureOpenAIEmulator, **more: Any) -> dict[str, Any]:
    """Chat and embeddings on the emulator, under its key; keys of ``more`` are written with two underscores for the dot."""
    values = {
        "chat.provider": "azure",
        "chat.model": "gpt-4",
        "chat.api_base": azure.url,
        "chat.api_version": "2024-06-01",
        "embed.provider": "azure",
        "embed.model": "text-embedding-ada-002",
        "embed.dims": azure.dims,
        "azure_openai.api_key": KEY,
        "network.ca_bundle": str(azure.ca_file),
    }
    values |= {name.replace("__", "."): value for name, value in more.items()}
    return {name: value for name, value in values.items() if value is not None}


async def checked(settings: Settings, hop: str, *, timeout_s: float = 30.0) -> HopReport:
    """One hop's report."""
    return (await diagnose(settings, timeout_s=timeout_s, hops=[hop])).hop(hop)


def states(hop: HopReport) -> dict[str, str]:
    """Each step and its state, in order."""
    return {step.step: step.status for step in hop.steps}


def text_of(report: Report) -> str:
    """Everything that a report says."""
    from src.cli.doctor_view import hint_lines, lines
    from src.infra.doctor import as_json

    return "\n".join([str(as_json(report)), *lines(report), hint_lines(report), repr(report)])
