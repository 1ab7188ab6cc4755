"""What the writing methods of the engine do, in the writer's thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....core.identity import AccessScope
from ....errors import IndexMismatchError, RagError
from ....telemetry.logger import get_logger
from ..protocol import DocumentWrite
from ..requests import checked_vectors
from . import ledger
from .reading import find_document
from .session import Session, identity, write_lock
from .truth import State, Truth

log = get_logger(__name__)

_GROUP_CHUNKS = 1000
_FOLLOW_CHANGES = 500
_FOLLOW_S = 2.0


class Writer:
    """The one writer of an engine; its methods run in one thread.

    The views follow the truth once 500 changes are waiting or 2 seconds have passed: a commit of the lexical view costs
    about 30 ms whatever it holds, and ingestion writes about 30 chunks a second.
    """

    def __init__(self, folder: Path, embedder: str, dims: int, lock_timeout_s: float) -> None:
        self._folder = folder
        self._embedder = embedder
        self._dims = dims
        self._lock_timeout_s = lock_timeout_s
        self._session: Session | None = None
        self._followed_seq = 0
        self._followed_at = 0.0

    @staticmethod
    def groups(documents: Sequence[DocumentWrite]) -> Iterator[list[DocumentWrite]]:
        """Documents that are committed together: up to 1,000 chunks, a document never split."""
        group: list[DocumentWrite] = []
        chunks = 0
        for write in documents:
            if group and chunks + len(write.chunks) > _GROUP_CHUNKS:
                yield group
                group, chunks = [], 0
            group.append(write)
            chunks += len(write.chunks)
        if group:
            yield group

    def write(self, group: Sequence[DocumentWrite]) -> None:
        """Commit one group."""
        vectors = [checked_vectors(write, self._dims) for write in group]
        with write_lock(self._folder, self._lock_timeout_s):
            session = self._open()
            with session.truth.transaction():
                self._check(session)
                for write, own in zip(group, vectors, strict=True):
                    ledger.put(session.truth, write, own)

    def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        """Delete what the scope may see; a system scope deletes from every tenant."""
        if identity(self._folder) is None:
            return 0
        deleted = 0
        with write_lock(self._folder, self._lock_timeout_s):
            session = self._open()
            with session.truth.transaction():
                self._check(session)
                for document_id in dict.fromkeys(document_ids):
                    while (found := find_document(session, document_id, scope)) is not None:
                        ledger.drop(session.truth, found[0])
                        deleted += 1
        return deleted

    def reset(self) -> None:
        """Empty the index and take this embedder."""
        with write_lock(self._folder, self._lock_timeout_s):
            truth = self._open().truth
            with truth.transaction():
                ledger.clear(truth, self._embedder, self._dims)

    def _open(self) -> Session:
        if self._session is not None and not self._session.current():
            self._session.close()  # what is written into a file that was taken away would be lost
            self._session = None
        if self._session is None:
            if identity(self._folder) is None:
                Truth.create(self._folder, self._embedder, self._dims)
            self._session = Session.open(self._folder, self._embedder, self._dims, self._lock_timeout_s)
        return self._session

    def _check(self, session: Session) -> None:
        """Refuse an index of another model, unless it is empty: then it becomes this model's."""
        state = session.truth.state()
        try:
            session.check(state)
        except IndexMismatchError:
            if session.truth.documents():
                raise
            ledger.adopt(session.truth, self._embedder, self._dims)

    def follow(self) -> None:
        """Bring the views up to the truth if enough is waiting. Failures are logged: the truth holds what was acknowledged,
        and the next search meets the same failure where somebody hears of it."""
        try:
            if self._session is None:
                return
            state: State = self._session.truth.state()
            waiting = state.seq - self._followed_seq
            if waiting >= _FOLLOW_CHANGES or (waiting and time.monotonic() - self._followed_at > _FOLLOW_S):
                self._bring_views(self._session)
        except RagError as error:
            log.warning("the views could not follow the index", reason=str(error))

    def _bring_views(self, session: Session) -> None:
        with session.serving() as (state, _):
            self._followed_seq = state.seq
        ledger.forget_tombstones(session.truth, self._followed_seq)
        self._followed_at = time.monotonic()

    def close(self) -> None:
        """Bring the views up, so that the next start finds them ready, and close the file."""
        if self._session is None:
            return
        try:
            self._bring_views(self._session)
        except RagError as error:
            log.warning("the views could not follow the index", reason=str(error))
        self._session.close()
        self._session = None
