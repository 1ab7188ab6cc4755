"""What every loader promises, run over a sound file and over broken ones of each format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from docx import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from src.errors import DocumentError
from src.ingestion.blocks import ParsedDocument
from src.ingestion.loaders import docx as docx_loader
from src.ingestion.loaders.detect import DOCX, HTML, MARKDOWN, PDF, TEXT
from src.ingestion.loaders.registry import load, loader_for, register_loader

HEADING, SENTENCE, ITEM = "Reporting an outage", "Call the control room at once.", "note the time"
ROWS = [["Tariff", "Price", "Fee"], ["Night", "12.5", "3"], ["Day", "30.1", "4"]]
ROW = "Night 12.5 3"


def make_pdf(pages: list[list[tuple[str, str, int]]] | None = None, **options: object) -> bytes:
    """A PDF of lines (font, text, size); the default holds heading, sentence, item and table."""
    usual = [("Helvetica-Bold", HEADING, 16), ("Helvetica", SENTENCE, 11), ("Helvetica", f"• {ITEM}", 11)]
    rows = [("Helvetica", " ".join(row), 11) for row in ROWS]
    out = io.BytesIO()
    canvas = Canvas(out, **options)
    for lines in pages if pages is not None else [[*usual, *rows]]:
        y = 780
        for font, text, size in lines:
            canvas.setFont(font, size)
            canvas.drawString(72, y, text)
            y -= 2 * size
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def make_scan(text_pages: int = 0) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.rect(72, 72, 300, 300, fill=1)
    canvas.showPage()
    for _ in range(text_pages):
        canvas.drawString(72, 700, SENTENCE)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def make_docx() -> bytes:
    document = Document()
    document.add_heading(HEADING, 1)
    document.add_paragraph(SENTENCE)
    document.add_paragraph(ITEM, style="List Bullet")
    table = document.add_table(rows=0, cols=3)
    for row in ROWS:
        cells = table.add_row().cells
        for cell, text in zip(cells, row, strict=True):
            cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def make_html() -> bytes:
    rows = "".join("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>" for tag, row in zip(["th", "td", "td"], ROWS, strict=True))
    nav, main = "<nav>Home</nav><script>alert(1)</script>", f"<h1>{HEADING}</h1><p>Call the <b>control</b>\nroom at once.</p><ul><li>{ITEM}</ul>"
    return f"<!doctype html><title>{HEADING}</title><body>{nav}{main}<table>{rows}</table><footer>Imprint</footer>".encode()


def make_markdown() -> bytes:
    table = "\n".join(["| Tariff | Price | Fee |", "|---|---|---|", "| Night | 12.5 | 3 |", "| Day | 30.1 | 4 |"])
    return f"---\nowner: grid\n---\n# {HEADING}\n\nCall the **control**\nroom at once.\n\n- {ITEM}\n\n{table}\n".encode()


def make_text() -> bytes:
    return f"{HEADING.upper()}\n\n{SENTENCE}\n\n- {ITEM}\n\n".encode() + "\n".join("\t".join(row) for row in ROWS).encode()


SOUND: dict[str, tuple[str, Callable[[], bytes]]] = {
    PDF: ("outage-report.pdf", make_pdf),
    DOCX: ("outage.docx", make_docx),
    HTML: ("outage.html", make_html),
    MARKDOWN: ("outage.md", make_markdown),
    TEXT: ("outage.txt", make_text),
}


def check(parsed: ParsedDocument) -> None:
    """Blocks cover the text in order; the text can be stored."""
    for part in parsed.parts:
        end = 0
        for block in part.blocks:
            assert not part.text[end : block.start].strip()
            assert end <= block.start < block.end
            assert part.text[block.start : block.end].strip()
            end = block.end
        assert not part.text[end:].strip()
        assert not any(char in part.text for char in "\r\x00\ufffe\ufeff")
        part.text.encode("utf-8")


@pytest.mark.parametrize("content_type", SOUND)
def test_a_sound_file_gives_its_structure_in_order(content_type: str) -> None:
    name, make = SOUND[content_type]
    parsed = load(make(), name)
    check(parsed)
    assert parsed.content_type == content_type
    assert parsed.warnings == ()
    text = "\n".join(part.text for part in parsed.parts)
    flat = " ".join(text.split())
    places = [flat.lower().index(piece.lower()) for piece in (HEADING, SENTENCE, ITEM, ROW)]
    assert places == sorted(places)
    assert not any(word in flat for word in ("alert", "Home", "Imprint", "<", "**", "owner"))
    kinds = [block.kind for part in parsed.parts for block in part.blocks]
    assert [kind for kind in kinds if kind != "paragraph"] == ["heading", "list", "table"]
    assert [part.page for part in parsed.parts] == ([1] if content_type == PDF else [None])


@pytest.mark.parametrize("content_type", [DOCX, HTML, MARKDOWN])
def test_formats_that_mark_titles_give_them_and_a_tables_header(content_type: str) -> None:
    name, make = SOUND[content_type]
    parsed = load(make(), name)
    assert parsed.title == HEADING
    assert [block.header for block in parsed.parts[0].blocks if block.kind == "table"] == ["Tariff | Price | Fee"]


@pytest.mark.parametrize("content_type", SOUND)
@pytest.mark.parametrize("name", ["x.PDF", "x.txt", "x.Htm", "noextension"])
def test_formats_that_show_in_the_bytes_are_found_under_any_name(content_type: str, name: str) -> None:
    _, make = SOUND[content_type]
    if content_type in (PDF, DOCX):
        assert load(make(), name).content_type == content_type
    elif content_type == HTML and not name.endswith("PDF"):
        assert load(make(), name).content_type == HTML


def reason(data: bytes, name: str) -> str:
    with pytest.raises(DocumentError) as caught:
        load(data, name)
    assert caught.value.message
    return caught.value.reason


@pytest.mark.parametrize("content_type", SOUND)
@pytest.mark.parametrize("data", [b"", b" \n\t", b"\xef\xbb\xbf\n"])
def test_empty_files_are_reported_as_empty(content_type: str, data: bytes) -> None:
    assert reason(data, SOUND[content_type][0]) == "empty"


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"%PDF-1.7 garbage", "a.pdf", "broken"),
        (b"not a pdf", "a.pdf", "broken"),
        (b"not a docx", "a.docx", "broken"),
        (b"PK\x03\x04 broken zip", "a.docx", "broken"),
        (b"<html><body><nav>x</nav></body></html>", "a.html", "empty"),
        (b"<!-- -->", "a.html", "empty"),
        (bytes(range(256)) * 20, "a.txt", "unsupported"),
        (b"\x89PNG\r\n\x1a\n....", "a.txt", "unsupported"),
        (b"hello", "a.xyz", "unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", "a.doc", "unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "a.docx", "encrypted"),
    ],
)
def test_unusable_files_are_reported_with_their_reason(data: bytes, name: str, expected: str) -> None:
    assert reason(data, name) == expected


def test_an_encrypted_pdf_is_told_from_a_scan_a_blank_one_and_a_broken_one() -> None:
    assert reason(make_pdf(encrypt=StandardEncryption("secret", canPrint=0)), "a.pdf") == "encrypted"
    assert reason(make_scan(), "a.pdf") == "no-text-layer"
    assert reason(make_pdf([[], []]), "a.pdf") == "empty"
    assert reason(make_pdf()[:300], "a.pdf") == "broken"


def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    assert SENTENCE in load(make_pdf(encrypt=StandardEncryption("", ownerPassword="owner")), "a.pdf").parts[0].text


def test_a_partly_scanned_pdf_is_read_and_says_which_pages_have_no_text() -> None:
    parsed = load(make_scan(text_pages=2), "a.pdf")
    assert [part.page for part in parsed.parts if part.text.strip()] == [2, 3]
    assert parsed.warnings == ("no text layer on 1 of 3 pages: 1",)


def test_zip_bombs_are_refused_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx_loader, "MAX_XML_BYTES", 1_000_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 2_000_000)
    assert reason(out.getvalue(), "a.docx") == "oversized"


def test_a_docx_keeps_inserted_text_content_controls_and_text_boxes_and_leaves_deletions_out() -> None:
    document = Document()
    paragraph = document.add_paragraph("Kept. ")
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    from docx.oxml import parse_xml

    paragraph._p.append(parse_xml(f'<w:ins {w} w:id="1"><w:r><w:t>Inserted. </w:t></w:r></w:ins>'))
    paragraph._p.append(parse_xml(f'<w:del {w} w:id="2"><w:r><w:delText>Deleted.</w:delText></w:r></w:del>'))
    paragraph._p.append(parse_xml(f"<w:r {w}><w:pict><w:txbxContent><w:p><w:r><w:t>Boxed.</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"))
    paragraph._p.addnext(parse_xml(f"<w:sdt {w}><w:sdtContent><w:p><w:r><w:t>Controlled.</w:t></w:r></w:p></w:sdtContent></w:sdt>"))
    out = io.BytesIO()
    document.save(out)
    assert load(out.getvalue(), "a.docx").parts[0].text.split("\n\n") == ["Kept. Inserted.", "Boxed.", "Controlled."]


@pytest.mark.parametrize(
    ("data", "expected", "warns"),
    [
        ("Grüße – 5 €".encode(), "Grüße – 5 €", False),
        ("\ufeffGrüße".encode(), "Grüße", False),
        ("Grüße".encode("utf-16"), "Grüße", False),
        ("Gruesse aus Wien".encode("utf-16-le"), "Gruesse aus Wien", True),
        ("Grüße – 5 €".encode("cp1252"), "Grüße – 5 €", True),
        (b"a\x81b caf\xe9 wide", "ab café wide", True),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree", False),
    ],
)
def test_text_is_decoded_and_a_guess_is_reported(data: bytes, expected: str, warns: bool) -> None:
    parsed = load(data, "a.txt")
    assert parsed.parts[0].text == expected
    assert bool(parsed.warnings) == warns


def test_a_pages_title_comes_without_the_name_of_its_site() -> None:
    page = "<title>{}</title><body><h1>Moving home</h1><p>Text.</p>"
    titles = [load(page.format(title).encode(), "a.html").title for title in ("Moving home | Handbook", "", "Customers who move")]
    assert titles == ["Moving home", "Moving home", "Customers who move"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<!-- a -->\n" * 40 + b"x", "a.txt"),
        (b"<!-- a -->\n" * 40 + b"x", "noextension"),
        (b"text\n\n<div>\n" + b"<a" * 500_000, "a.md"),
        (b"text\n\n<div>\n" + b"<!--" * 500_000, "a.md"),
        (b"text\n---\n" * 20_000, "a.txt"),
    ],
)
def test_no_text_makes_the_reader_go_over_it_again_and_again(data: bytes, name: str) -> None:
    """Each of these took minutes, years, or all of the stack."""
    if name == "noextension":
        assert reason(data, name) == "unsupported"
    else:
        check(load(data, name))


def test_comments_before_a_page_do_not_hide_that_it_is_one() -> None:
    assert load(b"<?xml version='1.0'?>\n" + b"<!-- a -->\n" * 40 + b"<html><p>Text", "a.txt").content_type == HTML


@pytest.mark.parametrize("depth", [10, 45])
def test_deep_lists_lose_nothing(depth: int) -> None:
    items = "".join("  " * n + f"- item {n}\n" for n in range(depth))
    parsed = load(f"{items}\n\nAfter it.\n".encode(), "a.md")
    assert parsed.parts[0].text.endswith(f"item {depth - 1}\n\nAfter it.")
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    "data", ["".join("  " * n + f"- item {n}\n" for n in range(80)) + "\n\nAfter it.\n", "Before it.\n\n" + "> " * 150 + "quoted"], ids=["lists", "quotes"]
)
def test_markdown_nested_too_deep_to_read_is_reported(data: str) -> None:
    assert "nested" in load(data.encode(), "a.md").warnings[0]


def test_deep_pages_lose_nothing_and_too_deep_ones_are_reported() -> None:
    def page(depth: int) -> bytes:
        return b"<p>Before.</p>" + b"<div>" * depth + b"Inside." + b"</div>" * depth + b"<p>After.</p>"

    parsed = load(page(1000), "a.html")
    assert (parsed.parts[0].text, parsed.warnings) == ("Before.\n\nInside.\n\nAfter.", ())
    assert "nested" in load(page(3000), "a.html").warnings[0]
    with pytest.raises(DocumentError, match="nested") as caught:
        load(b"<div>" * 3000 + b"Inside.", "a.html")
    assert caught.value.reason == "broken"


@pytest.mark.parametrize("charset", ["hex", "rot13", "idna", "unicode_escape", "utf-8-sig", "no-such-charset"])
def test_a_page_that_declares_what_is_no_encoding_is_read_as_it_looks(charset: str) -> None:
    parsed = load(f"<html><meta charset={charset}><p>Maß: 5 Fuß".encode(), "a.html")
    assert parsed.parts[0].text == "Maß: 5 Fuß"


def test_an_encoding_is_known_by_the_name_that_the_page_gives_it() -> None:
    assert load("<html><meta charset=euc-kr><p>안녕하세요".encode("euc-kr"), "a.html").parts[0].text == "안녕하세요"


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "windows-1252", "utf-16"])
def test_a_page_is_read_in_the_encoding_it_declares(encoding: str) -> None:
    page = f"<!doctype html><html><head><meta charset='{encoding}'><title>Größe</title></head><body><p>Maß: 5 Fuß</p></body></html>"
    parsed = load(page.encode(encoding), "a.html")
    assert (parsed.title, parsed.parts[0].text) == ("Größe", "Maß: 5 Fuß")


def test_letters_beyond_ucs2_are_read_from_a_pdf_with_the_headings_behind_them() -> None:
    """A font whose map says that its letter A reads as U+1D400, which takes two places in PDFium's text."""
    cmap = "begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <41> <D835DC00> endbfchar endcmap"
    lines = ("A xA", 12), ("AAA Meter", 24), ("The door of the cabinet stays shut while the meter runs, A says.", 12)
    drawn = "BT 72 700 Td " + " ".join(f"/F1 {size} Tf ({line}) Tj 0 -40 Td" for line, size in lines) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 4 0 R >> >> /Contents 5 0 R >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>",
        *(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream" for stream in (drawn, cmap)),
    ]
    body = "".join(f"{number} 0 obj\n{text}\nendobj\n" for number, text in enumerate(objects, 1))
    part = load(f"%PDF-1.4\n{body}trailer << /Size 7 /Root 1 0 R >>\n%%EOF".encode(), "a.pdf").parts[0]
    heading = next(block for block in part.blocks if block.kind == "heading")
    assert part.text.startswith("\U0001d400 x\U0001d400")
    assert part.text[heading.start : heading.end] == "\U0001d400\U0001d400\U0001d400 Meter"


