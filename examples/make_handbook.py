"""Build the PDF and DOCX documents of the sample handbook, and its BEIR corpus.

    python examples/make_handbook.py

`sources/<topic>/<name>.pdf.md` becomes `handbook/<topic>/<name>.pdf`, and `.docx.md` likewise. The
Markdown, HTML and TXT documents are written by hand in `handbook/` and are only read here, for
`questions/corpus.jsonl`. Running it twice gives the same bytes. Needs reportlab, python-docx, lxml
and markdown-it-py.
"""

import datetime
import io
import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import docx
import lxml.html
from docx.shared import Pt
from markdown_it import MarkdownIt
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import (
    ListFlowable,
    ListItem,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

HERE = Path(__file__).parent
HANDBOOK, SOURCES, QUESTIONS = HERE / "handbook", HERE / "sources", HERE / "questions"
COMPANY = "Northmoor Utilities"
FIXED = datetime.datetime(2025, 4, 1, tzinfo=datetime.UTC)


class Block(NamedTuple):
    kind: str  # h1, h2, h3, p: a text; ul, ol: one row for each item; table: its rows
    text: str
    rows: list[list[str]]


def read_blocks(markdown: str) -> list[Block]:
    """The document as a flat list of blocks; inline markup is dropped."""
    blocks: list[Block] = []
    kind, inside = "p", False
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type in ("bullet_list_open", "ordered_list_open", "table_open"):
            blocks.append(Block(token.tag, "", []))
            inside = True
        elif token.type in ("bullet_list_close", "ordered_list_close", "table_close"):
            inside = False
        elif token.type in ("list_item_open", "tr_open"):
            blocks[-1].rows.append([])
        elif token.type in ("heading_open", "paragraph_open"):
            kind = token.tag
        elif token.type == "inline":
            children = token.children or []
            text = "".join(" " if c.type == "softbreak" else c.content for c in children)
            if inside:
                blocks[-1].rows[-1].append(text)
            else:
                blocks.append(Block(kind, text, []))
    return blocks


def plain(blocks: list[Block]) -> str:
    rows = ("\n".join(" | ".join(row) for row in block.rows) for block in blocks)
    return "\n\n".join(block.text or row for block, row in zip(blocks, rows, strict=True))


def build_pdf(blocks: list[Block], target: Path) -> None:
    sheet = getSampleStyleSheet()
    body = ParagraphStyle("body", parent=sheet["BodyText"], fontSize=10.5, leading=14.5)
    styles = {"h1": sheet["Title"], "h2": sheet["Heading2"], "h3": sheet["Heading3"], "p": body}
    styles["h2"].keepWithNext = styles["h3"].keepWithNext = 1
    head = ParagraphStyle("head", parent=body, fontName="Helvetica-Bold")
    grid = TableStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
            ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
    )

    def escaped(raw: str) -> str:
        return raw.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    story = []
    for kind, text, rows in blocks:
        if kind == "table":
            cells = [[Paragraph(escaped(cell), body if number else head) for cell in row] for number, row in enumerate(rows)]
            width = 170 * mm / len(rows[0])
            story += [Table(cells, colWidths=width, style=grid, repeatRows=1), Spacer(1, 4 * mm)]
        elif kind in ("ul", "ol"):
            entries = [ListItem(Paragraph(escaped(row[0]), body)) for row in rows]
            bullet = "bullet" if kind == "ul" else "1"
            story.append(ListFlowable(entries, bulletType=bullet, bulletFontSize=10))
        else:
            story.append(Paragraph(escaped(text), styles[kind]))

    title = blocks[0].text

    def footer(canvas, document) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(20 * mm, 12 * mm, f"{COMPANY}: {title}")
        canvas.drawRightString(190 * mm, 12 * mm, f"Page {document.page}")

    margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), 20 * mm)
    SimpleDocTemplate(str(target), pagesize=A4, title=title, author=COMPANY, invariant=1, **margins).build(story, onFirstPage=footer, onLaterPages=footer)


def build_docx(blocks: list[Block], target: Path) -> None:
    document = docx.Document()
    document.styles["Normal"].font.size = Pt(11)
    properties = document.core_properties
    properties.title, properties.author, properties.comments = blocks[0].text, COMPANY, ""
    properties.created = properties.modified = FIXED
    document.sections[0].footer.paragraphs[0].text = f"{COMPANY}: {blocks[0].text}"
    for kind, text, rows in blocks:
        if kind == "table":
            table = document.add_table(rows=0, cols=len(rows[0]), style="Table Grid")
            for number, row in enumerate(rows):
                for cell, words in zip(table.add_row().cells, row, strict=True):
                    cell.paragraphs[0].add_run(words).bold = number == 0
            document.add_paragraph()
        elif kind in ("ul", "ol"):
            for row in rows:
                document.add_paragraph(row[0], "List Bullet" if kind == "ul" else "List Number")
        elif kind == "p":
            document.add_paragraph(text)
        else:
            document.add_heading(text, int(kind[1]))
    written = io.BytesIO()
    document.save(written)
    # The archive again, with one fixed time for every member.
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            member = zipfile.ZipInfo(name, FIXED.timetuple()[:6])
            new.writestr(member, old.read(name), zipfile.ZIP_DEFLATED)


def html_blocks(markup: str) -> list[Block]:
    """The page's article: what stands in its navigation and footer is not part of the document."""
    blocks: list[Block] = []
    article = lxml.html.document_fromstring(markup).find(".//article")
    for node in article:
        if node.tag in ("ul", "ol"):
            rows = [[item.text_content()] for item in node.iter("li")]
            blocks.append(Block(node.tag, "", rows))
        elif node.tag == "table":
            rows = [[c.text_content() for c in row.iter("th", "td")] for row in node.iter("tr")]
            blocks += [Block("p", node.findtext("caption"), []), Block("table", "", rows)]
        else:
            blocks.append(Block(node.tag, node.text_content(), []))
    return blocks


def corpus_entry(path: Path) -> dict[str, str]:
    name = path.relative_to(HANDBOOK).as_posix()
    if path.suffix == ".txt":
        text = path.read_text("utf-8").strip()
        # A title stands alone on its line; the company's name may stand above it.
        title = next(line for line in text.splitlines() if line and line != COMPANY.upper())
        return {"_id": name, "title": title.capitalize(), "text": text}
    if path.suffix == ".html":
        blocks = html_blocks(path.read_text("utf-8"))
    else:
        source = path if path.suffix == ".md" else SOURCES / f"{name}.md"
        blocks = read_blocks(source.read_text("utf-8"))
    return {"_id": name, "title": blocks[0].text, "text": re.sub(r"[ \t]+", " ", plain(blocks))}


def main() -> None:
    for source in sorted(SOURCES.rglob("*.md")):
        target = HANDBOOK / source.relative_to(SOURCES).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        build = build_pdf if target.suffix == ".pdf" else build_docx
        build(read_blocks(source.read_text("utf-8")), target)
    QUESTIONS.mkdir(exist_ok=True)
    paths = sorted(path for path in HANDBOOK.rglob("*") if path.is_file())
    lines = [json.dumps(corpus_entry(path), ensure_ascii=False) + "\n" for path in paths]
    (QUESTIONS / "corpus.jsonl").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
