"""Both views together: taken up from disk, brought up to the truth, rebuilt where they cannot be trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ....errors import StorageError, StorageReadOnlyError
from ....telemetry.logger import get_logger
from .failures import SETTING, corrupt, from_os_error, full, read_only
from .lexical import LexicalView, Postings
from .lock import file_lock
from .truth import State, Truth
from .vectors import Lines, VectorView
from .viewfile import signature

log = get_logger(__name__)

FOLDER = "views"
LOCK_FILE = "views.lock"

_FULL_WORDS = ("os error 28", "os error 27", "os error 122", "No space left", "File too large", "quota exceeded")
_READ_ONLY_WORDS = ("os error 30", "os error 13", "os error 1)", "Read-only file system", "Permission denied")


@dataclass(frozen=True, slots=True)
class Views:
    """Both views at the same number of the same truth."""

    truth: str
    seq: int
    lines: Lines
    postings: Postings


class ViewPair:
    """The two views of one data folder, for one thread.

    Where the folder cannot be written and the views lag behind, they are made in memory instead.
    """

    def __init__(self, folder: Path, dims: int, lock_timeout_s: float) -> None:
        self._folder = folder
        self._dims = dims
        self._lock_timeout_s = lock_timeout_s
        self._current: Views | None = None
        self._signatures: tuple[object, object] = (None, None)
        self._in_memory = False
        self._lexical, self._vector = self._on_disk()

    @classmethod
    def in_memory(cls, folder: Path, dims: int) -> ViewPair:
        """Views that touch no file."""
        pair = cls(folder, dims, 0.0)
        pair._use_memory()
        return pair

    def _use_memory(self) -> None:
        self._in_memory = True
        self._lexical, self._vector = LexicalView(None), VectorView(None, self._dims)

    def _on_disk(self) -> tuple[LexicalView, VectorView]:
        root = self._folder / FOLDER
        return LexicalView(root / LexicalView.name), VectorView(root / VectorView.name, self._dims)

    def current(self, state: State) -> Views | None:
        """The views, if they stand at ``state`` already; costs about 5 microseconds."""
        views = self._current
        if views is None or views.seq != state.seq or views.truth != state.truth or self._sign() != self._signatures:
            return None
        return views

    def _sign(self) -> tuple[object, object]:
        if self._in_memory:
            return (None, None)
        root = self._folder / FOLDER
        return signature(root / LexicalView.name), signature(root / VectorView.name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the view lock; nothing on a folder that cannot be written, where nobody writes either."""
        if self._in_memory:
            yield
            return
        try:
            for view in (LexicalView.name, VectorView.name):
                (self._folder / FOLDER / view).mkdir(parents=True, exist_ok=True)
            lock = file_lock(self._folder / LOCK_FILE, self._lock_timeout_s, "indexing")
            lock.__enter__()
        except (OSError, StorageReadOnlyError) as error:
            failure = from_os_error(error, self._folder) if isinstance(error, OSError) else error
            if not isinstance(failure, StorageReadOnlyError):
                raise failure from error
            yield
            return
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def catch_up(self, truth: Truth, state: State) -> Views:
        """Bring both views to ``state``, which is that of the snapshot that ``truth`` reads; with the lock held."""
        try:
            self._bring(truth, state)
        except StorageReadOnlyError:
            log.info("the data folder cannot be written and its views lag behind; serving from memory", folder=str(self._folder))
            self._use_memory()
            self._bring(truth, state)
        except BaseException:
            self._forget()
            raise
        self._current = Views(state.truth, state.seq, self._vector.snapshot(), self._lexical.snapshot())
        self._signatures = self._sign()
        return self._current

    def _forget(self) -> None:
        """After a failure nothing in memory is trusted; the next call begins with what is on disk."""
        self._current = None
        self._in_memory = False
        self._lexical, self._vector = self._on_disk()

    def _bring(self, truth: Truth, state: State) -> None:
        with _view_errors(self._folder):
            for view in (self._lexical, self._vector):
                if not self._usable(view, state) or not self._advance(view, truth, state):
                    self._rebuild(view, truth, state)
            if self._complete(state):
                return
            log.warning("a view does not hold what the index holds; rebuilding both", chunks=state.chunks, views=self._counts())
            for view in (self._lexical, self._vector):
                self._rebuild(view, truth, state)
            if not self._complete(state):
                raise corrupt(truth.path, f"it counts {state.chunks} chunks, and its views made anew hold {self._counts()}")

    def _usable(self, view: LexicalView | VectorView, state: State) -> bool:
        # A view that is ahead was made from another history of this index: a backup was put back.
        return view.load(state.truth) and view.position is not None and state.horizon <= view.position.seq <= state.seq

    def _advance(self, view: LexicalView | VectorView, truth: Truth, state: State) -> bool:
        """Apply what happened since the view's position; False where its files stand in the way."""
        assert view.position is not None
        after = view.position.seq
        if after == state.seq and not view.needs_repair:
            return True
        self._require_writable()
        removed = truth.removed(after, state.seq)
        try:
            if isinstance(view, LexicalView):
                view.apply(removed, truth.entries(after, state.seq), state.seq)
            else:
                view.apply(removed, truth.vectors(after, state.seq), state.seq)
        except ValueError as error:
            if _storage_error(error, self._folder) is not None:
                raise
            log.warning("a view cannot go on from where it stands and will be rebuilt", view=view.name, reason=str(error))
            return False
        return True

    def _rebuild(self, view: LexicalView | VectorView, truth: Truth, state: State) -> None:
        self._require_writable()
        if state.chunks:
            log.info("building a view from the index", view=view.name, chunks=state.chunks)
        view.reset(state.truth)
        if isinstance(view, LexicalView):
            view.apply([], truth.entries(0, state.seq), state.seq)
        else:
            view.apply([], truth.vectors(0, state.seq), state.seq)

    def _counts(self) -> dict[str, int]:
        return {"lexical": self._lexical.count(), "vector": self._vector.count()}

    def _complete(self, state: State) -> bool:
        return all(count == state.chunks for count in self._counts().values())

    def _require_writable(self) -> None:
        if not self._in_memory and not os.access(self._folder / FOLDER, os.W_OK):
            raise read_only(self._folder)


def _storage_error(error: ValueError, folder: Path) -> StorageError | None:
    """What tantivy's error says about the disk, if it does; it raises everything as ValueError."""
    text = str(error)
    if any(word in text for word in _FULL_WORDS):
        return full(folder)
    if any(word in text for word in _READ_ONLY_WORDS):
        return read_only(folder)
    return None


@contextmanager
def _view_errors(folder: Path) -> Iterator[None]:
    """Storage errors for what is raised while the files of a view are written."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, folder) from error
    except ValueError as error:
        general = StorageError(f"The views of {folder} failed: {error}", setting=SETTING, hint=f"Delete its folder {FOLDER}; it is built again.")
        raise _storage_error(error, folder) or general from error
