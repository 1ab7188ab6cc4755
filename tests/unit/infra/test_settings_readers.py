"""Who reads a key: found in the source, for every way in which a key travels."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.infra.configuring.readers import READ_BY_NAME, readers_of, scan
from src.infra.configuring.schema import FieldSpec, all_names, find, keys_of

NOT_READ_YET = {"environment.name", "cache.ttl_s", "cache.max_entries", "telemetry.capture_content"}
"""Keys of parts that have issues of their own. Take a key out once something reads it; `rag config explain` says `no module` until then."""


def modules(name: str) -> set[str]:
    spec = find(name)
    assert spec is not None
    return {reader.module for reader in readers_of(spec)}


def test_every_key_has_a_reader_unless_its_part_is_not_here_yet() -> None:
    intent = keys_of("intent:any") or {}
    specs: list[FieldSpec] = [spec for name in all_names() if (spec := find(name)) is not None] + list(intent.values())
    assert {spec.name for spec in specs if not readers_of(spec)} <= NOT_READ_YET


def test_the_readers_are_modules_with_their_own_words(root: Path) -> None:
    spec = find("network.proxy")
    assert spec is not None
    for reader in readers_of(spec):
        assert (root / (reader.module.replace(".", "/") + ".py")).is_file()
        assert reader.about


def test_keys_that_are_read_by_name_are_named_where_the_table_says(root: Path) -> None:
    for name, module in READ_BY_NAME.items():
        assert name.rpartition(".")[2] in (root / "src" / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")


def test_a_key_that_a_property_of_its_section_reads_is_read_by_those_who_ask_the_property() -> None:
    assert "src.infra.factories" in modules("search.engine")
    assert "src.infra.config" not in modules("search.engine")


WAYS = {
    "an annotated parameter": "def f(cfg: SearchCfg) -> None:\n    cfg.host",
    "a parameter in quotes, perhaps absent": "def f(cfg: 'SearchCfg' | None) -> None:\n    cfg.host",
    "the whole settings": "def f(settings: Settings) -> None:\n    settings.search.host",
    "a name": "def f(settings: Settings) -> None:\n    cfg = settings.search\n    cfg.host",
    "two names at once": "def f(settings: Settings) -> None:\n    chat, cfg = settings.chat, settings.search\n    cfg.host",
    "a walrus": "def f(settings: Settings) -> None:\n    if (cfg := settings.search) and cfg.host: ...",
    "one of two": "def f(settings: Settings, a: SearchCfg) -> None:\n    (a or settings.search).host",
    "a copy": "def f(settings: Settings) -> None:\n    settings.search.model_copy(update={}).host",
    "an attribute": "class A:\n    def __init__(self, cfg: SearchCfg) -> None:\n        self._cfg = cfg\n    def g(self) -> None:\n        self._cfg.host",
    "an attribute of somebody else": (
        "class B:\n    def g(self, a: A) -> None:\n        a.cfg.host\nclass A:\n    def __init__(self, cfg: SearchCfg) -> None:\n        self.cfg = cfg"
    ),
    "a field": "class A:\n    cfg: SearchCfg\n    def g(self) -> None:\n        self.cfg.host",
    "an inherited field": "class A:\n    cfg: SearchCfg\nclass B(A):\n    def g(self) -> None:\n        self.cfg.host",
    "a property": "class A:\n    @property\n    def settings(self) -> Settings: ...\ndef f(a: A) -> None:\n    a.settings.search.host",
    "what a function returns": "def cfg_of(a: int) -> SearchCfg: ...\ndef f() -> None:\n    cfg_of(1).host",
    "what a coroutine returns": "async def cfg_of() -> SearchCfg: ...\nasync def f() -> None:\n    (await cfg_of()).host",
    "a loop": "def f(settings: Settings) -> None:\n    for cfg in (settings.search, settings.search):\n        cfg.host",
    "a comprehension": "def f(settings: list[SearchCfg]) -> None:\n    [cfg.host for cfg in settings]",
    "a context manager": "def opened() -> SearchCfg: ...\ndef f() -> None:\n    with opened() as cfg:\n        cfg.host",
    "a closure": "def f(cfg: SearchCfg) -> None:\n    def g() -> None:\n        cfg.host",
    "a lambda": "def f(cfg: SearchCfg) -> None:\n    lambda: cfg.host",
    "a name for a type": "class Parts:\n    settings: Settings\nDep = Annotated[Parts, 1]\ndef f(parts: Dep) -> None:\n    parts.settings.search.host",
    "a cast": "def f(thing: object) -> None:\n    cast('SearchCfg', thing).host  # settings",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_followed_through(way: str, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("class Settings:\n    search: SearchCfg\n    chat: ChatCfg\nclass SearchCfg:\n    host: str\n")
    (tmp_path / "module.py").write_text(f'"""What it is."""\n{WAYS[way]}\n')
    (reader,) = scan(tmp_path)["search.host"]
    assert (reader.module, reader.about) == (f"{tmp_path.name}.module", "What it is.")


def test_the_same_word_on_something_else_is_no_reading(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("def f(cfg: Other, settings) -> None:\n    cfg.host\n    settings.host\n")
    assert "search.host" not in scan(tmp_path)


def test_classes_that_name_each_other_end_the_search(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("A = list[B]\nB = list[A]\ndef f(cfg: A) -> None:\n    cfg.search.host\n")
    assert "search.host" not in scan(tmp_path)
