"""`rag doctor` in a whole company's network (tests/emulators/company.py), as it should be and broken in each way that it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.infra.doctor import diagnose
from src.infra.settings import load_settings
from tests.emulators.breaks import BREAKS
from tests.emulators.company import Company
from tests.integration.doctor.checks import text_of

SECRETS = ("p@ss:word/ü", "identity-password", "client-password")


async def test_a_company_s_network_as_it_should_be_is_good(tmp_path: Path) -> None:
    with Company(tmp_path).running() as company:
        report = await diagnose(load_settings([company.folder / "config.ini"], {"storage.path": str(tmp_path / "data")}, environ={}))
    assert report.ok, text_of(report)
    assert not [secret for secret in SECRETS if secret in text_of(report)]


@pytest.mark.parametrize("broken", BREAKS)
async def test_a_broken_one_is_told_with_the_code_and_setting_that_the_product_s_error_has(broken: str, tmp_path: Path) -> None:
    with Company(tmp_path, broken).running() as company:
        report = await diagnose(
            load_settings([company.folder / "config.ini"], {"storage.path": str(tmp_path / "data")}, environ={}), timeout_s=4 if broken == "slow" else 30
        )
    told = {(step.finding.code, step.finding.setting) for hop in report.hops for step in hop.steps if step.status == "failed"}
    assert told == {(BREAKS[broken].code, BREAKS[broken].setting)}, text_of(report)
    assert not [secret for secret in SECRETS if secret in text_of(report)]
