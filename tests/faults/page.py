"""`docs/faults.md`: the matrix as a person reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from src.errors import RagError
from tests.faults import postgres_rows
from tests.faults.rows import FAULTS, ROWS, Row
from tests.faults.running import Outcome

HEAD = """\
# What you read when something fails

Every way out of this package, each way in which it can fail, and the error that comes out of it. Each row is a test: the fault is made on
real sockets with real TLS, the hop is asked, and this is what a person reads, word for word. Addresses are replaced by names;
`{proxy}` stands for the proxy. `rag doctor`, where it
asks a hop by itself, is asked after each row, and names the same hop and the same setting.

A message says what failed; in brackets which hop, through which proxy, and which setting is responsible (on the command line also the place
where its value stands); and then what to do. `code` is the stable word for machines: `error.code` with `--json`, the end of `type` in a
problem document. `except` clauses take the classes of `src/errors.py`; what a `requests` session of `make_search_session` raises
is of requests' own kind at the same time: `except requests.ConnectTimeout` still catches what it did.

The rows end within the hop's own deadline, whatever the other side does: `chat.timeout_s`, `embed.timeout_s`, `rerank.timeout_s`, `search.timeout_s`,
`secrets.timeout_s` and `azure.timeout_s` hold for the whole call, `network.connect_timeout_s` and `search.connect_timeout_s` for the way there.
PostgreSQL, which speaks no HTTP and goes through no HTTP proxy, has [a table of its own](#postgresql).

This page is written by `python -m tests.faults > docs/faults.md`, and a test keeps it true.

## The faults

| fault | what happens |
|---|---|
"""
POSTGRES = "## PostgreSQL\n"
POSTGRES_HEAD = f"""\
{POSTGRES}
Threads in PostgreSQL (`[persistence] backend = postgres`). Each row is a first use: the tables are made, and a value is written. A real server makes
the faults that are marked so; the others come from a stand-in that speaks the bytes which a server would send, under real TLS. `persistence.connect_timeout_s`
(libpq takes no less than 2 s) holds for the way there, TLS and login included, `persistence.timeout_s` for the answer to a statement.

`rag doctor` is asked after each row and names the same hop and setting. It writes nothing, so it meets a full disk only where reading does.

| fault | what happens | code | setting | what you read |
|---|---|---|---|---|
"""
TITLES = {"host": "", "gateway": " (a proxy that breaks TLS open)", "behind": " (behind a proxy that works)"}


def page(outcomes: Mapping[Row, Outcome]) -> str:
    """The page but for PostgreSQL."""
    lines = [f"| {fault} | {words} |" for fault, words in FAULTS.items()]
    return HEAD.replace("{proxy}", "http://proxy.company.com:8080") + "\n".join([*lines, "", *_tables(outcomes), ""])


def _tables(outcomes: Mapping[Row, Outcome]) -> Iterator[str]:
    for hop in dict.fromkeys(row.hop for row in ROWS):
        yield from _table(hop, [row for row in ROWS if row.hop == hop and row.at != "proxy"], outcomes)
    for hop in dict.fromkeys(row.hop for row in ROWS if row.at == "proxy"):
        yield from _table(f"The proxy on the way to {hop}", [row for row in ROWS if row.hop == hop and row.at == "proxy"], outcomes)


def _table(title: str, rows: Sequence[Row], outcomes: Mapping[Row, Outcome]) -> Iterator[str]:
    yield from (f"## {title}", "", "| fault | code | setting | what you read |", "|---|---|---|---|")
    yield from (line(row, outcomes[row]) for row in rows)
    yield ""


def line(row: Row, outcome: Outcome) -> str:
    """A row of the table."""
    return f"| {row.fault}{TITLES.get(row.at, '')} | {_said(outcome)} |"


def postgres_page(outcomes: Mapping[postgres_rows.Row, Outcome]) -> str:
    """The end of the page."""
    return POSTGRES_HEAD + "".join(f"{postgres_line(row, outcomes[row])}\n" for row in postgres_rows.ROWS)


def postgres_line(row: postgres_rows.Row, outcome: Outcome) -> str:
    """A row of PostgreSQL's table."""
    return f"| {row.fault}{' (a real server)' if row.real else ''} | {postgres_rows.FAULTS[row.fault]} | {_said(outcome)} |"


def _said(outcome: Outcome) -> str:
    error = outcome.error
    code, setting = (error.code, error.setting) if isinstance(error, RagError) else (type(error).__name__, "")
    return f"`{code}` | `{setting}` | {outcome.text.replace('|', '&#124;')}"
