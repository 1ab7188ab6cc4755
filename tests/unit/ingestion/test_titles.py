"""Titles for people."""

from __future__ import annotations

import pytest

from src.ingestion.titles import readable_stem, sensible, with_stem


@pytest.mark.parametrize(
    "title",
    ["0000320193-22-000070", "Master_Agreement_V1", "Microsoft Word - plan.docx", "plan final.pdf", "Untitled document", "x", "", "04.01.2023 10Q Document"],
)
def test_titles_that_are_file_names_or_numbers_are_not_used(title: str) -> None:
    assert sensible(title) == ""


@pytest.mark.parametrize("title", ["Form 10-Q for Microsoft Corp filed 10/24/2022", "10-Q - 10/28/2022 - Intel Corporation", "Employee Handbook"])
def test_real_titles_are(title: str) -> None:
    assert sensible(f" {title} ") == title


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contracts__Master_Agreement_V1 - May.PDF", "contracts Master Agreement V1 - May"),
        ("reporting-an-outage.md", "Reporting an outage"),
        ("2022 Q3 AAPL.pdf", "2022 Q3 AAPL"),
        ("State_PA_032224_.docx 1.pdf", "State PA 032224 .docx 1"),
        (".txt", ".txt"),
    ],
)
def test_file_names_are_made_readable(name: str, expected: str) -> None:
    assert readable_stem(name) == expected


def test_a_file_name_that_says_more_than_the_title_is_added() -> None:
    assert with_stem("Form 10-Q for Microsoft Corp", "2022 Q3 MSFT.pdf") == "Form 10-Q for Microsoft Corp (2022 Q3 MSFT)"
    assert with_stem("Employee handbook of Contoso", "employee_handbook.pdf") == "Employee handbook of Contoso"
    assert with_stem("", "employee_handbook.pdf") == "Employee handbook"
