"""The index of an evaluation: a collection cut, embedded and stored exactly as ingestion does it, kept in a cache folder.

The folder is named after everything that decides its content: the corpus file, the embedding model, the chunker and its
settings, the engine, and this module's own version. A changed corpus or setting therefore never meets an old index, and the
data folder is only ever read. On OpenSearch the folder holds the marker alone; the index lies on the cluster behind an alias
of its own, `rag-eval-KEY`, never behind the one that answers users. A run that was killed leaves whole documents behind; the
next one adds those that are missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.documents import Chunk, Document, chunk_id
from ..core.identity import DEFAULT_TENANT, EVERYONE
from ..errors import IndexMissingError, StorageError
from ..infra.config import IngestionCfg, SearchCfg
from ..infra.providers.protocol import Embedder, TokenSpans
from ..infra.search.embedded.schema import FORMAT as INDEX_FORMAT
from ..infra.search.opensearch.fields import FORMAT as OPENSEARCH_FORMAT
from ..infra.search.protocol import DocumentWrite, SearchClient
from ..ingestion.blocks import Part, clean
from ..ingestion.chunking import CHUNKER_VERSION, chunk_parts, embedding_text
from ..ingestion.loaders.text import text_blocks
from .dataset import CorpusDocument, Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
"""Raised when this module makes other chunks of the same corpus."""

_MARKER = "complete.json"
_GROUP = 64
"""Documents that are cut, embedded and written together."""

OnIndexed = Callable[[int], None]
"""Told how many documents are in the index, as they come in."""


@dataclass(frozen=True, slots=True)
class Built:
    """What the index holds. ``seconds`` is what its making took, in this run or an earlier one; ``reused``: nothing was made."""

    documents: int
    chunks: int
    seconds: float
    reused: bool


def index_folder(cache: Path, dataset: Dataset, embedder: str, cfg: IngestionCfg, search: SearchCfg | None = None) -> Path:
    """Where the index of a collection lies, under the cache folder.

    Args:
        search: of OpenSearch; None is the embedded engine.
    """
    recipe: dict[str, object] = {
        "format": [FORMAT, INDEX_FORMAT],
        "corpus": dataset.content_digest(),
        "embedder": embedder,
        "chunker": CHUNKER_VERSION,
        "chunk_tokens": cfg.chunk_tokens,
        "chunk_overlap": cfg.chunk_overlap,
    }
    if search is not None:
        recipe["opensearch"] = [OPENSEARCH_FORMAT, search.host, search.language, search.size, search.knn_engine]
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]
    return cache / "eval" / f"{_slug(dataset.name)}-{key}"


def index_alias(folder: Path) -> str:
    """The alias on a cluster that belongs to a folder of `index_folder`."""
    return f"rag-eval-{folder.name.rpartition('-')[2]}"


async def ensure_index(
    folder: Path,
    documents: Iterable[CorpusDocument],
    search: SearchClient,
    embedder: Embedder,
    tokens: TokenSpans,
    cfg: IngestionCfg,
    on_indexed: OnIndexed | None = None,
) -> Built:
    """Make the index, or find it made.

    Args:
        folder: holds the marker that says the index is complete; the index itself is ``search``'s.

    Raises:
        InputError: the corpus is malformed.
        StorageError: the cache folder cannot be written.
    """
    known = _read_marker(folder)
    if known is not None and await _is_there(search):
        return known
    began = time.perf_counter()
    count = chunks = 0
    stream = iter(documents)
    while group := list(islice(stream, _GROUP)):
        chunks += await _index(group, search, embedder, tokens, cfg)
        count += len(group)
        if on_indexed is not None:
            on_indexed(count)
    built = Built(count, chunks, time.perf_counter() - began, reused=False)
    await search.refresh()  # everything is searchable before the first question is timed
    _write_marker(folder, built)
    return built


async def _index(group: list[CorpusDocument], search: SearchClient, embedder: Embedder, tokens: TokenSpans, cfg: IngestionCfg) -> int:
    prepared = await asyncio.to_thread(lambda: [_cut(document, tokens, cfg) for document in group])
    known = await _known(search, [document.id for document, _, _ in prepared])
    missing = [entry for entry in prepared if entry[1] and known.get(entry[0].id) != entry[0].content_hash]
    vectors = await embedder.embed([text for _, _, texts in missing for text in texts])
    await search.write(list(_writes(missing, vectors)))
    return sum(len(chunks) for _, chunks, _ in prepared)


async def _known(search: SearchClient, document_ids: list[str]) -> dict[str, str]:
    try:
        return await search.content_hashes(document_ids, DEFAULT_TENANT)
    except IndexMissingError:  # the first write makes it
        return {}


async def _is_there(search: SearchClient) -> bool:
    """Whether a cluster still has what the marker speaks of."""
    try:
        await search.ping()
    except IndexMissingError:
        return False
    return True


Cut = tuple[Document, tuple[Chunk, ...], tuple[str, ...]]


def _cut(source: CorpusDocument, tokens: TokenSpans, cfg: IngestionCfg) -> Cut:
    """The document, its chunks, and what is embedded of each; one without text is found by its title."""
    title = clean(source.title).strip()
    text = clean(source.text)
    text = text if text.strip() else title
    passages = chunk_parts([Part(text, tuple(text_blocks(text)))], tokens, cfg.chunk_tokens, cfg.chunk_overlap)
    document = Document(
        id=source.id,
        tenant=DEFAULT_TENANT,
        title=title,
        source=source.id,
        content_type="text/plain",
        content_hash=hashlib.sha256(f"{title}\0{text}".encode()).hexdigest(),
        acl=(EVERYONE,),
    )
    chunks = tuple(
        Chunk(
            id=chunk_id(DEFAULT_TENANT, source.id, position, passage.text),
            document_id=source.id,
            tenant=DEFAULT_TENANT,
            position=position,
            text=passage.text,
            section=passage.section,
            start=passage.start,
            end=passage.end,
        )
        for position, passage in enumerate(passages)
    )
    spans = lru_cache(maxsize=256)(tokens.spans)  # the passages of a section share their prefix
    texts = tuple(embedding_text(title, p.section, p.text, spans, p.tokens) for p in passages)
    return document, chunks, texts


def _writes(cuts: list[Cut], vectors: NDArray[np.float32]) -> Iterator[DocumentWrite]:
    at = 0
    for document, chunks, _ in cuts:
        yield DocumentWrite(document, chunks, vectors[at : at + len(chunks)])
        at += len(chunks)


def _read_marker(folder: Path) -> Built | None:
    try:
        stored = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return Built(int(stored["documents"]), int(stored["chunks"]), float(stored["seconds"]), reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not finished, or cut short by a kill: what is there is checked document by document


def _write_marker(folder: Path, built: Built) -> None:
    aside = folder / f"{_MARKER}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps({"documents": built.documents, "chunks": built.chunks, "seconds": built.seconds}), encoding="utf-8")
        aside.replace(folder / _MARKER)
    except OSError as error:
        raise StorageError(f"The evaluation index {folder} cannot be written: {error.strerror or error}.", setting="cache.path") from error


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name)[:60] or "collection"
