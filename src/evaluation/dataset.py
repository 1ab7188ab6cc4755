"""Collections in BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/NAME.tsv`, read as streams.

Judgements decide which questions are asked: a question without judgements is left out, and a judgement of a question
that has no text is counted in `Dataset.unasked`, as BEIR leaves both out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError

LAYOUT = "A folder in BEIR layout holds corpus.jsonl, queries.jsonl and qrels/NAME.tsv."


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation before the question; ``speaker`` is ``user`` or ``agent``."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    text: str
    history: tuple[Turn, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def with_history(self) -> str:
        """The conversation before the question, a line a message, and then the question."""
        return "\n".join([*(turn.text for turn in self.history), self.text])


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a collection; documents stay on disk.

    Attributes:
        judgements: {question id: {document id: grade}} of the questions in ``questions``.
        unasked: judged questions without text.
    """

    folder: Path
    split: str
    questions: tuple[Question, ...]
    judgements: Mapping[str, Mapping[str, int]]
    unasked: int = 0

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.jsonl"

    def documents(self) -> Iterator[CorpusDocument]:
        """The corpus, one document at a time.

        Raises:
            InputError: a line that is not a document, or an id that occurs twice; names file and line.
        """
        seen: set[str] = set()
        for line, record in read_jsonl(self.corpus):
            where = f"{self.corpus}, line {line}"
            document = CorpusDocument(_text(record, "_id", where), _text(record, "title", where, ""), _text(record, "text", where))
            if document.id in seen:
                raise InputError(f"{where}: document {document.id!r} occurs a second time.", hint="Ids of a corpus are unique.")
            seen.add(document.id)
            yield document

    def content_digest(self) -> str:
        """SHA-256 (hex) of the corpus file: what an index made from it is keyed by."""
        with self.corpus.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def load_dataset(folder: Path, split: str) -> Dataset:
    """Read questions and judgements of one split; the corpus is read when it is asked for.

    Raises:
        InputError: a file is missing, malformed or without a document; names file and line, and the splits that there are.
    """
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is not there.", hint=LAYOUT)
    if next(read_jsonl(folder / "corpus.jsonl"), None) is None:
        raise InputError(f"{folder / 'corpus.jsonl'} holds no document.", hint=LAYOUT)
    judged = read_judgements(_judgement_file(folder, split))
    questions = tuple(question for question in read_questions(folder / "queries.jsonl") if question.id in judged)
    if not questions:
        raise InputError(f"No question of {folder / 'queries.jsonl'} is judged in split {split!r}.", hint=LAYOUT)
    return Dataset(
        folder=folder.resolve(),
        split=split,
        questions=questions,
        judgements={question.id: judged[question.id] for question in questions},
        unasked=len(judged) - len(questions),
    )


def read_questions(path: Path) -> Iterator[Question]:
    """Questions of a `queries.jsonl`, one at a time.

    Raises:
        InputError: a line that is not a question, or an id that occurs twice.
    """
    seen: set[str] = set()
    for line, record in read_jsonl(path):
        where = f"{path}, line {line}"
        metadata = record.get("metadata", {})
        if not isinstance(metadata, dict):
            raise InputError(f"{where}: `metadata` must be an object.", hint=LAYOUT)
        question = Question(_text(record, "_id", where), _text(record, "text", where), _history(metadata.get("history"), where), metadata)
        if question.id in seen:
            raise InputError(f"{where}: question {question.id!r} occurs a second time.", hint="Ids of questions are unique.")
        seen.add(question.id)
        yield question


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """`{question: {document: grade}}` of a tab-separated file with the header `query-id corpus-id score`.

    Raises:
        InputError: a line without three columns or without a whole number as score; names file and line.
    """
    judged: dict[str, dict[str, int]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line, row in enumerate(file, start=1):
                cells = row.rstrip("\r\n").split("\t")
                if row.isspace() or (line == 1 and cells[-1].strip() == "score"):
                    continue
                question, document, grade = _judgement(cells, f"{path}, line {line}")
                judged.setdefault(question, {})[document] = grade
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", hint=LAYOUT) from error
    return judged


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not blank.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                if not text.isspace():
                    yield line, _object(text, f"{path}, line {line}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", hint=LAYOUT) from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}).", hint=LAYOUT) from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: not a JSON object.", hint=LAYOUT)
    return record


def _text(record: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (key == "_id" and not value):
        raise InputError(f"{where}: `{key}` must be text.", hint=LAYOUT)
    return value


def _history(value: object, where: str) -> tuple[Turn, ...]:
    turns = [] if value is None else value
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"{where}: `metadata.history` must be a list of {{speaker, text}}.", hint=LAYOUT)
    return tuple(Turn(_text(turn, "speaker", where), _text(turn, "text", where)) for turn in turns)


def _judgement(cells: list[str], where: str) -> tuple[str, str, int]:
    try:
        question, document, grade = cells
        return question, document, int(grade)
    except ValueError:
        raise InputError(f"{where}: not `query-id<TAB>corpus-id<TAB>score` with a whole number as score.", hint=LAYOUT) from None


def _judgement_file(folder: Path, split: str) -> Path:
    path = folder / "qrels" / f"{split}.tsv"
    if "/" in split or not path.is_file():
        there = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
        raise InputError(f"Split {split!r} is not in {folder / 'qrels'}.", hint=f"There is: {', '.join(there)}." if there else LAYOUT)
    return path
