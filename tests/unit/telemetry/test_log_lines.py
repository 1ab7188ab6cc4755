from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.identity import Identity, current_identity
from src.errors import ServiceUnavailableError
from src.telemetry import logger as logs
from src.telemetry.log_context import use_user_key, user_hash
from src.telemetry.log_formats import JsonFormatter, TextFormatter
from src.telemetry.log_text import WITHHELD
from src.telemetry.logger import Logger, get_logger, set_levels, setup_logging
from src.telemetry.otel import set_correlation_id

CANARY = "xyzzy-canary"


class Lines(logging.Handler):
    """Keeps both forms of each line, made while the caller still stands on the stack."""

    def __init__(self) -> None:
        super().__init__()
        self.json: list[str] = []
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.json.append(JsonFormatter().format(record))
        self.text.append(TextFormatter().format(record))

    @property
    def last(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.json[-1])
        return found

    @property
    def all(self) -> str:
        return "\n".join([*self.json, *self.text])


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def as_before() -> Iterator[None]:
    """`setup_logging` changes the whole process."""
    logging.captureWarnings(False)  # a server that ran in this process before may have left it on, for another test's warnings
    names = ("", "src", "src.x", "urllib3", "noisy")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers, raising = list(logging.getLogger().handlers), logging.raiseExceptions
    yield
    logging.captureWarnings(False)
    logging.raiseExceptions = raising
    logging.getLogger().handlers[:] = handlers
    logs._set.clear()
    for name in logs._levelled:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logs._levelled.clear()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_says_when_where_and_whose_request_it_is(lines: Lines) -> None:
    use_user_key(lambda: b"k" * 32)
    token = current_identity.set(Identity("ann@example.com", "acme"))
    set_correlation_id("req-1")
    try:
        get_logger("src.x").warning("stored", document="a/b.pdf", chunks=3, user_id="ann@example.com")
    finally:
        current_identity.reset(token)
        set_correlation_id("")
    line = lines.last
    assert str(line["time"]).endswith("Z")
    assert line["line"] == test_a_line_says_when_where_and_whose_request_it_is.__code__.co_firstlineno + 5
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "src.x", "stored")
    assert (line["tenant"], line["correlation_id"], line["document"], line["chunks"]) == ("acme", "req-1", "a/b.pdf", 3)
    assert line["user"] == line["user_id"] == user_hash("ann@example.com") != "ann@example.com"
    assert "ann" not in lines.all


def test_the_hash_of_a_user_depends_on_the_key() -> None:
    use_user_key(lambda: b"a" * 32)
    one, again = user_hash("ann"), user_hash("ann")
    use_user_key(lambda: b"b" * 32)
    assert one == again != user_hash("ann")
    assert len(one) == 16


def test_a_field_never_takes_the_place_of_what_the_line_says_itself(lines: Lines) -> None:
    get_logger("src.x").warning("true", level="forged", line="forged", time="forged", exception="forged")
    assert isinstance(lines.last["line"], int)
    assert (lines.last["level"], lines.last["level_"]) == ("WARNING", "forged")
    assert (lines.last["line_"], lines.last["time_"]) == ("forged", "forged")
    assert "exception" not in lines.last


