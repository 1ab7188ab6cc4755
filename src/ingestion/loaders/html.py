"""HTML, by lxml's HTML parser. Boilerplate (navigation, page header and footer, forms, scripts) goes; structure stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import DocumentError
from ..blocks import BlockKind, ParsedDocument, PartBuilder, clean, squeeze, squeeze_lines
from .decode import decode_text
from .detect import HTML

if TYPE_CHECKING:
    Element = Any  # lxml ships no types

_DROPPED_TAGS = "script style noscript template nav footer aside form button select textarea svg canvas iframe object head menu dialog math audio video map"
_DROPPED = frozenset(_DROPPED_TAGS.split())
_BOILERPLATE_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "dialog", "menu"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCK_TAGS = (
    "p div section article main body html ul ol dl dd dt li blockquote figure figcaption table tr td th thead tbody tfoot caption "
    "address hr header pre details summary fieldset center hgroup"
)
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_TOO_DEEP = "its elements are nested more than 2,048 deep; what follows there is left out"
"""libxml2's limit with ``huge_tree``; it stops there as if the page ended."""


def load(data: bytes, name: str) -> ParsedDocument:
    """Read a page. Encoding: byte order mark, then what the page declares, then UTF-8 or Windows-1252.

    Raises:
        DocumentError: ``empty``: no text remains; ``unsupported``: binary data.
    """
    root, warnings, whole = _parse(data)
    builder = PartBuilder()
    _Walker(builder).walk(_content(root))
    title = _title(squeeze(root.xpath("string((//title)[1])")), squeeze(root.xpath("string((//h1)[1])")))
    language = squeeze(root.get("lang") or "")
    part = builder.build()
    if not part.text and not whole:
        raise DocumentError(f"The page cannot be read: {_TOO_DEEP}.", reason="broken")
    if not part.text:
        raise DocumentError("No text remains once navigation, scripts and other boilerplate are left out.", reason="empty")
    return ParsedDocument((part,), HTML, title, {"language": language} if language else {}, warnings)


def _title(title: str, heading: str) -> str:
    """The page's title; its first heading where there is none, or where the title only adds the site's name to it."""
    return heading if heading and (not title or title.startswith(heading)) else title


