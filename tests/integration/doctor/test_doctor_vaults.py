"""`rag doctor` where secrets lie in a vault: the vault is a hop, and no value is ever shown."""

from __future__ import annotations

from src.infra.doctor import diagnose
from tests.integration.doctor.checks import text_of
from tests.integration.test_secrets import NEW, OLD, Company, company

__all__ = ["company"]


async def test_a_vault_that_gives_its_secrets_is_a_good_hop_and_shows_none(company: Company) -> None:
    text = company.text().replace("client_secret = client-secret", "client_secret = client-secret\nallow_api_key_fallback = true")
    report = await diagnose(company.settings(text), hops=["vault"])
    assert report.hop("vault").status == "ok"
    assert report.hop("vault").message.startswith("chat.api_key: Azure Key Vault")
    assert company.vault.reads == ["openai-key"]
    assert OLD not in text_of(report)


async def test_a_secret_that_is_not_there_names_the_vault(company: Company) -> None:
    company.vault.secrets.clear()
    hop = (await diagnose(company.settings(), hops=["vault"])).hop("vault")
    assert (hop.status, hop.step, hop.setting) == ("failed", "secrets", "secrets.vault")
    assert hop.hint


async def test_a_connection_string_in_the_vault_is_read_by_its_own_steps_and_shown_nowhere(company: Company) -> None:
    company.vault.secrets["dsn"] = f"postgresql://rag:{NEW}@localhost:1/rag"
    settings = company.settings(company.text() + "[persistence]\nbackend = postgres\ndsn = ${vault:dsn}\n")
    report = await diagnose(settings, hops=["postgres", "vault"])
    hop = report.hop("postgres")
    assert (hop.status, hop.step, hop.setting) == ("failed", "service", "persistence.dsn")
    assert NEW not in text_of(report)
