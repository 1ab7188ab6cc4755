"""One thread's way into a data folder: its connection to the truth, its views, its selections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ....errors import IndexMismatchError
from .failures import REBUILD_COMMAND, from_os_error
from .lock import file_lock
from .selection import Selector
from .truth import FILE_NAME, State, Truth
from .views import ViewPair, Views

WRITE_LOCK = "write.lock"


class Session:
    """Opened by `Session.open`; belongs to one thread, which lends one leg of a hybrid search to `beside`."""

    def __init__(self, truth: Truth, pair: ViewPair, embedder: str, dims: int) -> None:
        self.truth = truth
        self.pair = pair
        self.selector = Selector()
        self.beside = ThreadPoolExecutor(1, thread_name_prefix="rag-search-leg")  # starts its thread with the first hybrid search
        self._file = identity(truth.path.parent)
        self._embedder = embedder
        self._dims = dims

    @classmethod
    def open(cls, folder: Path, embedder: str, dims: int, lock_timeout_s: float) -> Session:
        """Open the index in ``folder``, which must exist there."""
        return cls(Truth.connect(folder), ViewPair(folder, dims, lock_timeout_s), embedder, dims)

    @classmethod
    def empty(cls, folder: Path, embedder: str, dims: int) -> Session:
        """A session on an index that was never written, in memory."""
        return cls(Truth.empty(folder, embedder, dims), ViewPair.in_memory(folder, dims), embedder, dims)

    def check(self, state: State) -> None:
        """
        Raises:
            IndexMismatchError: the index holds vectors of another model.
        """
        if (state.embedder, state.dims) == (self._embedder, self._dims):
            return
        raise IndexMismatchError(
            f"The index {self.truth.path} holds vectors of {state.embedder} ({state.dims} dimensions); "
            f"the configuration asks for {self._embedder} ({self._dims} dimensions).",
            setting="embed.model",
            hint=f"Configure the model that made it, or build the index again: {REBUILD_COMMAND}",
        )

    @contextmanager
    def serving(self) -> Iterator[tuple[State, Views]]:
        """One committed state of the truth, and the views at exactly that state."""
        with ExitStack() as stack:
            state = stack.enter_context(self.truth.snapshot())
            self.check(state)
            views = self.pair.current(state)
            if views is None:
                stack.close()
                # The lock comes before the snapshot: views are only ever made from committed states, so none can be
                # ahead of a state that is read while nobody writes views.
                with self.pair.locked():
                    state = stack.enter_context(self.truth.snapshot())
                    self.check(state)
                    views = self.pair.catch_up(self.truth, state)
            yield state, views

    def current(self) -> bool:
        """Whether the file that is open still is the index: somebody may have taken it away or put another in its place."""
        return self._file is not None and self._file == identity(self.truth.path.parent)

    def close(self) -> None:
        self.beside.shutdown()
        self.truth.close()


def identity(folder: Path) -> tuple[int, int] | None:
    """Which file is the index in ``folder`` now; None where there is none.

    Raises:
        StorageError: the folder cannot be looked into.
    """
    try:
        stat = os.stat(folder / FILE_NAME)  # noqa: PTH116 - once per search; Path.stat is slower
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, folder) from error
    return stat.st_dev, stat.st_ino


@contextmanager
def write_lock(folder: Path, timeout_s: float) -> Iterator[None]:
    """The lock that every commit to the truth holds."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, folder) from error
    with file_lock(folder / WRITE_LOCK, timeout_s, "writing"):
        yield
