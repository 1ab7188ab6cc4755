"""docs/doctor.md names the hops and steps that there are, in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from src.infra.doctor import certificates
from src.infra.doctor.handshake import Inspector
from src.infra.doctor.runner import TIMEOUT_S, steps_of
from src.infra.doctor.targets import Kind, targets_of
from src.infra.doctor.walk import Site
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings

EVERYTHING = {
    "chat.provider": "azure",
    "chat.api_base": "https://openai.bank.test",
    "chat.api_version": "2024-06-01",
    "azure.tenant_id": "t",
    "azure.client_id": "c",
    "azure.client_secret": "s",
    "search.host": "https://a.bank.test, https://b.bank.test",
    "rerank.provider": "tei",
    "rerank.api_base": "https://rerank.bank.test",
    "search.use_aws_auth": True,
    "network.proxy": "http://proxy.bank.test:1",
    "network.http_proxy": "http://other.bank.test:1",
    "telemetry.enabled": True,
    "telemetry.endpoint": "https://otel.bank.test",
    "persistence.backend": "postgres",
    "persistence.dsn": "postgresql://rag@db.bank.test/rag",
}


def page(root: Path) -> str:
    return (root / "docs" / "doctor.md").read_text(encoding="utf-8")


def rows(root: Path) -> dict[str, list[str]]:
    """Each hop of the table, and its steps."""
    table = page(root).split("## Hops and steps")[1].split("\n\n`proxy` is a step")[0]
    found = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            hops, _, steps = (cell.strip() for cell in line.strip("|").split("|"))
            for hop in re.findall(r"`([a-z0-9-]+)`", hops):
                found[hop] = re.findall(r"`([a-z]+)`", re.sub(r"\([^)]*\)", "", steps))
    return found


def test_the_table_lists_every_hop_with_its_steps(root: Path, tmp_path: Path) -> None:
    steps: dict[str, list[str]] = {}
    for values in (EVERYTHING, EVERYTHING | {"search.host": None, "embed.provider": "azure", "search.use_aws_auth": False}):
        (tmp_path / "a.ini").write_text("[secrets]\nvault = https://v.vault.bank.test\n[chat]\napi_key = ${vault:key}\n")
        settings = load_settings([tmp_path / "a.ini"], {key: value for key, value in values.items() if value is not None}, environ={})
        site = Site(settings, ResourceManager(settings), TIMEOUT_S, Inspector(settings.network))
        targets = targets_of(settings)
        steps |= {target.hop: [step.name for step in steps_of(site, target)] for target in targets}
        assert {target.kind for target in targets} <= set(get_args(Kind))
    assert rows(root) == steps


def test_the_numbers_are_those_of_the_code(root: Path) -> None:
    assert f"`--timeout` seconds ({TIMEOUT_S:g})" in page(root)
    assert f"ends within {certificates.SOON_DAYS} days" in page(root)
