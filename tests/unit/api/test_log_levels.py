from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from src.api.auth import dump_tokens, hash_token
from src.core.identity import Identity
from src.telemetry import logger as logs
from src.telemetry.logger import levels_now

PATH = "/v1/admin/log-levels"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    names = ("", "src", "urllib3", "src.infra.search")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    logs._set.clear()
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


async def test_levels_are_changed_while_the_server_runs_and_taken_back(client_of: Callable[..., Any]) -> None:
    async with client_of() as client:
        changed = await client.put(PATH, json={"level": "WARNING", "levels": {"src.infra.search": "DEBUG", "urllib3": "INFO"}})
        assert (changed.status_code, changed.json()) == (
            200,
            {"levels": {"root": "WARNING", "src": "WARNING", "src.infra.search": "DEBUG", "urllib3": "INFO"}},
        )
        assert logging.getLogger("src.infra.search.embedded").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("src.api").isEnabledFor(logging.INFO)
        assert (await client.get(PATH)).json() == changed.json()
        assert (await client.put(PATH, json={})).json() == {"levels": {"root": "WARNING", "src": "INFO"}}


@pytest.mark.parametrize(
    "body",
    [{"level": "LOUD"}, {"levels": {"a b": "INFO"}}, {"levels": {"x": 3}}, {"level": "INFO", "more": 1}, {"levels": {f"n{n}": "INFO" for n in range(101)}}, []],
)
async def test_what_is_no_level_or_logger_is_said_and_changes_nothing(client_of: Callable[..., Any], body: object) -> None:
    async with client_of() as client:
        before = levels_now()
        assert (await client.put(PATH, json=body)).status_code in (400, 422)
        assert levels_now() == before


async def test_only_operators_change_levels(client_of: Callable[..., Any], tmp_path: Any) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(dump_tokens({hash_token("t"): Identity("ana", groups=("staff",))}))
    async with client_of(auth="tokens", tokens_file=str(file), admin_group="ops") as client:
        before = levels_now()
        refused = await client.put(PATH, json={"level": "DEBUG"}, headers={"Authorization": "Bearer t"})
        assert refused.status_code == 403
        assert levels_now() == before