def _parse(data: bytes) -> tuple[Element, tuple[str, ...], bool]:
    """The page's root, warnings, and whether the parser got to the end of the page."""
    from lxml import etree, html

    warnings: tuple[str, ...] = ()
    encoding = None if data[:4].startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) else _declared(data)
    if encoding is None:
        text, warnings = decode_text(data)
        # Parsed as bytes of a known encoding: lxml refuses strings that also declare one.
        data, encoding = clean(text).encode("utf-8"), "utf-8"
    parser = html.HTMLParser(encoding=encoding, remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    try:
        root = html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise DocumentError("The page holds no text.", reason="empty") from error
    whole = not any("Excessive depth" in entry.message for entry in parser.error_log)
    return root, warnings if whole else (*warnings, _TOO_DEEP), whole


def _declared(data: bytes) -> str | None:
    """The encoding that the page declares in its first 4 KiB, if Python and libxml2 know it; UTF-16 cannot be declared this way."""
    import codecs
    import re

    found = re.search(rb"""(?:charset|encoding)\s*+=\s*+["']?+\s*+([\w.:-]{2,40})""", data[:4096], re.IGNORECASE)
    if not found:
        return None
    try:
        label = found[1].decode("ascii")
        name = codecs.lookup(label).name
    except (LookupError, UnicodeDecodeError):
        return None
    if name.startswith(("utf-16", "utf-32")):
        return None
    # Browsers read both labels as Windows-1252 (WHATWG Encoding Standard, "latin1").
    if name in ("iso8859-1", "ascii"):
        return "cp1252"
    # Python also knows what is no encoding of text (hex, rot13), and spells some in ways of its own (euc_kr).
    return None if name == "utf-8" else next((known for known in (name, label) if _known_to_libxml2(known)), None)


def _known_to_libxml2(encoding: str) -> bool:
    from lxml import html

    try:
        html.HTMLParser(encoding=encoding)
    except LookupError:
        return False
    return True


def _content(root: Element) -> Element:
    """The one ``main`` element if there is one with text, else the whole body."""
    mains = root.xpath("//main | //*[@role='main']")
    if len(mains) == 1 and squeeze(mains[0].text_content()):
        return mains[0]
    bodies = root.xpath("//body")
    return bodies[0] if bodies else root


class _Walker:
    """Collects running text and cuts a block at each block-level element. Iterative: depth of nesting costs no stack."""

    def __init__(self, builder: PartBuilder) -> None:
        self._builder = builder
        self._text: list[str] = []
        self._lists: list[list[Any]] = []
        self._kind: BlockKind = "paragraph"
        self._marker = ""
        self._pre = 0

    def walk(self, root: Element) -> None:
        from lxml import etree

        steps = etree.iterwalk(root, events=("start", "end"))
        for event, element in steps:
            if event == "start":
                if self._skips(element) or self._table(element):
                    steps.skip_subtree()
                    self._open_skipped(element)
                else:
                    self._start(element)
            else:
                self._end(element, root)
        self._flush()

    def _open_skipped(self, element: Element) -> None:
        element.set("data-rag-skipped", "1")

    def _skips(self, element: Element) -> bool:
        tag = element.tag
        if not isinstance(tag, str) or tag in _DROPPED or element.get("role") in _BOILERPLATE_ROLES:
            return True
        if element.get("hidden") is not None or element.get("aria-hidden") == "true" or "display:none" in (element.get("style") or "").replace(" ", ""):
            return True
        # The page's own header is boilerplate, an article's is its heading.
        return tag == "header" and not any(parent.tag in ("article", "main", "section") for parent in element.iterancestors())

    def _table(self, element: Element) -> bool:
        """Add a data table at once; layout tables (with tables inside, or one column) are walked like any block."""
        if element.tag != "table" or element.xpath(".//table"):
            return False
        rows = [row.xpath("./td | ./th") for row in element.iter("tr")]
        if max((len(row) for row in rows), default=0) < 2:
            return False
        self._flush()
        for caption in element.iter("caption"):
            self._builder.add("paragraph", squeeze(caption.text_content()))
        has_header = bool(rows) and bool(rows[0]) and all(cell.tag == "th" for cell in rows[0])
        self._builder.add_table([[_cell_text(cell) for cell in row] for row in rows], has_header=has_header)
        return True

    def _start(self, element: Element) -> None:
        tag = element.tag
        if tag in _HEADINGS or tag in _BLOCKS:
            self._flush()
        if tag in ("ul", "ol"):
            self._lists.append([tag, _int(element.get("start"), 1)])
        elif tag == "li":
            self._open_item()
        elif tag == "pre":
            self._pre += 1
        elif tag == "br":
            self._text.append("\n")
        self._add(element.text)

    def _open_item(self) -> None:
        self._marker = "• "
        if self._lists and self._lists[-1][0] == "ol":
            self._marker = f"{self._lists[-1][1]}. "
            self._lists[-1][1] += 1

    def _end(self, element: Element, root: Element) -> None:
        tag = element.tag
        if element.get("data-rag-skipped") is None and isinstance(tag, str):
            if tag in _HEADINGS:
                self._flush("heading", _HEADINGS[tag])
            elif tag in _BLOCKS:
                self._flush("code" if tag == "pre" else None)
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            elif tag == "pre":
                self._pre -= 1
            elif tag == "li":
                self._marker = ""
        if element is not root:
            self._add(element.tail)

    def _add(self, text: str | None) -> None:
        if text:
            # Line breaks of the source are spaces; those of <br> and <pre> are line breaks.
            self._text.append(text if self._pre else text.replace("\n", " ").replace("\r", " "))

    def _flush(self, kind: BlockKind | None = None, level: int = 0) -> None:
        joined = "".join(self._text)
        self._text = []
        if self._pre:
            self._builder.add("code", "\n".join(line.rstrip() for line in clean(joined).split("\n")))
            return
        text = squeeze(joined) if kind == "heading" else squeeze_lines(joined)
        if not text:
            return
        chosen: BlockKind = kind or ("list" if self._lists else "paragraph")
        self._builder.add(chosen, (self._marker if chosen == "list" else "") + text, level=level)
        if chosen == "list":
            self._marker = ""


def _cell_text(cell: Element) -> str:
    for dropped in cell.xpath(".//script | .//style"):
        dropped.text = ""
    parted = any(child.tag in _BLOCKS or child.tag == "br" for child in cell.iterdescendants())
    return squeeze(" ".join(cell.itertext()) if parted else cell.text_content())


def _int(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default
