"""Titles for people: what a document calls itself if that makes sense, else its file's name made readable. Pure."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]{2,}")
_MAX = 160


def sensible(title: str) -> str:
    """The title if it reads like one, else an empty string.

    Metadata titles are often a file name (``Master_Agreement_V1``, ``Microsoft Word - x.docx``) or a number (``0000320193-22-000070``).
    """
    title = " ".join(title.split())[:_MAX]
    lower = title.lower()
    if not title or "_" in title or lower.startswith(("untitled", "microsoft word", "microsoft powerpoint", "document", "slide ")):
        return ""
    if re.search(r"\.(?:docx?|pdf|xlsx?|pptx?|html?|md|txt|indd|tex)$", lower):
        return ""
    words = _WORD.findall(title)
    letters = sum(len(word) for word in words)
    return title if len(words) >= 2 and letters * 2 >= len(title.replace(" ", "")) else ""


def readable_stem(name: str) -> str:
    """``contracts__Master_Agreement_V1`` as ``contracts Master Agreement V1``; hyphens part words only where nothing else does."""
    stem = name.rsplit("/", 1)[-1]
    stem = re.sub(r"(?<=.)\.(?:docx?|pdf|html?|xhtml|md|markdown|txt|text)$", "", stem, flags=re.IGNORECASE)
    words = re.sub(r"[_\s]+", " ", stem).strip()
    if " " not in words:
        words = re.sub(r"(?<=\w)-(?=\w)", " ", words)
    return (words[:1].upper() + words[1:] if words.islower() else words)[:_MAX] or name


def with_stem(title: str, name: str) -> str:
    """A title and, in brackets, what the file's name says beyond it: people know files by their names (``2022 Q3 MSFT``)."""
    stem = readable_stem(name)
    if not title:
        return stem
    known = set(re.findall(r"\w+", title.lower()))
    return title if set(re.findall(r"\w+", stem.lower())) <= known else f"{title} ({stem})"
