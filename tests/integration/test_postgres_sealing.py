"""Encrypted checkpoints in PostgreSQL and SQLite: nothing readable, keys rotate, and what is not encrypted is refused."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src.errors import ConfigurationError, StorageCorruptError
from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import THREADS_FILE, get_checkpointer_and_store
from tests.integration.postgres_parts import config, graph_on, settings_for
from tests.servers.postgres import PostgresServer

OLD = f"old:{base64.b64encode(bytes(range(32))).decode()}"
NEW = f"new:{base64.b64encode(bytes(range(100, 132))).decode()}"
CANARY = "canary-words-of-a-conversation"


@pytest.fixture(params=["postgres", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes the checkpointer with given keys, on the same data each time; and reads all of what is stored."""
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgres(request.getfixturevalue("postgres"))


class Postgres:
    def __init__(self, server: PostgresServer) -> None:
        self.server, self.name = server, server.database()

    def make(self, keys: str | None) -> Any:
        return get_checkpointer_and_store(settings_for(self.server.dsn(self.name), encryption_keys=SecretStr(keys) if keys else None))[0]

    def everything(self) -> bytes:
        found = b""
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            for row in self.server.execute(f"SELECT * FROM {table}", self.name):
                found += b"".join(bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in row)
        return found

    def damage(self) -> None:
        self.server.execute("UPDATE checkpoint_blobs SET blob = set_byte(blob, 20, get_byte(blob, 20) # 1) WHERE blob IS NOT NULL", self.name)

    def rename_type(self) -> None:
        self.server.execute("UPDATE checkpoint_blobs SET type = replace(type, 'msgpack', 'json') WHERE blob IS NOT NULL", self.name)


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, keys: str | None) -> Any:
        cfg = PersistenceCfg(backend="sqlite", encryption_keys=SecretStr(keys) if keys else None)
        return get_checkpointer_and_store(Settings(storage=StorageCfg(path=self.folder), persistence=cfg))[0]

    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob(f"{THREADS_FILE}*"))

    def damage(self) -> None:
        with sqlite3.connect(self.folder / THREADS_FILE) as connection:
            connection.execute("UPDATE checkpoints SET checkpoint = CAST(substr(checkpoint, 1, 20) || x'00' || substr(checkpoint, 22) AS BLOB)")

    def rename_type(self) -> None:
        with sqlite3.connect(self.folder / THREADS_FILE) as connection:
            connection.execute("UPDATE checkpoints SET type = replace(type, 'msgpack', 'json')")


def test_nothing_of_a_conversation_is_readable(where: Any) -> None:
    saver = where.make(OLD)
    graph = graph_on(saver)
    graph.invoke({"note": CANARY, "turns": [{"text": CANARY}]}, config())
    assert graph.get_state(config()).values["note"] == CANARY
    assert graph.get_state(config()).values["count"] == 2
    stored = where.everything()
    assert b"aesgcm.old" in stored
    assert CANARY.encode() not in stored
    saver.close()


def test_without_keys_it_is_readable_which_proves_the_test_above(where: Any) -> None:
    saver = where.make(None)
    graph_on(saver).invoke({"note": CANARY}, config())
    assert CANARY.encode() in where.everything()
    saver.close()


def test_keys_rotate(where: Any) -> None:
    for keys, expected in ((OLD, 1), (f"{NEW}, {OLD}", 2), (NEW, 3)):
        saver = where.make(keys)
        assert len(graph_on(saver).invoke({"note": CANARY}, config())["turns"]) == expected
        saver.close()
    history = where.make(NEW)
    with pytest.raises(StorageCorruptError, match="`old`"):
        [*graph_on(history).get_state_history(config())]
    history.close()
    both = where.make(f"{NEW},{OLD}")
    assert len([*graph_on(both).get_state_history(config())]) >= 6
    both.close()


def test_what_is_not_encrypted_is_refused_once_encryption_is_on(where: Any) -> None:
    plain = where.make(None)
    graph_on(plain).invoke({"note": CANARY}, config())
    plain.close()
    sealed = where.make(OLD)
    with pytest.raises(StorageCorruptError, match=r"persistence\.encryption_keys"):
        graph_on(sealed).get_state(config())
    graph_on(sealed).invoke({}, config("another"))
    sealed.close()


@pytest.mark.parametrize("change", ["damage", "rename_type"])
def test_what_was_changed_is_refused(where: Any, change: str) -> None:
    saver = where.make(OLD)
    graph_on(saver).invoke({"note": CANARY}, config())
    getattr(where, change)()
    with pytest.raises(StorageCorruptError, match="changed"):
        graph_on(saver).get_state(config())
    saver.close()


def test_another_key_of_the_same_name_opens_nothing(where: Any) -> None:
    saver = where.make(OLD)
    graph_on(saver).invoke({}, config())
    saver.close()
    other = where.make(NEW.replace("new:", "old:"))
    with pytest.raises(StorageCorruptError):
        graph_on(other).get_state(config())
    other.close()


def test_plain_values_beside_a_checkpoint_are_refused_too(postgres: PostgresServer) -> None:
    # LangGraph keeps texts and numbers inline: who writes into that column may not put words into a conversation.
    where = Postgres(postgres)
    saver = where.make(OLD)
    graph_on(saver).invoke({"note": CANARY}, config())
    postgres.execute("""UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,note}', '"planted"')""", where.name)
    with pytest.raises(StorageCorruptError):
        graph_on(saver).get_state(config())
    saver.close()


@pytest.mark.parametrize("keys", ["no-colon", "a:short", "a:!!!!", "sp ace:" + OLD[4:], f"{OLD},{OLD}", f"{OLD},"])
def test_keys_that_cannot_be_read_are_named_by_place_without_their_value(tmp_path: Path, keys: str) -> None:
    with pytest.raises(ConfigurationError, match=r"persistence\.encryption_keys") as found:
        Sqlite(tmp_path).make(keys)
    assert OLD[4:] not in str(found.value)
