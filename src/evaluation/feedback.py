"""From what users said of answers to a collection in BEIR layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.feedback import Feedback
from ..errors import InputError

GRADES = {"up": 1, "down": 0}
QRELS = "qrels/feedback.tsv"
_HEADER = "query-id\tcorpus-id\tscore\n"


@dataclass(frozen=True, slots=True)
class Written:
    """What an export holds; ``left_out`` counts judgements of documents whose ids a TSV file cannot hold."""

    answers: int
    queries: int
    judgements: int
    left_out: int


def write_collection(folder: Path, feedback: Sequence[Feedback]) -> Written:
    """Write `queries.jsonl`, `qrels/feedback.tsv` and `feedback.jsonl`, in place of those of an export before.

    A question's id is that of its answer's message. An answer that cites nothing judges no document; it is in `feedback.jsonl` alone.

    Raises:
        InputError: the folder cannot be written.
    """
    judged = [(one, [name for name in one.cited if not set(name) & set("\t\r\n")]) for one in feedback]
    asked = [one for one, names in judged if names]
    lines = [f"{one.message_id}\t{name}\t{GRADES[one.rating]}\n" for one, names in judged for name in names]
    files = {
        "queries.jsonl": "".join(_line({"_id": one.message_id, "text": one.question}) for one in asked),
        QRELS: _HEADER + "".join(lines),
        "feedback.jsonl": "".join(_line({**asdict(one), "versions": dict(one.versions)}) for one in feedback),
    }
    try:
        (folder / QRELS).parent.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written: {error.strerror}.") from None
    return Written(len(feedback), len(asked), len(lines), sum(len(one.cited) for one in feedback) - len(lines))


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
