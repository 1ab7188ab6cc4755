"""Checking a chain, pure: every row of the file against its key, its neighbours and the anchors.

A row is a line of the file, from 1. What is found is named by its row and by the number of its record. Numbers of records are taken at
their word only where their MAC is good: who has no key can put nothing into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from .chain import GENESIS, RECOVERED, Head, Keyring, Record, authentic, digest, opened

Kind = Literal["changed", "unknown-key", "deleted", "moved", "repeated", "relinked", "foreign", "cut", "recomputed", "replaced", "torn"]
EXPLAINED: Mapping[Kind, str] = {
    "changed": "the row is not what was written: its MAC is wrong, or it is no record",
    "unknown-key": "the row names a key that is not configured",
    "deleted": "records are missing before this row",
    "moved": "the row stands at another place than it was written",
    "repeated": "the row stands a second time",
    "relinked": "the row follows another record than the one it was written after",
    "foreign": "the row is of another chain than the rows before it",
    "cut": "the end of the file is missing: an anchor names records that are not there",
    "recomputed": "the row has another MAC than an anchor says: the chain was written anew by somebody who has the key",
    "replaced": "the file holds another chain than the anchors are of (or none of its own is among them yet)",
    "torn": "a writer was killed while it wrote this row; nothing of it was acknowledged",
}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head of a chain, kept elsewhere. ``chain`` is empty where it is not known.

    Attributes:
        own: from where heads of the checked file's chain stand alone (its configured anchor); collected lines may be of several chains.
    """

    n: int
    mac: str
    chain: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    row: int
    """Line of the file; of what is missing, the line behind the gap, or behind the end."""
    record: int
    """Number of the record, or of the first that is missing; 0 where nobody can say."""
    count: int = 1
    """Records that are missing."""

    @property
    def tampering(self) -> bool:
        """A torn line is what `kill -9` leaves; everything else is somebody's doing."""
        return self.kind != "torn"

    def __str__(self) -> str:
        if self.kind == "deleted":
            which = f"record {self.record} is" if self.count == 1 else f"records {self.record} to {self.record + self.count - 1} are"
            return f"row {self.row}: deleted: {which} missing before this row"
        named = f" (record {self.record})" if self.record else ""
        return f"row {self.row}{named}: {self.kind}: {EXPLAINED[self.kind]}"


@dataclass(slots=True)
class Verification:
    """What a check found."""

    findings: list[Finding] = field(default_factory=list)
    rows: int = 0
    records: int = 0
    head: Head = field(default_factory=Head)
    anchors: int = 0
    """Those of the file's chain."""
    others: int = 0
    """Anchors of other chains: they say nothing of this file."""
    anchored_from: int = 0
    """Record of the first anchor, 0 without one. Whoever had the key could write those before it anew until then."""
    unanchored: int = 0
    """Records behind the last anchor: cut off or written anew, they would not be missed."""
    forged: list[range] = field(default_factory=list)
    """Rows that contradict the anchors: from behind the last one that is right to the one that is not; of a replaced file all."""

    @property
    def intact(self) -> bool:
        return not any(finding.tampering for finding in self.findings)