@given(
    st.text(),
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=8).filter(lambda name: name not in {"exc_info", "stack_info", "stacklevel", "extra"}), st.text(), max_size=3),
)
def test_nothing_in_a_record_breaks_a_line_or_steers_a_terminal(message: str, logger: str, fields: dict[str, object]) -> None:
    record = logging.LogRecord(f"src.{logger}", logging.INFO, __file__, 1, message, (), None)
    record.__dict__["rag_fields"] = fields
    for line in (JsonFormatter().format(record), TextFormatter().format(record)):
        assert not [char for char in line if ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u2028\u2029\u202e"]
        assert line.encode()
    assert json.loads(JsonFormatter().format(record))["level"] == "INFO"


@pytest.mark.parametrize("value", ["a\r\nERROR forged", "\x1b[2J\x1b[31m", "\x9b31m", "x\u2028y", "\u202egnp.exe", "\ud800", "a level=ERROR"])
def test_a_forged_line_or_field_stays_one_value(lines: Lines, value: str) -> None:
    get_logger("src.x").warning("said", field=value)
    assert len(lines.text[-1].splitlines()) == len(lines.json[-1].splitlines()) == 1
    assert lines.text[-1].isprintable()
    assert " level=" not in lines.text[-1].replace('"a level=ERROR"', "")


@pytest.mark.parametrize("secret", ["hunter2!", "4111 1111 1111 1111", "ann@example.com", "+44 20 7946 0958"])
def test_secrets_and_personal_data_are_redacted_wherever_they_stand(lines: Lines, secret: str) -> None:
    log = get_logger("src.x")
    try:
        raise ServiceUnavailableError(f"refused password={secret} of {secret}", hint=f"ask {secret}") from ValueError(f"deep {secret}")
    except ServiceUnavailableError as error:
        log.exception(
            "failed password=%s", secret, password=secret, deep={"a": [{"token": secret}]}, error=error, url=f"https://u:{secret.replace(' ', '')}@h/"
        )
    left = [line for line in lines.all.splitlines() if secret in line and "exception" not in line and "ask" not in line]
    assert left == []
    assert secret not in lines.all or secret == "hunter2!", "a word that nothing names as a secret is a word"


def test_the_text_of_another_library_s_exception_is_withheld_and_its_place_told(lines: Lines) -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise KeyError(CANARY) from error
    except KeyError as error:
        get_logger("src.x").exception("failed", error=error)
    assert CANARY not in lines.all
    assert lines.last["error"] == f"KeyError: {WITHHELD}"
    exception = str(lines.last["exception"])
    assert exception.index("ValueError: " + WITHHELD) < exception.index("direct cause") < exception.index("KeyError: " + WITHHELD)
    assert "test_log_lines.py" in exception


def test_exceptions_say_what_stands_in_the_code_what_the_system_says_and_our_own(lines: Lines) -> None:
    said = []
    for make in (lambda: Path("/nowhere/" + CANARY).read_text(), lambda: ServiceUnavailableError("No answer.", hop="https://h:1")):
        try:
            raise make()  # type: ignore[misc]  # the first raises by itself
        except (OSError, ServiceUnavailableError):
            get_logger("src.x").exception("failed")
        said.append(str(lines.last["exception"]).splitlines()[-1])
    assert said == ["FileNotFoundError: No such file or directory", "ServiceUnavailableError: No answer. (hop https://h:1)"]
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("src.x").exception("failed")
    assert str(lines.last["exception"]).endswith("ValueError: broken")
    assert CANARY not in lines.all


def test_each_part_of_a_group_of_exceptions_is_told(lines: Lines) -> None:
    try:
        raise ExceptionGroup("several", [ValueError(CANARY), OSError(5, "Input/output error")])
    except ExceptionGroup:
        get_logger("src.x").exception("failed")
    assert "2 of 2: OSError: Input/output error" in str(lines.last["exception"])
    assert CANARY not in lines.all


def test_of_other_libraries_only_what_stands_in_their_code_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    log, lines = logging.getLogger("httpcore.connection"), Lines()
    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler fills texts in
    monkeypatch.setattr(log, "handlers", [lines])
    monkeypatch.setattr(log, "level", logging.DEBUG)
    log.debug("Starting new connection (%d): %s", 1, CANARY)
    log.debug(f"send_request_headers.started request={CANARY}")  # noqa: G004 - as libraries do
    log.debug("Request options: %s", {"json_data": {"messages": [{"content": CANARY}]}})
    log.warning("%(method)s failed: %(error)s", {"method": "POST", "error": ValueError(CANARY)})
    log.warning("wants a number: %d", CANARY)
    log.warning(CANARY + " put together")  # noqa: G003 - as libraries do
    log.warning("nothing filled in")
    log.warning({"body": CANARY})
    assert CANARY not in lines.all
    said = [json.loads(line)["message"] for line in lines.json]
    assert said == [
        "Starting new connection (1): …",
        WITHHELD,
        "Request options: …",
        "POST failed: ValueError",
        "wants a number: %d",
        WITHHELD,
        "nothing filled in",
        WITHHELD,
    ]


def test_pythons_warnings_are_taken_in_by_kind_and_place(lines: Lines, as_before: None) -> None:
    setup_logging()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"input_value={CANARY}", UserWarning, stacklevel=1)
    assert str(lines.last["message"]).startswith("UserWarning at ")
    assert CANARY not in lines.all


def test_code_that_logs_through_our_door_is_shown_as_it_is(lines: Lines) -> None:
    get_logger("mycompany.prices").info(f"asked {1 + 1} times", user_id="ann")
    assert lines.last["message"] == "asked 2 times"
    assert lines.last["user_id"] != "ann"


def test_values_of_any_type_make_a_line(lines: Lines) -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd\nthing"

    get_logger("src.x").warning("types", odd=Odd(), data=b"\x00" * 10, many={1: {2, 3}}, nan=float("nan"), long="x" * 100_000)
    assert lines.last["odd"] == "odd\nthing"
    assert lines.last["data"] == "(10 bytes)"
    assert lines.last["nan"] == "nan", "JSON has no such number"
    assert len(lines.json[-1]) < 20_000