def test_a_hyphen_at_the_end_of_a_pdf_line_stays_where_it_stands() -> None:
    font = "Helvetica"
    parsed = load(make_pdf([[(font, "The company looks for long-", 11), (font, "term growth in all its markets.", 11)]]), "a.pdf")
    assert parsed.parts[0].text == "The company looks for long-\nterm growth in all its markets."


@pytest.mark.parametrize("content_type", SOUND)
@settings(max_examples=40)
@given(data=st.data())
def test_a_damaged_file_is_read_or_reported_but_never_fails_otherwise(content_type: str, data: st.DataObject) -> None:
    name, make = SOUND[content_type]
    broken = bytearray(make())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del broken[data.draw(st.integers(1, len(broken) - 1)) :]
    with suppress(DocumentError):
        check(load(bytes(broken), name))


@settings(max_examples=60)
@given(st.text(max_size=400), st.sampled_from(["a.txt", "a.md", "a.html"]))
def test_any_text_is_read_or_reported(text: str, name: str) -> None:
    with suppress(DocumentError):
        check(load(text.encode("utf-8", "replace"), name))


def test_a_loader_can_be_added() -> None:
    def shout(data: bytes, name: str) -> ParsedDocument:
        raise DocumentError("no", reason="broken")

    with pytest.raises(DocumentError, match="not a format"):
        loader_for("application/x-shout")
    register_loader("application/x-shout", shout)
    assert loader_for("application/x-shout") is shout


def test_the_bold_head_of_a_pdf_table_is_no_heading(root: Path) -> None:
    data = (root / "examples/handbook/safety/gas-escape-procedure.pdf").read_bytes()
    document = load(data, "gas-escape-procedure.pdf")
    headings = [part.text[block.start : block.end] for part in document.parts for block in part.blocks if block.kind == "heading"]
    assert "On site" in headings
    assert not [heading for heading in headings if "Action" in heading or "Meaning" in heading]