class Verifier:
    """Takes the rows of a file one by one; `finish` says what was found.

    Args:
        anchors: heads that were kept elsewhere, in the order in which they were written.
    """

    def __init__(self, keys: Keyring, anchors: Sequence[Anchor] = ()) -> None:
        self._keys = keys
        self._anchors = anchors
        self._wanted: dict[int, str] = {}
        self._found = Verification()
        self._unsettled = 1
        self._forging = False
        self._highest = 0
        self._last: tuple[int, str] = (0, GENESIS)
        self._gaps: dict[int, tuple[int, int]] = {}
        self._torn: tuple[int, bytes] | None = None
        self._stand_ins: set[int] = set()
        self._chain = ""

    def anew(self) -> Verifier:
        """One for the same keys and anchors that has seen no row."""
        return Verifier(self._keys, self._anchors)

    def take(self, line: bytes, *, ended: bool = True) -> Record | None:
        """The next row without its line end; ``ended`` is False for a last one that has none. Its record, where it is authentic."""
        self._found.rows += 1
        row = self._found.rows
        record = opened(line) if ended else None
        if record is None:
            self._unreadable(row, line, ended=ended)
            return None
        self._settle_torn(record)
        self._found.records += 1
        if not authentic(record, self._keys):
            kind: Kind = "changed" if record["key"] in self._keys else "unknown-key"
            self._untrusted(row, kind)
            return None
        if not self._is_own(record["chain"]):
            self._untrusted(row, "foreign")
            return None
        self._place(row, record)
        return record if self._settle(row, record) else None

    def finish(self) -> Verification:
        """What was found, by rows. Missing records are those that stand nowhere in the file."""
        found = self._found
        self._settle_torn(None)
        for first, (row, count) in self._gaps.items():
            found.findings.append(Finding("deleted", row, first, count))
        found.head = Head(self._highest, self._last[1], self._chain)
        of_it = [anchor for anchor in self._anchors if self._concerns(anchor)]
        found.anchors, found.others = len(of_it), len(self._anchors) - len(of_it)
        found.anchored_from, anchored = min((one.n for one in of_it), default=0), max((one.n for one in of_it), default=0)
        found.unanchored = max(0, self._highest - anchored)
        if anchored > self._highest:
            found.findings.append(Finding("cut", found.rows + 1, self._highest + 1, anchored - self._highest))
        if self._forging:
            found.forged.append(range(self._unsettled, found.rows + 1))
        if found.others and (not of_it or any(anchor.own and not self._concerns(anchor) for anchor in self._anchors)):
            found.findings.append(Finding("replaced", 1, 1))
            found.forged = [range(1, found.rows + 1)]
        found.findings.sort(key=lambda one: (one.row, one.record))
        return found

    def _concerns(self, anchor: Anchor) -> bool:
        """Whether it is of the file's chain; of a file without a record any may be."""
        return not self._chain or anchor.chain in ("", self._chain)

    def _is_own(self, chain: str) -> bool:
        """Whether a record is of the file's chain, which its first authentic record names."""
        if not self._chain:
            self._chain = chain
            for anchor in filter(self._concerns, self._anchors):
                same = self._wanted.setdefault(anchor.n, anchor.mac) == anchor.mac
                self._wanted[anchor.n] = anchor.mac if same else ""  # two heads of one number: no row can have both
        return chain == self._chain

    def _settle(self, row: int, record: Record) -> bool:
        """Whether the row is what an anchor says, where one does; it vouches for the rows before it, or against them."""
        wanted = self._wanted.get(record["n"])
        if wanted is None:
            return True
        self._forging = wanted != record["mac"]
        if self._forging:
            self._found.findings.append(Finding("recomputed", row, record["n"]))
            self._found.forged.append(range(self._unsettled, row + 1))
        self._unsettled = row + 1
        return not self._forging

    def _unreadable(self, row: int, line: bytes, *, ended: bool) -> None:
        self._settle_torn(None)
        self._torn = (row, line)
        if not ended:  # the end of the file: the next writer closes the line and says so
            self._torn = None
            self._found.findings.append(Finding("torn", row, self._highest + 1))

    def _settle_torn(self, record: Record | None) -> None:
        """Whether the row before, which was no record, is the torn line that this record accounts for."""
        if self._torn is None:
            return
        row, line = self._torn
        self._torn = None
        if record is not None and record["action"] == RECOVERED and authentic(record, self._keys) and record.get("object") == digest(line):
            self._found.findings.append(Finding("torn", row, record["n"]))
        else:
            self._untrusted(row, "changed")

    def _untrusted(self, row: int, kind: Kind) -> None:
        """A row whose own number means nothing stands for the next one, until that turns up itself."""
        self._highest += 1
        self._last = (self._highest, "")
        self._stand_ins.add(self._highest)
        self._found.findings.append(Finding(kind, row, self._highest))

    def _place(self, row: int, record: Record) -> None:
        n: int = record["n"]
        if n <= self._highest:
            self._earlier(row, n)
        else:
            if n > self._highest + 1:
                self._gaps[self._highest + 1] = (row, n - self._highest - 1)
            elif self._last[1] not in ("", record["prev"]) and self._last[0] == n - 1:
                self._found.findings.append(Finding("relinked", row, n))
            self._highest = n
        self._last = (n, record["mac"])

    def _earlier(self, row: int, n: int) -> None:
        """A record behind a later one: out of one of the gaps, or there twice; or the row before it was put in."""
        if n in self._stand_ins:
            self._stand_ins.remove(n)
            return
        for first, (gap_row, count) in list(self._gaps.items()):
            if first <= n < first + count:
                del self._gaps[first]
                if n > first:
                    self._gaps[first] = (gap_row, n - first)
                if n < first + count - 1:
                    self._gaps[n + 1] = (gap_row, first + count - 1 - n)
                self._found.findings.append(Finding("moved", row, n))
                return
        self._found.findings.append(Finding("repeated", row, n))


def verify(lines: Iterable[bytes], keys: Keyring, anchors: Sequence[Anchor] = ()) -> Verification:
    """Check whole lines, each with its line end (the last may lack it)."""
    verifier = Verifier(keys, anchors)
    for line in lines:
        verifier.take(line.removesuffix(b"\n"), ended=line.endswith(b"\n"))
    return verifier.finish()


def records(lines: Iterable[bytes], verifier: Verifier) -> Iterator[tuple[int, Record]]:
    """The records that `Verifier.take` gives back, with their rows."""
    for row, line in enumerate(lines, start=1):
        record = verifier.take(line.removesuffix(b"\n"), ended=line.endswith(b"\n"))
        if record is not None:
            yield row, record


def authentic_rows(lines: Iterable[bytes], again: Iterable[bytes], verifier: Verifier) -> tuple[Verification, Iterator[tuple[int, Record]]]:
    """What was found in a whole file, and then its authentic records with their rows. That one was written anew an anchor says only behind it.

    Args:
        again: the same lines a second time; what a writer has added meanwhile is passed over.
    """
    second = verifier.anew()
    for _ in records(lines, verifier):
        pass
    found = verifier.finish()
    good = records(islice(again, found.rows), second)
    return found, ((row, record) for row, record in good if not any(row in part for part in found.forged))
