"""Answers about real PDFs: every quote stands verbatim on the page that its citation names."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest

from src.core.chat import ChatRequest
from src.core.identity import EVERYONE
from src.infra.config import AgentCfg, CacheCfg, Settings, StorageCfg
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.local_files import discover
from tests.integration.agent_parts import ME

CASES = {
    "contoso-hr/files/employee_handbook.pdf": [
        "What does the company do about workplace violence?",
        "How often do performance reviews take place?",
        "Who should employees tell about a data breach?",
    ],
    "kgrag-sec10q/files/2022 Q3 AAPL.pdf": [
        "What were Apple's total net sales?",
        "What is said about supply constraints and COVID-19?",
        "How many shares were repurchased?",
    ],
}


@pytest.mark.parametrize("name", CASES)
async def test_quotes_stand_verbatim_on_the_cited_page(shared_data: Path, tmp_path: Path, model_cache: Path, name: str) -> None:
    path = shared_data / name
    settings = Settings(storage=StorageCfg(path=tmp_path), cache=CacheCfg(path=model_cache), agent=AgentCfg(refuse_below=0.0))
    async with ResourceManager(settings) as resources:
        await resources.get("ingestor").ingest(discover([path]).items, tenant=ME.tenant, acl=(EVERYONE,))
        answers = [await resources.get("agent").ask(ChatRequest(question), ME) for question in CASES[name]]
    with pypdfium2.PdfDocument(path) as document:
        pages = ["".join(page.get_textpage().get_text_range().split()) for page in document]
    citations = [citation for answer in answers for citation in answer.citations]
    assert len(citations) >= len(answers)
    for citation in citations:
        assert citation.page is not None
        # White space apart: PDFs have none of their own, every reader puts it in by its own measure.
        assert "".join(citation.quote.split()) in pages[citation.page - 1]