class Unsayable:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


class UnsayableError(Unsayable, ServiceUnavailableError):
    """Our own errors are shown by what they say."""


@pytest.mark.parametrize("value", [Unsayable(), 10**5000, [Unsayable()], {"deep": 10**5000}], ids=["str", "int", "list", "dict"])
def test_a_value_that_cannot_be_shown_costs_no_line(lines: Lines, value: object) -> None:
    get_logger("src.x").error("still said", rows=value, n=1)
    assert (lines.last["message"], lines.last["rows"], lines.last["n"]) == ("still said", "(cannot be shown)", 1)
    assert "still said" in lines.text[-1]
    assert CANARY not in lines.all


def test_a_message_and_an_exception_that_cannot_be_shown_cost_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    log, lines = get_logger("src.x"), Lines()
    monkeypatch.setattr(log.logger, "propagate", False)  # pytest's own handler fails at such texts
    monkeypatch.setattr(log.logger, "handlers", [lines])
    log.error(Unsayable())
    log.error("of %s", Unsayable())
    try:
        raise UnsayableError("never shown")
    except UnsayableError:
        log.exception("failed")
    assert [json.loads(line)["message"] for line in lines.json] == ["(cannot be shown)", "of %s", "failed"]
    assert lines.last["exception"] == "UnsayableError: (cannot be shown)"


def test_a_field_may_have_any_name_of_the_library_s_own(lines: Lines) -> None:
    log = get_logger("src.x")
    for say in (log.debug, log.info, log.warning, log.error, log.critical):
        say("said", msg="a", level="b", name="c", args="d")
        assert [lines.last[name] for name in ("message", "msg", "level_", "name", "args")] == ["said", "a", "b", "c", "d"]
    log.log(logging.INFO, "said", msg="a")
    assert lines.last["line"] == test_a_field_may_have_any_name_of_the_library_s_own.__code__.co_firstlineno + 5


@pytest.mark.parametrize("structured", [True, False])
def test_setting_up_again_replaces_what_was_set_up_before(as_before: None, monkeypatch: pytest.MonkeyPatch, structured: bool) -> None:
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    for _ in range(3):
        setup_logging("INFO", structured)
    get_logger("src.x").info("once", n=1)
    get_logger("src.x").debug("never")
    logging.getLogger("noisy").info("never")
    said = error.getvalue()
    assert len(said.splitlines()) == 1
    assert (json.loads(said)["n"] == 1) if structured else said.endswith("INFO    once  n=1\n")


def test_levels_are_changed_while_the_process_runs_and_taken_back(as_before: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", error := io.StringIO())
    setup_logging("WARNING", True, {"urllib3": "info"})
    assert logging.getLogger("urllib3").isEnabledFor(logging.INFO)
    set_levels("DEBUG", {"src.x": "ERROR"})
    get_logger("src.x").warning("never")
    get_logger("src.y").debug("seen")
    assert not logging.getLogger("urllib3").isEnabledFor(logging.INFO)
    with pytest.raises(ValueError, match="LOUD"):
        set_levels("INFO", {"src.x": "LOUD"})
    assert [json.loads(line)["message"] for line in error.getvalue().splitlines()] == ["seen"]


def test_loggers_of_a_users_own_code_have_the_configured_level(as_before: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", error := io.StringIO())
    early = get_logger("company_a.prices")
    setup_logging("INFO", True)
    late = get_logger("company_b")
    for log in (early, late):
        log.info("seen")
        log.debug("never")
    logging.getLogger("company_c").info("never")
    set_levels("INFO", {"company_a": "ERROR"})
    early.warning("never")
    set_levels("DEBUG", {})
    early.debug("again")
    assert [json.loads(line)["message"] for line in error.getvalue().splitlines()] == ["seen", "seen", "again"]


def test_libraries_that_write_to_the_terminal_by_themselves_are_taken_in(as_before: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", error := io.StringIO())
    noisy = logging.getLogger("noisy")
    noisy.addHandler(logging.StreamHandler())
    noisy.propagate = False
    setup_logging("INFO", True)
    noisy.warning("said %s", CANARY)
    assert [json.loads(line)["message"] for line in error.getvalue().splitlines()] == ["said …"]


def test_a_standard_error_that_is_closed_or_full_stops_nothing(as_before: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    setup_logging("INFO", True)
    get_logger("src.x").info("lost")


def test_a_logger_takes_fields_as_keywords() -> None:
    assert isinstance(get_logger("src.x"), Logger)
