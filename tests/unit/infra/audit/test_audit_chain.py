"""The hash chain: whatever is done to the file is found, and named by its row."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.errors import ConfigurationError
from src.infra.audit.chain import Head, Keyring, opened, parse_keys, sealed
from src.infra.audit.verify import Anchor, Finding, Verification, Verifier, authentic_rows, records, verify

OLD = base64.b64encode(b"o" * 32).decode()
NEW = base64.b64encode(b"n" * 32).decode()
KEYS = parse_keys(f"k1:{OLD}")


def chain(count: int, keys: Keyring = KEYS, head: Head | None = None, word: str = "search") -> tuple[list[bytes], list[Anchor]]:
    """Rows, and the anchor of each."""
    lines, anchors = [], []
    head = head or Head(chain="c0ffee")
    for number in range(count):
        body = {"action": word, "outcome": "allowed", "time": f"2026-11-21T00:00:00.{number:03}Z", "user": f"u{number}"}
        line, head = sealed(body, head, keys)
        lines.append(line)
        anchors.append(Anchor(head.n, head.mac, head.chain))
    return lines, anchors


def kinds(found: Verification) -> list[tuple[str, int]]:
    return [(one.kind, one.row) for one in found.findings]


SIZES = st.integers(3, 12)
fewer = settings(max_examples=40)


def test_an_untouched_chain_is_intact_and_its_last_row_is_its_head() -> None:
    lines, anchors = chain(7)
    found = verify(lines, KEYS, anchors)
    assert (found.intact, found.findings, found.records, found.unanchored) == (True, [], 7, 0)
    assert (found.head.n, found.head.mac) == (7, anchors[-1].mac)
    assert verify(lines, KEYS, anchors[:4]).unanchored == 3
    assert verify([], KEYS).intact


@fewer
@given(SIZES, st.data())
def test_a_changed_row_is_found_and_named_alone(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    row = data.draw(st.integers(0, size - 1))
    body = bytearray(lines[row])
    at = data.draw(st.integers(0, len(body) - 2))
    put = data.draw(st.integers(0, 255).filter(lambda one: one not in (body[at], 10)))
    body[at] = put
    lines[row] = bytes(body)
    for known in ([], anchors):
        assert kinds(verify(lines, KEYS, known)) in ([("changed", row + 1)], [("unknown-key", row + 1)])


@fewer
@given(SIZES, st.data())
def test_deleted_rows_are_found_where_they_were_and_counted(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    first = data.draw(st.integers(0, size - 2))
    count = data.draw(st.integers(1, size - 1 - first))
    del lines[first : first + count]
    assert verify(lines, KEYS, anchors).findings == [Finding("deleted", first + 1, first + 1, count)]


@fewer
@given(SIZES, st.data())
def test_a_cut_tail_is_found_by_the_anchor_and_never_without(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    left = data.draw(st.integers(0, size - 1))
    assert verify(lines[:left], KEYS, anchors).findings == [Finding("cut", left + 1, left + 1, size - left)]
    assert verify(lines[:left], KEYS).intact


@fewer
@given(SIZES, st.data())
def test_rows_in_another_order_are_found(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    order = data.draw(st.permutations(range(size)).filter(lambda one: list(one) != list(range(size))))
    found = verify([lines[at] for at in order], KEYS, anchors)
    moved = {one.row for one in found.findings if one.kind == "moved"}
    assert moved
    assert all(order[row - 1] < max(order[: row - 1]) for row in moved)
    assert {one.kind for one in found.findings} == {"moved"}


@fewer
@given(SIZES, st.data())
def test_a_row_that_stands_twice_or_was_put_in_is_found(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    copy, at = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    twice = [*lines[:at], lines[copy], *lines[at:]]
    assert not verify(twice, KEYS, anchors).intact
    foreign = [*lines[:at], b'{"action":"nothing"}\n', *lines[at:]]
    assert kinds(verify(foreign, KEYS, anchors)) == [("changed", at + 1)]


@fewer
@given(SIZES, st.data())
def test_a_chain_written_anew_with_the_key_is_found_at_the_first_anchor_behind_the_change(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    row = data.draw(st.integers(0, size - 1))
    kept = data.draw(st.sets(st.integers(row, size - 1), min_size=1))
    head = Head(row, anchors[row - 1].mac, "c0ffee") if row else Head(chain="c0ffee")
    forged, _ = chain(size - row, head=head, word="forged")
    found = verify([*lines[:row], *forged], KEYS, [anchor for at, anchor in enumerate(anchors) if at < row or at in kept])
    assert kinds(found) == [("recomputed", at + 1) for at in sorted(kept)]
    assert verify([*lines[:row], *forged], KEYS).intact  # why there is an anchor


def test_a_whole_other_chain_and_one_put_behind_a_cut_one_are_found() -> None:
    lines, anchors = chain(4)
    other, _ = chain(4, head=Head(chain="dead"))
    assert ("replaced", 1) in kinds(verify(other, KEYS, anchors))
    later, later_anchors = chain(2, head=Head(2, anchors[1].mac, "c0ffee"), word="later")
    assert kinds(verify([*lines[:2], *later], KEYS, [*anchors, *later_anchors])) == [("recomputed", 3), ("recomputed", 4)]
    spliced, _ = chain(4, word="other")
    assert kinds(verify([*lines[:2], *spliced[2:]], KEYS)) == [("relinked", 3)]


def test_collected_heads_of_other_chains_say_nothing_but_in_the_files_own_anchor_they_do() -> None:
    lines, anchors = chain(4)
    _, others = chain(9, head=Head(chain="dead"))
    found = verify(lines, KEYS, [*others, *anchors])
    assert (found.intact, found.anchors, found.others, found.anchored_from) == (True, 4, 9, 1)
    assert kinds(verify(lines[:2], KEYS, [*others, *anchors])) == [("cut", 3)]
    assert kinds(verify(lines, KEYS, [*anchors, replace(others[0], own=True)])) == [("replaced", 1)]


def test_it_is_known_from_which_record_on_there_are_anchors() -> None:
    lines, anchors = chain(4)
    found = verify(lines, KEYS, anchors[2:])
    assert (found.intact, found.anchored_from, found.unanchored) == (True, 3, 0)
    assert verify(lines, KEYS).anchored_from == 0


def test_rows_of_another_chain_are_named_each_and_not_taken_for_authentic() -> None:
    lines, _ = chain(4)
    other, _ = chain(4, head=Head(chain="dead"))
    spliced = [*lines[:1], b"junk\n", *other[2:]]
    assert kinds(verify(spliced, KEYS)) == [("changed", 2), ("foreign", 3), ("foreign", 4)]
    assert [row for row, _ in records(spliced, Verifier(KEYS))] == [1]


@fewer
@given(SIZES, st.data())
def test_rows_that_contradict_the_anchors_are_told_from_those_that_an_anchor_vouches_for(size: int, data: st.DataObject) -> None:
    lines, anchors = chain(size)
    row = data.draw(st.integers(1, size - 1))
    forged, _ = chain(size - row, head=Head(row, anchors[row - 1].mac, "c0ffee"), word="forged")
    found = verify([*lines[:row], *forged], KEYS, [anchors[row - 1], anchors[-1]])
    assert [at for one in found.forged for at in one] == list(range(row + 1, size + 1))
    assert verify(lines, KEYS, anchors).forged == []
    rows = [*lines[:row], *forged]
    left = authentic_rows(rows, [*rows, b"later\n"], Verifier(KEYS, [anchors[row - 1], anchors[-1]]))[1]
    assert [at for at, _ in left] == list(range(1, row + 1))


def test_after_a_rotation_the_new_key_signs_and_the_old_one_still_verifies() -> None:
    lines, anchors = chain(2)
    both = parse_keys(f"k2:{NEW}, k1:{OLD}")
    more, _ = chain(2, keys=both, head=Head(2, anchors[-1].mac, "c0ffee"))
    assert [opened(line[:-1])["key"] for line in (*lines, *more)] == ["k1", "k1", "k2", "k2"]  # type: ignore[index]  # they are records
    assert verify([*lines, *more], both).intact
    assert kinds(verify([*lines, *more], parse_keys(f"k2:{NEW}"))) == [("unknown-key", 1), ("unknown-key", 2)]


def test_a_key_that_signs_under_anothers_name_proves_nothing() -> None:
    lines, _ = chain(2, keys=parse_keys(f"k1:{NEW}"))
    assert kinds(verify(lines, KEYS)) == [("changed", 1), ("changed", 2)]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_check(junk: bytes) -> None:
    lines, anchors = chain(2)
    found = verify([*lines, *junk.splitlines(keepends=True)], KEYS, anchors)
    assert found.records <= 2 + junk.count(b"\n")


@pytest.mark.parametrize("line", [b'{"a":1', b"[]", b"7", b'{"n":1}', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_record_is_none(line: bytes) -> None:
    assert opened(line) is None


def test_a_record_written_in_another_way_is_none_though_it_says_the_same() -> None:
    (line,), _ = chain(1)
    record = json.loads(line)
    assert opened(json.dumps(record).encode()) is None
    assert opened(line[:-1]) == record
    assert opened(line[:-2] + b',"n":1}') is None


@pytest.mark.parametrize("text", ["", "k1", "k1:AAAA", f"k 1:{OLD}", f"k1:{OLD},k1:{NEW}", f"k1:{OLD},"])
def test_bad_keys_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"audit\.keys") as caught:
        parse_keys(text)
    assert OLD not in str(caught.value)


def test_pseudonyms_stay_the_same_under_a_key_and_differ_by_kind() -> None:
    both = parse_keys(f"k2:{NEW}, k1:{OLD}")
    name = KEYS.pseudonym("user", "ann")
    assert name == parse_keys(f"k1:{OLD}").pseudonym("user", "ann")
    assert "ann" not in name
    assert name != KEYS.pseudonym("tenant", "ann")
    assert name in both.pseudonyms("user", "ann")
    assert name != both.pseudonym("user", "ann")
