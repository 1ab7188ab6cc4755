"""Uploads, kept originals, and who may replace or delete what."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData, Headers, UploadFile

from src.api.documents import file_headers, surroundings
from src.api.files import FileStore, open_original
from src.api.uploads import acl_of, check_apart, own_id, owns, parse_form
from src.core.documents import Chunk, Document
from src.core.identity import Identity
from src.errors import ConflictError, InputError, NotFoundError, PermissionDeniedError, StorageError
from src.ingestion.sources.upload import upload_item

ANA = Identity("ana", "north", ("ops",))


def document(**fields: object) -> Document:
    base: dict[str, object] = {"id": "d", "tenant": "north", "title": "D", "source": "d.pdf", "content_type": "application/pdf", "content_hash": "", "acl": ()}
    return Document(**{**base, **fields})  # type: ignore[arg-type] # a test names only what it is about


def upload(name: str = "a.txt", data: bytes = b"x") -> UploadFile:
    return UploadFile(io.BytesIO(data), filename=name, size=len(data), headers=Headers())


def test_an_upload_is_the_uploaders_alone_unless_they_allow_principals_of_their_own() -> None:
    assert acl_of((), ANA) == ("user:ana",)
    assert acl_of(("group:ops", "tenant:*", "group:ops"), ANA) == ("group:ops", "tenant:*")


@pytest.mark.parametrize("name", ["user:bo", "group:hr", "*", "", "tenant:north", "user:"])
def test_nobody_allows_what_they_do_not_hold(name: str) -> None:
    with pytest.raises(PermissionDeniedError):
        acl_of(("user:ana", name), ANA)


def test_seeing_a_document_is_not_owning_it() -> None:
    assert not owns(document(acl=("tenant:*", "group:ops")), ANA, everyone=False)
    assert owns(document(acl=("tenant:*",)), ANA, everyone=True)
    assert owns(document(acl=("user:ana",)), ANA, everyone=False)
    assert owns(document(acl=("tenant:*",), metadata={"uploaded_by": "ana"}), ANA, everyone=False)
    assert not owns(document(acl=("tenant:*",), metadata={"uploaded_by": "bo"}), ANA, everyone=False)


def test_a_file_of_this_machine_cannot_name_its_owner_itself() -> None:
    assert not owns(document(source="/srv/a.md", acl=("tenant:*",), metadata={"uploaded_by": "ana"}), ANA, everyone=False)


def test_files_of_the_same_name_from_two_users_do_not_meet() -> None:
    assert own_id("a.pdf", ANA, everyone=False) != own_id("a.pdf", Identity("bo", "north"), everyone=False)
    assert own_id("a.pdf", ANA, everyone=True) == "a.pdf"


NAMES = st.text("ab/%", min_size=1, max_size=5)


@given(NAMES, NAMES, NAMES, NAMES)
def test_no_id_that_a_user_asks_for_is_one_that_another_user_can_have(one: str, other: str, first: str, second: str) -> None:
    mine = own_id(first, Identity(one), everyone=False)
    assert own_id(mine, Identity(one), everyone=False) == mine
    if one != other:
        assert mine != own_id(second, Identity(other), everyone=False)
        assert mine != own_id(mine, Identity(other), everyone=False)


def test_two_files_of_one_name_are_not_both_acknowledged() -> None:
    one, other = upload_item(b"1", "a/same.txt"), upload_item(b"2", "b/same.txt")
    check_apart([one, upload_item(b"3", "else.txt")])
    with pytest.raises(InputError, match=r"same\.txt"):
        check_apart([one, other])


def test_a_form_takes_files_and_named_fields() -> None:
    form = parse_form(FormData([("files", upload()), ("allow", "group:ops, tenant:*"), ("allow", "user:ana"), ("id", "my id"), ("title", "T")]))
    assert len(form.files) == 1
    assert (form.allow, form.id, form.title) == (("group:ops", "tenant:*", "user:ana"), "my id", "T")


@pytest.mark.parametrize(
    "fields",
    [[], [("allow", "user:ana")], [("files", "text")], [("files", upload()), ("alow", "x")], [("files", upload()), ("files", upload("b.txt")), ("id", "x")]],
)
def test_a_form_that_does_not_fit_says_so(fields: list[tuple[str, object]]) -> None:
    with pytest.raises(InputError):
        parse_form(FormData(fields))  # type: ignore[arg-type] # of the test's own making


@given(st.binary(max_size=2000))
def test_a_kept_file_is_found_by_its_hash_and_nothing_else_lies_beside_it(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = FileStore(tmp_path_factory.mktemp("files"))
    sha256 = store.put(io.BytesIO(data))
    assert sha256 == hashlib.sha256(data).hexdigest() == store.put(io.BytesIO(data))
    found = store.find(sha256)
    assert found is not None
    assert found.read_bytes() == data
    assert [path for path in store.folder.rglob("*") if path.is_file()] == [found]
    store.remove(sha256)
    store.remove(sha256)
    assert store.find(sha256) is None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\0"])
def test_what_is_no_hash_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        FileStore(tmp_path).path(name)
    assert FileStore(tmp_path).find(name) is None


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(StorageError, match="files"):
        FileStore(tmp_path / "files").put(io.BytesIO(b"x"))


def test_an_original_is_served_only_while_it_is_what_was_ingested(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")
    known = document(source=str(path), metadata={"sha256": hashlib.sha256(b"before").hexdigest()})
    store = FileStore(tmp_path / "files")
    with open_original(store, known).file as file:
        assert file.read() == b"before"
    path.write_bytes(b"after")
    with pytest.raises(ConflictError, match="changed"):
        open_original(store, known)
    path.unlink()
    with pytest.raises(NotFoundError):
        open_original(store, known)


@pytest.mark.parametrize("source", ["/etc/passwd", "/dev/zero", "/etc", "/no\0where"])
def test_a_source_without_the_right_content_gives_nothing_away(tmp_path: Path, source: str) -> None:
    with pytest.raises((ConflictError, NotFoundError)) as caught:
        open_original(FileStore(tmp_path), document(source=source, metadata={"sha256": "0" * 64}))
    assert source not in str(caught.value)


def test_a_relative_source_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.pdf").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError):
        open_original(FileStore(tmp_path / "files"), document(metadata={"sha256": hashlib.sha256(b"x").hexdigest()}))


@pytest.mark.parametrize(
    ("kind", "disposition", "sent"),
    [
        ("application/pdf", "inline", "application/pdf"),
        ("text/markdown", "inline", "text/plain; charset=utf-8"),
        ("text/html", "attachment", "text/html"),
        ("image/svg+xml", "attachment", "image/svg+xml"),
    ],
)
def test_a_browser_may_show_pdf_and_text_only_and_never_run_anything(kind: str, disposition: str, sent: str) -> None:
    headers = file_headers(document(content_type=kind, id='/x/é "q"\r\nX: y.pdf'))
    assert headers["Content-Disposition"].startswith(f"{disposition}; ")
    assert headers["Content-Type"] == sent
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert "\n" not in headers["Content-Disposition"]
    assert headers["Content-Disposition"].isascii()


def chunk(position: int, page: int | None) -> Chunk:
    return Chunk(str(position), "d", "north", position, f"text {position}", page)


@given(st.integers(1, 30), st.data())
def test_a_passage_always_stands_among_those_shown_around_it(count: int, data: st.DataObject) -> None:
    paged = data.draw(st.booleans())
    chunks = tuple(chunk(position, position // 4 + 1 if paged else None) for position in range(count))
    at = data.draw(st.integers(0, count - 1))
    shown = surroundings(chunks, at)
    assert chunks[at] in shown
    assert [c.position for c in shown] == list(range(shown[0].position, shown[-1].position + 1))
    if paged:
        assert {c.page for c in shown} == {chunks[at].page}
