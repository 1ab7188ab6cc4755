"""The lexical view: BM25 (k1 1.2, b 0.75) over title, section and text of each chunk, by tantivy.

Half of a chunk's score is its own, half is that of its surroundings: title and text of up to four chunks either side,
which is the whole document where that is short. Cutting documents into chunks had cost BM25 what stands one chunk
further on (MT-RAG dev .725 in chunks, .746 as whole documents, .755 with surroundings). A chunk is only found by words
of its own; for a document of one chunk nothing changes.

Access lists are indexed as terms and restrict inside the query. The number of the truth that a commit holds stands in
the position file; a killed writer can leave a commit that is ahead of it, which the next writer recognises by tantivy's
own stamp and makes good.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tantivy
from tantivy import Occur, Query

from ....telemetry.logger import get_logger
from ..access import principal_term
from .analysis import ANALYSIS_VERSION, document_terms, separator
from .truth import Entry
from .viewfile import Position, generation_folder, read_position, remove_other_generations, write_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Found = tuple[NDArray[np.int64], NDArray[np.float64]]

log = get_logger(__name__)

VERSION = 200 + ANALYSIS_VERSION
_ANALYZER = "body"
_HEAP_BYTES = 64_000_000
_FOOTER_MAGIC = 1337
_COMPONENTS = ("idx", "pos", "term", "store", "fast", "fieldnorm")
_DELETE_BATCH = 1000
_OR_ROWS = 250
"""Up to this many rows an OR of terms beats tantivy's term set (80 rows: 0.35 against 0.75 ms)."""
CONTEXT_WEIGHT = 0.5
"""Share of the surroundings in a chunk's score. nDCG@10 in chunks of 180 tokens, hybrid with vector weight .54, at
0 / .5: SciFact train .737 / .744, Cranfield dev .582 / .585, MT-RAG dev .824 / .834; .4 and .6 are within .003."""
CONTEXT_CHUNKS = 4
"""Chunks either side that count as surroundings: 2 was .003 worse, 8 no better, and each makes the index larger."""
IN_QUERY = 5000
"""Up to this many chosen rows are named in the query (1.2 ms for 1,000); more are picked out of a longer ranking."""


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name=_ANALYZER, index_option="freq")
    builder.add_text_field("context", tokenizer_name=_ANALYZER, index_option="freq")
    builder.add_text_field("allow", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", indexed=True, fast=True)
    return builder.build()


@dataclass(frozen=True, slots=True)
class Postings:
    """The lexical view as it stands at one number of the truth."""

    searcher: tantivy.Searcher
    schema: tantivy.Schema

    def own_query(self, terms: Sequence[str]) -> Query:
        """Chunks that hold any of the terms, scored by themselves: a third of the work of `text_query`."""
        return self._any_of("body", terms)

    def text_query(self, terms: Sequence[str]) -> Query:
        """Chunks that hold any of the terms, scored together with their surroundings."""
        own = Query.boost_query(self._any_of("body", terms), 1.0 - CONTEXT_WEIGHT)
        around = Query.boost_query(self._any_of("context", terms), CONTEXT_WEIGHT)
        return Query.boolean_query([(Occur.Must, own), (Occur.Should, around)])

    def _any_of(self, field: str, terms: Sequence[str]) -> Query:
        return Query.boolean_query([(Occur.Should, Query.term_query(self.schema, field, term, "freq")) for term in terms])

    def visible(self, allowed: Sequence[str] | None) -> Query:
        """Chunks that carry one of the access terms (None: all), without weight in the score."""
        if allowed is None:
            return Query.const_score_query(Query.all_query(), 0.0)
        if not allowed:
            return Query.empty_query()
        parts = [Query.term_query(self.schema, "allow", term, "basic") for term in allowed]
        inner = parts[0] if len(parts) == 1 else Query.boolean_query([(Occur.Should, part) for part in parts])
        return Query.const_score_query(inner, 0.0)

    @staticmethod
    def restrict(restriction: Query, text: Query) -> Query:
        """``text`` within ``restriction``, which carries no score."""
        return Query.boolean_query([(Occur.Must, restriction), (Occur.Must, text)])

    def among(self, rows: NDArray[np.int64]) -> Query:
        """Exactly these chunks, without weight in the score."""
        numbers: list[int] = rows.tolist()
        if len(numbers) > _OR_ROWS:
            return Query.const_score_query(Query.term_set_query(self.schema, "row", numbers), 0.0)
        parts = [(Occur.Should, Query.term_query(self.schema, "row", number, "basic")) for number in numbers]
        return Query.const_score_query(Query.boolean_query(parts), 0.0)

    def run(self, query: Query, limit: int) -> Found:
        """Rows and scores of the best ``limit``, in tantivy's order."""
        hits = self.searcher.search(query, limit, count=False).hits
        rows = self.searcher.fast_field_values("row", [address for _, address in hits])
        return np.array(rows, dtype=np.int64), np.array([score for score, _ in hits], dtype=np.float64)

    def top(self, query: Query, limit: int) -> Found:
        """The ``limit`` best by score, equal ones by row: the cut never falls inside a tie in tantivy's own order."""
        depth = min(limit + 1, max(self.searcher.num_docs, 1))
        while True:
            rows, scores = self.run(query, depth)
            if scores.size < depth or scores.size <= limit or scores[-1] < scores[limit - 1]:
                order = np.lexsort((rows, -scores))[:limit]
                return rows[order], scores[order]
            depth *= 4

    def score(self, text: Query, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """BM25 of each row; 0.0 where no term matches."""
        if not rows.size:
            return np.empty(0, np.float64)
        found, scores = self.run(Query.boolean_query([(Occur.Must, self.among(rows)), (Occur.Should, text)]), rows.size)
        order = np.argsort(found)
        result: NDArray[np.float64] = scores[order][np.searchsorted(found[order], rows)]
        return result

    def explain(self, text: Query, row: int) -> Any:
        """tantivy's account of one chunk's score: value, description, details."""
        query = self.restrict(self.among(np.array([row], dtype=np.int64)), text)
        ((_, address),) = self.searcher.search(query, 1, count=False).hits
        return json.loads(text.explain(self.searcher, address).to_json())


class LexicalView:
    """The files of the view in ``folder`` (None: in memory only). Not thread-safe; writing needs the view lock."""

    name = "lexical"

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._schema = _schema()
        self._index: tantivy.Index | None = None
        self._position: Position | None = None
        self._ahead = False

    @property
    def position(self) -> Position | None:
        return self._position

    # -- reading

    def load(self, truth: str) -> bool:
        """Take up what the files hold now; False where they are missing, of another index, or damaged."""
        if self._folder is None:
            return self._position is not None and self._position.truth == truth
        position = read_position(self._folder)
        if position is None or position.version != VERSION or position.truth != truth:
            self._position = None
            return False
        if position == self._position:
            return True
        try:
            self._take_up(generation_folder(self._folder, position.generation), position)
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            log.warning("the lexical view is damaged and will be rebuilt", folder=str(self._folder), reason=str(error))
            self._position, self._index = None, None
            return False
        return True

    def _take_up(self, folder: Path, position: Position) -> None:
        if self._index is None or self._position is None or self._position.generation != position.generation:
            _verify(folder)
            self._index = self._open(folder)
        self._index.reload()
        if json.loads((folder / "meta.json").read_bytes()).get("opstamp") != position.facts["opstamp"]:
            self._ahead = True
        self._position = position

    def _open(self, folder: Path | None) -> tantivy.Index:
        index = tantivy.Index(self._schema, path=str(folder)) if folder is not None else tantivy.Index(self._schema)
        index.register_tokenizer(_ANALYZER, separator())
        index.config_reader("manual")
        return index

    @property
    def needs_repair(self) -> bool:
        """True where a killed writer left a commit that no position tells of."""
        return self._ahead

    def snapshot(self) -> Postings:
        assert self._index is not None
        return Postings(self._index.searcher(), self._schema)

    def count(self) -> int:
        return self._index.searcher().num_docs if self._index is not None else 0

    # -- writing

    def reset(self, truth: str) -> None:
        """Begin an empty generation."""
        generation = 1
        if self._folder is not None:
            last = read_position(self._folder)
            numbers = [int(path.name[1:]) for path in self._folder.glob("g??????") if path.name[1:].isdigit()]
            generation = max([*numbers, last.generation if last is not None else 0]) + 1
            generation_folder(self._folder, generation).mkdir(parents=True, exist_ok=True)
            self._index = self._open(generation_folder(self._folder, generation))
        else:
            self._index = self._open(None)
        self._ahead = False
        self._position = Position(VERSION, truth, generation, 0)

    def apply(self, removed: list[int], added: Iterable[Entry], seq: int) -> None:
        """Add and delete chunks in one commit, then stand at ``seq``. Merging ends before this returns, so that scores
        stay the same until the next change."""
        assert self._index is not None
        assert self._position is not None
        old = self._position
        writer = self._index.writer(_HEAP_BYTES, 1)
        writer.garbage_collect_files()  # a killed writer's files would be in the way of ours: they are named by the same stamps
        if self._ahead:
            # What the unannounced commit added comes again below; taking it away first makes that harmless.
            writer.delete_documents_by_query(_newer_than(self._schema, old.seq))
        for start in range(0, len(removed), _DELETE_BATCH):
            # By query: tantivy 0.27 silently deletes nothing by a term of an integer field.
            writer.delete_documents_by_query(Query.term_set_query(self._schema, "row", removed[start : start + _DELETE_BATCH]))
        for _, chunks in groupby(added, key=attrgetter("doc")):
            for document in _documents(list(chunks)):
                writer.add_document(document)
        opstamp = writer.commit()
        self._stand_at(Position(VERSION, old.truth, old.generation, seq, {"opstamp": opstamp}))
        writer.wait_merging_threads()
        self._index.reload()
        self._ahead = False

    def _stand_at(self, position: Position) -> None:
        if self._folder is not None:
            write_position(self._folder, position)
            remove_other_generations(self._folder, position.generation)
        self._position = position


def _newer_than(schema: tantivy.Schema, row: int) -> Query:
    return Query.range_query(schema, "row", tantivy.FieldType.Unsigned, lower_bound=row, include_lower=False)


def _documents(chunks: list[Entry]) -> Iterator[tantivy.Document]:
    """The entries of one document's chunks, which stand in order and are always written together."""
    texts = [document_terms(chunk.text) for chunk in chunks]
    title = document_terms(chunks[0].title)
    sections = {section: document_terms(section) for section in {chunk.section for chunk in chunks}}
    allowed = [principal_term(chunks[0].tenant, principal) for principal in chunks[0].principals]
    for at, chunk in enumerate(chunks):
        document = tantivy.Document()
        document.add_unsigned("row", chunk.row)
        for term in allowed:
            document.add_text("allow", term)
        document.add_text("body", " ".join((title, sections[chunk.section], texts[at])))
        document.add_text("context", " ".join((title, *texts[max(0, at - CONTEXT_CHUNKS) : at + CONTEXT_CHUNKS + 1])))
        yield document


def _verify(folder: Path) -> None:
    """Check every segment file against the checksum that tantivy wrote behind it (tantivy itself checks none on opening).

    Raises:
        ValueError, OSError: a file is damaged or missing.
    """
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_bytes())
    for segment in meta["segments"]:
        stem = segment["segment_id"].replace("-", "")
        endings = [*_COMPONENTS, f"{segment['deletes']['opstamp']}.del"] if segment.get("deletes") else _COMPONENTS
        for ending in endings:
            _verify_file(folder / f"{stem}.{ending}")


def _verify_file(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size, magic = struct.unpack("<II", data[-8:])
        if magic != _FOOTER_MAGIC or size > len(data) - 8:
            raise ValueError(f"{path.name} has no footer")
        footer = json.loads(data[-8 - size : -8])
        with memoryview(data) as view, view[: -8 - size] as content:
            if zlib.crc32(content) != footer["crc"]:
                raise ValueError(f"{path.name} does not match its checksum")
