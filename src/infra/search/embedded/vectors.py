"""The vector view: one float32 matrix, memory-mapped, searched exactly.

Files of a generation, plain arrays: ``matrix`` (n, dims) float32, ``keys`` (n, 3) int64 = row, document ordinal and
access list of each line, ``dead`` (m,) int64 = rows that were deleted since. They only ever grow; what lies behind the
counts of the position file does not exist yet. Once a quarter is dead, the next generation leaves the dead out.

`VectorView.snapshot` returns an immutable `Lines`, which is all that searching needs: an approximate view implements
`top` and `score` of it over its own structure.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....telemetry.logger import get_logger
from .viewfile import Position, generation_folder, read_position, remove_other_generations, write_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

log = get_logger(__name__)

VERSION = 1
_BATCH = 4096
_MIN_DEAD = 1000
_GATHER_SHARE = 0.1
_PARTS = ("matrix", "keys", "dead")


@dataclass(frozen=True, slots=True)
class Lines:
    """The vector view as it stands at one number of the truth; positions below are line numbers.

    Attributes:
        matrix: float32, shape (n, dims), rows L2-normalised.
        rows: chunk row of each line, ascending, shape (n,).
        docs, acls: document ordinal and access list of each line, shape (n,).
        alive: False for deleted lines.
        live: how many are alive.
    """

    matrix: NDArray[np.float32]
    rows: NDArray[np.int64]
    docs: NDArray[np.int64]
    acls: NDArray[np.int64]
    alive: Mask
    live: int

    def find(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Line of each row; every row must be there."""
        found: NDArray[np.int64] = np.searchsorted(self.rows, rows)
        return found

    def score(self, lines: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Cosine similarity of some lines with the query, shape (len(lines),)."""
        return _cosines(self.matrix[lines], query).astype(np.float64)

    def top(self, query: NDArray[np.float32], limit: int, mask: Mask | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``limit`` best lines among ``mask`` (None: all that are alive), with their cosines; equal ones by row."""
        chosen = self.alive if mask is None else mask
        count = self.live if mask is None else int(np.count_nonzero(mask))
        if count == 0 or limit <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        if count < _GATHER_SHARE * self.rows.size:
            lines = np.flatnonzero(chosen)
            scores = _cosines(self.matrix[lines], query)
        else:
            scores = _cosines(self.matrix, query)
            lines = np.arange(self.rows.size) if count == self.rows.size else np.flatnonzero(chosen)
            scores = scores if count == self.rows.size else scores[lines]
        return _best(lines, scores, limit)


def _cosines(matrix: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot product of each row with the query, each row's the same whatever rows stand around it.

    By einsum, which stays in this thread: 0.9 ms for 20,000 x 384, as BLAS takes with one thread. BLAS with two takes
    0.4 ms on an idle machine and 6 to 50 ms on a busy one, where its threads wait for each other.
    """
    found: NDArray[np.float32] = np.einsum("ij,j->i", matrix, query)
    return found


def _best(lines: NDArray[np.int64], scores: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if scores.size > limit:
        threshold = np.partition(scores, scores.size - limit)[scores.size - limit]
        near = np.flatnonzero(scores >= threshold)  # every line that ties with the last one, so that ties fall by row
        lines, scores = lines[near], scores[near]
    order = np.lexsort((lines, -scores))[:limit]
    return lines[order], scores[order].astype(np.float64)


class VectorView:
    """The files of the view in ``folder`` (None: in memory only, for a data folder that cannot be written).

    Not thread-safe; writing needs the view lock.
    """

    name = "vector"

    def __init__(self, folder: Path | None, dims: int) -> None:
        self._folder = folder
        self._dims = dims
        self._position: Position | None = None
        self._matrix: NDArray[np.float32] = np.empty((0, dims), np.float32)
        self._keys: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self._dead: NDArray[np.int64] = np.empty(0, np.int64)
        self._crc: dict[str, int] = {}

    @property
    def position(self) -> Position | None:
        return self._position

    # -- reading

    def load(self, truth: str) -> bool:
        """Take up what the files hold now; False where they are missing, of another index, or damaged."""
        if self._folder is None:
            return self._position is not None and self._position.truth == truth
        position = read_position(self._folder)
        if position is None or position.version != VERSION or position.truth != truth or position.facts.get("dims") != self._dims:
            self._position = None
            return False
        if position == self._position:
            return True
        try:
            self._map(position)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the vector view is damaged and will be rebuilt", folder=str(self._folder), reason=str(error))
            self._position = None
            return False
        return True

    def _map(self, position: Position) -> None:
        """Map the files up to the counts of ``position``, checking what this process has not seen yet."""
        assert self._folder is not None
        folder, facts = generation_folder(self._folder, position.generation), position.facts
        known = self._position
        same = known is not None and known.generation == position.generation
        old = known.facts if same and known is not None else {"lines": 0, "dead": 0}
        if facts["lines"] < old["lines"] or facts["dead"] < old["dead"]:
            raise ValueError("it shrank")
        counts = {"matrix": int(facts["lines"]), "keys": int(facts["lines"]), "dead": int(facts["dead"])}
        mapped = {part: _map_file(folder / part, self._shape(part, counts[part]), _dtype(part)) for part in _PARTS}
        crcs = {}
        for part in _PARTS:
            seen = int(old["dead"] if part == "dead" else old["lines"])
            crcs[part] = zlib.crc32(_bytes(mapped[part][seen:]), self._crc[part] if same else 0)
            if crcs[part] != facts["crc"][part]:
                raise ValueError(f"{part} does not match its checksum")
        self._matrix, self._keys, self._dead = mapped["matrix"], mapped["keys"], mapped["dead"]
        self._crc, self._position = crcs, position

    def _shape(self, part: str, count: int) -> tuple[int, ...]:
        return {"matrix": (count, self._dims), "keys": (count, 3), "dead": (count,)}[part]

    def snapshot(self) -> Lines:
        """What searching needs; stays as it is while the view goes on."""
        rows, docs, acls = (np.ascontiguousarray(self._keys[:, column]) for column in range(3))
        alive = np.ones(rows.size, dtype=bool)
        if self._dead.size:
            at = np.searchsorted(rows, self._dead)
            inside = at < rows.size
            at = at[inside]
            alive[at[rows[at] == self._dead[inside]]] = False
        return Lines(self._matrix, rows, docs, acls, alive, int(np.count_nonzero(alive)))

    def count(self) -> int:
        """Lines that are alive, counted."""
        return self.snapshot().live

    @property
    def needs_repair(self) -> bool:
        """Never: what a killed writer left behind the counts does not exist."""
        return False

    # -- writing

    def reset(self, truth: str) -> None:
        """Begin an empty generation."""
        last = read_position(self._folder) if self._folder is not None else None
        generation = (last.generation if last is not None else _newest(self._folder)) + 1
        self._begin(Position(VERSION, truth, generation, 0, self._facts(0, 0, dict.fromkeys(_PARTS, 0))))

    def _begin(self, position: Position) -> None:
        self._matrix, self._keys, self._dead = np.empty((0, self._dims), np.float32), np.empty((0, 3), np.int64), np.empty(0, np.int64)
        self._crc, self._position = dict.fromkeys(_PARTS, 0), position
        if self._folder is not None:
            folder = generation_folder(self._folder, position.generation)
            folder.mkdir(parents=True, exist_ok=True)
            for part in _PARTS:
                (folder / part).write_bytes(b"")

    def _facts(self, lines: int, dead: int, crc: dict[str, int]) -> dict[str, Any]:
        return {"dims": self._dims, "lines": lines, "dead": dead, "crc": crc}

    def apply(self, removed: list[int], added: Iterable[tuple[int, int, int, bytes]], seq: int) -> None:
        """Append chunks and mark removed ones, then stand at ``seq``."""
        assert self._position is not None
        source = iter(added)
        while batch := list(islice(source, _BATCH)):
            keys = np.array([entry[:3] for entry in batch], dtype=np.int64).reshape(len(batch), 3)
            self._append("matrix", np.frombuffer(b"".join(entry[3] for entry in batch), dtype=np.float32).reshape(len(batch), self._dims))
            self._append("keys", keys)
        if removed:
            self._append("dead", np.array(removed, dtype=np.int64))
        self._stand_at(seq)
        if self._dead.size > max(_MIN_DEAD, len(self._keys) // 4):
            self._compact()

    def _append(self, part: str, data: NDArray[Any]) -> None:
        assert self._position is not None
        before: NDArray[Any] = getattr(self, f"_{part}")
        count = len(before) + len(data)
        self._crc[part] = zlib.crc32(_bytes(data), self._crc[part])
        if self._folder is None:
            setattr(self, f"_{part}", np.concatenate([before, data]))
            return
        path = generation_folder(self._folder, self._position.generation) / part
        _append_file(path, data, len(before) * data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=int)))
        setattr(self, f"_{part}", _map_file(path, self._shape(part, count), _dtype(part)))

    def _stand_at(self, seq: int) -> None:
        assert self._position is not None
        old = self._position
        position = Position(VERSION, old.truth, old.generation, seq, self._facts(len(self._keys), self._dead.size, dict(self._crc)))
        if self._folder is not None:
            write_position(self._folder, position)
            remove_other_generations(self._folder, position.generation)
        self._position = position

    def _compact(self) -> None:
        assert self._position is not None
        old, lines = self._position, self.snapshot()
        keep = np.flatnonzero(lines.alive)
        matrix, keys = self._matrix, self._keys
        self._begin(Position(VERSION, old.truth, old.generation + 1, old.seq, old.facts))
        for start in range(0, keep.size, _BATCH):
            self._append("matrix", matrix[keep[start : start + _BATCH]])
            self._append("keys", keys[keep[start : start + _BATCH]])
        self._stand_at(old.seq)
        log.info("compacted the vector view", lines=int(keep.size), dropped=int(lines.rows.size - keep.size))


def _newest(folder: Path | None) -> int:
    return max((int(path.name[1:]) for path in folder.glob("g??????") if path.name[1:].isdigit()), default=0) if folder is not None else 0


def _dtype(part: str) -> np.dtype[Any]:
    return np.dtype(np.float32 if part == "matrix" else np.int64)


def _bytes(data: NDArray[Any]) -> memoryview:
    flat: Any = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _append_file(path: Path, data: NDArray[Any], at: int) -> None:
    """Write ``data`` behind the first ``at`` bytes of content, dropping what a killed writer left there."""
    with path.open("r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(_bytes(data))
        file.flush()
        os.fsync(file.fileno())


def _map_file(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=shape))
