"""What paths mean, and what uploads become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.errors import DocumentError, InputError
from src.ingestion.sources.local_files import Discovery, discover
from src.ingestion.sources.upload import upload_item


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/two.md", "a/one.PDF", "a/.hidden.md", ".rag/index/x.md", "b/deep/three.txt", "b/photo.png", "b/deep/noextension", "zero.htm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(found: Discovery, top: Path) -> list[str]:
    return [os.path.relpath(item.id, top) for item in found.items]


def test_a_folder_is_all_below_it_sorted_without_hidden_files_and_data_folders(tree: Path) -> None:
    found = discover([tree])
    assert names(found, tree) == ["a/one.PDF", "b/deep/three.txt", "b/two.md", "zero.htm"]
    assert [os.path.relpath(path, tree) for path in found.unsupported] == ["b/deep/noextension", "b/photo.png"]
    assert found.problems == ()


def test_a_configured_data_folder_of_another_name_is_left_out_too(tree: Path) -> None:
    assert names(discover([tree], exclude=[tree / "b" / "deep"]), tree) == ["a/one.PDF", "b/two.md", "zero.htm"]


def test_ids_are_absolute_paths_whatever_the_path_looked_like(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "a")
    item = discover(["../b/two.md"]).items[0]
    assert item.id == item.source == str(tree / "b" / "two.md")
    assert (item.name, item.size, item.read()) == ("two.md", 8, b"b/two.md")


def test_a_file_met_twice_is_one_item(tree: Path) -> None:
    assert len(discover([tree, tree / "b", tree / "b" / "two.md", str(tree / "**/*.md")]).items) == 4


def test_globs_reach_into_folders(tree: Path) -> None:
    assert names(discover([str(tree / "**/*.md")]), tree) == ["b/two.md"]
    assert names(discover([str(tree / "**")]), tree) == ["a/one.PDF", "b/deep/three.txt", "b/two.md", "zero.htm"]
    assert names(discover([str(tree / "b*")]), tree) == ["b/deep/three.txt", "b/two.md"]


def test_a_name_with_pattern_characters_is_taken_literally(tmp_path: Path) -> None:
    (tmp_path / "plan [1].txt").write_text("x")
    assert names(discover([tmp_path / "plan [1].txt"]), tmp_path) == ["plan [1].txt"]


def test_a_file_named_itself_is_kept_even_if_no_loader_knows_its_extension(tree: Path) -> None:
    assert names(discover([tree / "b" / "photo.png"]), tree) == ["b/photo.png"]


def test_links_that_loop_end_and_linked_folders_are_read_once(tree: Path) -> None:
    (tree / "b" / "loop").symlink_to(tree)
    (tree / "c").symlink_to(tree / "b")
    assert len({Path(item.id).resolve() for item in discover([tree]).items}) == len(discover([tree]).items) == 4


def test_a_missing_path_is_a_problem_and_the_rest_goes_on(tree: Path) -> None:
    found = discover([tree / "nope", tree / "*.nope", tree / "zero.htm"])
    assert [problem.reason for problem in found.problems] == ["not-found", "not-found"]
    assert names(found, tree) == ["zero.htm"]


@pytest.mark.parametrize("paths", [[], ["nope"], ["nope", "no*pe"], [""], [" "]])
def test_nothing_but_missing_paths_is_an_error(paths: list[str], tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(InputError):
        discover(paths)


def test_an_empty_path_is_not_the_current_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    found = discover(["", "zero.htm"])
    assert [(problem.reason, problem.source) for problem in found.problems] == [("not-found", "")]
    assert names(found, tree) == ["zero.htm"]


def test_what_is_no_regular_file_is_unreadable_and_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "1.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "2.txt").symlink_to(tmp_path / "2.txt")
    (tmp_path / "3.txt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "4.txt")
    (tmp_path / "5.txt").write_text("x")
    items = discover([tmp_path]).items
    (tmp_path / "5.txt").unlink()
    told = []
    for item in items:
        with pytest.raises(DocumentError) as caught:
            item.read()
        assert caught.value.reason == "unreadable"
        told.append(caught.value.message)
    kinds = ["a link that leads nowhere", "a link that leads in a circle", "a link to a device, not a regular file", "a pipe, not a regular file"]
    assert told == [f"It is {kind}." for kind in [*kinds, "no longer there"]]


def test_file_names_that_are_not_utf8_can_be_stored(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/gr\xfcn.txt", "wb") as file:  # noqa: PTH123 - a name that pathlib cannot spell
        file.write(b"green")
    item = discover([tmp_path]).items[0]
    item.id.encode("utf-8")
    assert item.read() == b"green"


def test_an_upload_is_known_by_its_name_unless_it_is_given_an_id() -> None:
    item = upload_item(b"x", "C:\\docs\\plan.pdf", metadata={"team": "grid"})
    assert (item.id, item.source, item.name, item.size, item.read()) == ("plan.pdf", "plan.pdf", "plan.pdf", 1, b"x")
    assert item.metadata == {"file_name": "plan.pdf", "team": "grid"}
    assert upload_item(b"x", "plan.pdf", document_id="p-7", title="Plan").id == "p-7"


@pytest.mark.parametrize("name", ["", "/", "..", "a\nb.txt"])
def test_an_upload_needs_a_usable_name(name: str) -> None:
    with pytest.raises(InputError):
        upload_item(b"x", name)
