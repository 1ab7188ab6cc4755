"""The audit file and its writer: groups, torn lines, two writers, outages, and what a record may hold."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from src.core.identity import AccessScope, Identity, access_scope, system_scope
from src.errors import AuditError, ConfigurationError, NotFoundError, UnreachableError
from src.infra.audit.anchors import last_anchor, read_anchors
from src.infra.audit.chain import parse_keys
from src.infra.audit.chainfile import ChainFile
from src.infra.audit.fingerprint import configuration_event
from src.infra.audit.trail import AuditLog, make_audit
from src.infra.audit.verify import Verification, verify
from src.infra.config import AuditCfg, Settings, StorageCfg
from src.telemetry import metrics, metrics_catalogue
from src.telemetry.audit import NO_AUDIT, AuditEvent, changing, reading, turn_id
from src.telemetry.otel import set_correlation_id

SECRET = f"k1:{base64.b64encode(b'k' * 32).decode()}"
KEYS = parse_keys(SECRET)
ANN = Identity("ann", "acme", ("hr",))
Make = Callable[..., AuditLog]


def cfg(tmp_path: Path, **more: Any) -> AuditCfg:
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    keys: dict[str, Any] = {"keys": SecretStr(SECRET), "path": tmp_path / "audit" / "a.jsonl", "anchor": tmp_path / "elsewhere" / "heads"}
    return AuditCfg(enabled=True, **{**keys, **more})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(**more: Any) -> AuditLog:
        found = make_audit(Settings(audit=cfg(tmp_path, **more), storage=StorageCfg(path=tmp_path)))
        assert isinstance(found, AuditLog)
        return found

    return make


def rows(tmp_path: Path) -> list[bytes]:
    return (tmp_path / "audit" / "a.jsonl").read_bytes().splitlines(keepends=True)


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in rows(tmp_path)]


def checked(tmp_path: Path) -> Verification:
    return verify(rows(tmp_path), KEYS, read_anchors(tmp_path / "elsewhere" / "heads"))


class TestRecording:
    async def test_what_is_recorded_is_on_the_disk_chained_and_anchored_when_the_caller_goes_on(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        await trail.record(AuditEvent.by(ANN, "search", documents=("d1", "d2", "d1")))
        assert [row["documents"] for row in records(tmp_path)] == [["d1", "d2"]]
        anchor = last_anchor(tmp_path / "elsewhere" / "heads")
        assert anchor is not None
        assert (anchor.n, anchor.mac) == (1, records(tmp_path)[0]["mac"])
        await trail.aclose()
        assert checked(tmp_path).intact

    async def test_many_at_once_share_the_disk_and_none_is_lost(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        await asyncio.gather(*(trail.record(AuditEvent.by(ANN, "search", object=str(number))) for number in range(300)))
        await trail.aclose()
        assert {row["object"] for row in records(tmp_path)} == {str(number) for number in range(300)}
        assert checked(tmp_path).unanchored == 0
        assert len(read_anchors(tmp_path / "elsewhere" / "heads")) < 150

    async def test_two_writers_of_one_file_make_one_chain(self, make: Make, tmp_path: Path) -> None:
        trails = [make(), make()]
        for _ in range(5):
            await asyncio.gather(*(trail.record(AuditEvent.by(ANN, "search")) for trail in trails for _ in range(3)))
        for trail in trails:
            await trail.aclose()
        found = checked(tmp_path)
        assert (found.intact, found.records, found.findings) == (True, 30, [])

    async def test_who_gives_up_waiting_does_not_take_the_event_back(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        task = asyncio.create_task(trail.record(AuditEvent.by(ANN, "search")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await trail.aclose()
        assert len(records(tmp_path)) == 1

    def test_off_nothing_is_kept_and_on_it_needs_a_key_and_an_anchor_elsewhere(self, tmp_path: Path) -> None:
        assert make_audit(Settings()) is NO_AUDIT
        with pytest.raises(ValidationError, match="enabled needs keys"):
            AuditCfg(enabled=True)
        beside = cfg(tmp_path).model_copy(update={"anchor": tmp_path / "audit" / "heads"})
        with pytest.raises(ConfigurationError, match=r"audit\.anchor"):
            make_audit(Settings(audit=beside))


class TestWhatARecordHolds:
    async def test_who_asked_is_told_from_the_scope_and_the_answer_it_was_for_from_the_context(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        turn_id.set("m1")
        set_correlation_id("request-1")
        async with reading(trail, AuditEvent.under(access_scope(ANN), "search", mode="bm25")) as noted:
            noted.documents = ("d1",)
        await trail.record(AuditEvent.under(system_scope("acme"), "search"))
        await trail.aclose()
        first, second = records(tmp_path)
        assert (first["user"], first["tenant"], first["turn"], first["documents"], first["facts"]) == ("ann", "acme", "m1", ["d1"], {"mode": "bm25"})
        assert first["correlation_id"] == "request-1"
        assert "user" not in second
        assert second["facts"]["system"] is True
        assert second["facts"]["account"]

    async def test_outside_of_a_request_the_account_that_ran_the_command_is_recorded_too(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        (record,) = records(tmp_path)
        assert record["user"] == "ann"
        assert record["facts"]["account"]

    async def test_pseudonymous_records_name_nobody_and_still_tell_people_apart(self, make: Make, tmp_path: Path) -> None:
        trail = make(pseudonymous=True)
        await trail.record(AuditEvent.by(ANN, "document.read", documents=("ann/cv.pdf",), client="10.1.2.3"))
        await trail.aclose()
        raw = rows(tmp_path)[0].decode()
        assert not any(word in raw for word in ("ann", "acme", "cv.pdf", "10.1.2.3"))
        assert records(tmp_path)[0]["user"] == KEYS.pseudonym("user", "ann")

    async def test_a_refused_id_may_be_anything_so_secrets_in_it_are_taken_out(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        event = AuditEvent.by(ANN, "document.read", documents=("card 4111 1111 1111 1111 of ann@example.com" + "x" * 5000,))
        with pytest.raises(NotFoundError):
            async with reading(trail, event):
                raise NotFoundError("There is none.")
        await trail.aclose()
        (record,) = records(tmp_path)
        assert (record["outcome"], record["reason"]) == ("refused", "not-found")
        assert "4111" not in record["documents"][0]
        assert "ann@" not in record["documents"][0]
        assert len(record["documents"][0]) < 400

    async def test_the_configuration_is_told_by_hashes_and_what_changed_by_name(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        settings = Settings(audit=cfg(tmp_path), storage=StorageCfg(path=tmp_path))
        await trail.record(configuration_event(settings, KEYS, trail.path))
        await trail.record(configuration_event(settings, KEYS, trail.path))
        other = settings.model_copy(update={"chat": settings.chat.model_copy(update={"api_key": SecretStr("hunter2")})})
        await trail.record(configuration_event(other, KEYS, trail.path))
        await trail.aclose()
        assert [row["facts"]["changed"] for row in records(tmp_path)] == ["unknown", "nothing", "chat"]
        assert "hunter2" not in b"".join(rows(tmp_path)).decode()


class TestChanges:
    async def test_a_change_is_recorded_before_it_is_made_and_with_how_it_ended(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        async with changing(trail, AuditEvent.by(ANN, "document.delete", documents=("d1",))) as noted:
            assert [row["outcome"] for row in records(tmp_path)] == ["begun"]
            noted.facts["deleted"] = 1
        with pytest.raises(UnreachableError):
            async with changing(trail, AuditEvent.by(ANN, "index.switch")):
                raise UnreachableError("gone")
        await trail.aclose()
        assert [(row["outcome"], row.get("reason")) for row in records(tmp_path)] == [
            ("begun", None),
            ("allowed", None),
            ("begun", None),
            ("failed", "unreachable"),
        ]

    async def test_what_its_caller_gave_up_is_recorded_as_such(self, make: Make, tmp_path: Path) -> None:
        trail, under_way = make(), asyncio.Event()

        async def ask() -> None:
            async with reading(trail, AuditEvent.by(ANN, "chat")):
                under_way.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(ask())
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await trail.aclose()
        assert [(row["outcome"], row["reason"]) for row in records(tmp_path)] == [("failed", "cancelled")]

    async def test_what_cannot_be_recorded_is_not_done(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "audit").write_text("a file where the folder should be")
        trail, done = make(), False
        with pytest.raises(AuditError, match=r"audit\.path"):
            async with changing(trail, AuditEvent.by(ANN, "document.delete")):
                done = True
        assert not done
        with pytest.raises(AuditError):
            await trail.ping()
        await trail.aclose()


class TestOutages:
    async def test_with_warn_the_answer_goes_on_and_the_trail_says_how_much_is_missing(
        self, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        blocker = tmp_path / "audit"
        blocker.write_text("")
        trail = make(on_failure="warn")
        for _ in range(3):
            await trail.record(AuditEvent.by(ANN, "search"))
        assert sum("could not be recorded" in one.message for one in caplog.records) == 1
        assert trail.failing is not None
        blocker.unlink()
        await trail.ping()
        assert trail.failing is None
        await trail.aclose()
        assert [(row["action"], row.get("facts", {}).get("events")) for row in records(tmp_path)] == [("audit.gap", 3), ("audit.resumed", None)]
        assert checked(tmp_path).intact

    @pytest.mark.parametrize(("on_failure", "outcome"), [("warn", "missing"), ("refuse", "refused")])
    async def test_each_event_that_is_not_recorded_is_counted(self, make: Make, tmp_path: Path, on_failure: str, outcome: str) -> None:
        class Sink:
            def __init__(self) -> None:
                self.seen: list[tuple[str, object]] = []

            def add(self, figure: metrics_catalogue.Figure, value: float, key: metrics.Key) -> None:
                self.seen.append((figure.exposed, dict(key)["rag.outcome"]))

        (tmp_path / "audit").write_text("")
        trail = make(on_failure=on_failure)
        metrics.begin(sink := Sink())
        try:
            with suppress(AuditError):
                await trail.record(AuditEvent.by(ANN, "search"))
        finally:
            metrics.begin(None)
        assert sink.seen == [("rag_audit_failed_total", outcome)]
        (tmp_path / "audit").unlink()
        await trail.aclose()

    async def test_nothing_is_written_behind_another_chain_than_the_anchor_names(self, make: Make, tmp_path: Path) -> None:
        await (trail := make()).record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        heads = tmp_path / "elsewhere" / "heads"
        heads.write_text(json.dumps({"chain": "dead", "mac": "0" * 64, "n": 1}) + "\n")
        with pytest.raises(AuditError, match="holds another chain"):
            await (trail := make()).record(AuditEvent.by(ANN, "search"))
        await trail.aclose()

    async def test_a_torn_line_is_closed_by_the_next_writer_and_not_taken_for_tampering(self, make: Make, tmp_path: Path) -> None:
        for torn in (b'{"action":"sea', None):
            trail = make()
            await trail.record(AuditEvent.by(ANN, "search"))
            await trail.aclose()
            with (tmp_path / "audit" / "a.jsonl").open("ab") as file:
                file.write(torn or rows(tmp_path)[-1].removesuffix(b"\n"))  # half a line, and one that lacks nothing but its end
            assert [one.kind for one in checked(tmp_path).findings][-1] == "torn"
        await (trail := make()).record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        found = checked(tmp_path)
        assert ([(one.kind, one.row) for one in found.findings], found.intact) == ([("torn", 2), ("torn", 5)], True)

    async def test_an_empty_file_with_a_torn_line_alone_is_gone_on_with(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit" / "a.jsonl").write_bytes(b'{"act')
        trail = make()
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        assert [(one.kind, one.row) for one in checked(tmp_path).findings] == [("torn", 1)]

    @pytest.mark.parametrize("left", [0, 1])
    async def test_nothing_is_written_behind_a_cut_or_a_file_that_is_gone(self, make: Make, tmp_path: Path, left: int) -> None:
        trail = make()
        for _ in range(2):
            await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        path = tmp_path / "audit" / "a.jsonl"
        kept = rows(tmp_path)[:left]
        path.write_bytes(b"".join(kept)) if kept else path.unlink()
        trail = make()
        with pytest.raises(AuditError, match="is missing"):
            await trail.record(AuditEvent.by(ANN, "search"))
        with pytest.raises(AuditError, match="is missing"):
            await trail.ping()
        await trail.aclose()

    async def test_a_file_that_is_taken_away_from_a_running_writer_is_noticed(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        await trail.record(AuditEvent.by(ANN, "search"))
        (tmp_path / "audit" / "a.jsonl").rename(tmp_path / "audit" / "b.jsonl")
        with pytest.raises(AuditError, match="is missing"):
            await trail.record(AuditEvent.by(ANN, "search"))
        (tmp_path / "audit" / "b.jsonl").replace(tmp_path / "audit" / "a.jsonl")
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        assert checked(tmp_path).intact

    async def test_a_changed_last_row_is_not_built_upon(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        path = tmp_path / "audit" / "a.jsonl"
        path.write_bytes(path.read_bytes().replace(b"ann", b"bob"))
        trail = make()
        with pytest.raises(AuditError, match="not what was written"):
            await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()

    async def test_an_anchor_that_is_away_is_an_outage_of_the_trail(self, make: Make, tmp_path: Path) -> None:
        trail = make()
        (tmp_path / "elsewhere").rmdir()
        with pytest.raises(AuditError, match=r"audit\.anchor"):
            await trail.record(AuditEvent.by(ANN, "search"))
        for _ in range(3):
            with pytest.raises(AuditError, match=r"audit\.anchor"):
                await trail.ping()
        assert rows(tmp_path) == []  # what is refused is not on record as done
        (tmp_path / "elsewhere").mkdir()
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        assert checked(tmp_path).intact

    async def test_a_disk_that_hangs_is_an_error_in_time_and_the_event_loop_goes_on(self, make: Make, tmp_path: Path) -> None:
        trail = make(timeout_s=0.1)
        holder = ChainFile(tmp_path / "audit" / "a.jsonl", KEYS)
        with holder._locked(), pytest.raises(AuditError):  # what a process that hangs does
            await trail.record(AuditEvent.by(ANN, "search"))
        holder.close()
        await trail.record(AuditEvent.by(ANN, "search"))
        await trail.aclose()

    def test_a_scope_without_a_user_names_nobody(self) -> None:
        assert AuditEvent.under(AccessScope("acme", frozenset({"group:hr"})), "search").user == ""

    async def test_a_key_that_was_taken_out_too_early_is_named(self, make: Make, tmp_path: Path) -> None:
        await (trail := make()).record(AuditEvent.by(ANN, "search"))
        await trail.aclose()
        other = make(keys=SecretStr(SECRET.replace("k1:", "k2:")))
        with pytest.raises(AuditError, match=r"not configured: k1.*audit\.keys"):
            await other.record(AuditEvent.by(ANN, "search"))
        await other.aclose()

    async def test_without_an_anchor_the_log_has_the_head_at_the_end(self, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", logger="src.infra.audit")
        for anchor in (tmp_path / "elsewhere" / "heads", None):
            await (trail := make(anchor=anchor)).record(AuditEvent.by(ANN, "search"))
            await trail.aclose()
        assert [one.message for one in caplog.records] == ["audit head"]
