"""Files of this machine: folders (recursively), single files and globs."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...errors import DocumentError, InputError
from ..loaders.detect import EXTENSIONS, extension
from ..report import Problem
from .item import SourceItem

DATA_FOLDER = ".rag"
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a list of paths came to.

    Attributes:
        items: files to ingest, sorted, each once.
        problems: paths that match nothing, folders that cannot be listed.
        unsupported: files met in folders or by globs whose extension no loader reads; they are left out, not failed.
    """

    items: tuple[SourceItem, ...]
    problems: tuple[Problem, ...] = ()
    unsupported: tuple[str, ...] = ()


def discover(paths: Sequence[str | Path], *, exclude: Sequence[Path] = ()) -> Discovery:
    """Find the files that ``paths`` mean: a folder means all below it, hidden ones and data folders left out.

    Args:
        paths: files, folders, or globs (``docs/**/*.pdf``); symbolic links are followed, each target folder once.
        exclude: folders to leave out, such as the configured data folder.

    Raises:
        InputError: none of the paths is there, or no path was given.
    """
    walk = _Walk(tuple(path.resolve() for path in exclude))
    for path in paths:
        walk.add(str(path))
    if not walk.matched:
        names = ", ".join(repr(str(path)) for path in paths)
        raise InputError(f"There is no file or folder at {names}." if paths else "No path was given.", hint="Name files, folders or globs.")
    return Discovery(tuple(walk.items[key] for key in sorted(walk.items)), tuple(walk.problems), tuple(sorted(set(walk.unsupported))))


def _absolute(text: str) -> str:
    """``..`` taken out, links kept: they are how people know the file."""
    return os.path.abspath(text)  # noqa: PTH100 - Path.resolve follows links, Path.absolute leaves `..` in


class _Walk:
    def __init__(self, exclude: tuple[Path, ...]) -> None:
        self._exclude = frozenset(exclude)
        self.items: dict[str, SourceItem] = {}
        self.problems: list[Problem] = []
        self.unsupported: list[str] = []
        self.matched = False
        self._seen: set[tuple[int, int]] = set()

    def add(self, text: str) -> None:
        """One path of the command line. A name that exists is taken literally, even with ``[`` or ``*`` in it."""
        path = Path(text).expanduser()
        if not text.strip():  # Path("") is the current folder: an unset variable of a script would ingest all of it
            self._missing(text, "The path is empty.")
        elif os.path.lexists(path):
            self.matched = True
            self._add_one(path, named=True)
        elif _MAGIC & set(text):
            self._add_glob(str(path), text)
        else:
            self._missing(text, "There is no such file or folder.")

    def _add_glob(self, pattern: str, text: str) -> None:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        if not found:
            self._missing(text, "The pattern matches nothing.")
            return
        self.matched = True
        for name in found:
            # `**` also lists the folders; their files come by themselves where the pattern means them.
            if not (Path(name).is_dir() and "**" in pattern):
                self._add_one(Path(name), named=False)

    def _missing(self, text: str, message: str) -> None:
        self.problems.append(Problem(_absolute(text) if text.strip() else text, text, "not-found", message))

    def _add_one(self, path: Path, *, named: bool) -> None:
        if path.is_dir():
            for file in self._files(path):
                self._add_file(file, named=False)
        else:
            self._add_file(path, named=named)

    def _files(self, top: Path) -> Iterator[Path]:
        """Regular files below a folder, sorted; every real folder once, so that links cannot loop."""
        for folder, folders, names in os.walk(top, followlinks=True, onerror=self._unlisted):
            here = Path(folder)
            if not self._is_new(here):
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() not in self._exclude)
            yield from (here / name for name in sorted(names) if not name.startswith("."))

    def _is_new(self, folder: Path) -> bool:
        try:
            status = folder.stat()
        except OSError:
            return True  # os.walk reports it through onerror
        key = (status.st_dev, status.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return not known

    def _unlisted(self, error: OSError) -> None:
        name = _absolute(str(error.filename))
        self.problems.append(Problem(name, name, "unreadable", f"The folder cannot be listed: {error.strerror}."))

    def _add_file(self, path: Path, *, named: bool) -> None:
        if not named and extension(path.name) not in EXTENSIONS:
            self.unsupported.append(_absolute(str(path)))
            return
        name = _absolute(str(path))
        self.items[name] = file_item(Path(name))


def file_item(path: Path) -> SourceItem:
    """The item of one file. ``path`` is absolute; links in it are kept, for they are how people know the file."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading it says why
    # Names that are not UTF-8 come from the system with lone surrogates, which nothing can store.
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return SourceItem(
        id=text, source=text, name=text.rsplit("/", 1)[-1], size=size, read=partial(read_file, path), metadata={"file_name": text.rsplit("/", 1)[-1]}
    )


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DocumentError: ``unreadable``.
    """
    if not path.is_file():
        raise DocumentError(f"It is {_irregular(path)}.", reason="unreadable")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(f"The file cannot be read: {error.strerror or error}.", reason="unreadable") from error


def _irregular(path: Path) -> str:
    """What stands at a path that is no regular file, in words."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if path.is_symlink() else "no longer there"
    except OSError as error:
        return "a link that leads in a circle" if error.errno == errno.ELOOP else f"out of reach ({error.strerror or error})"
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "something other than a file")
    return f"a link to {kind}, not a regular file" if path.is_symlink() else f"{kind}, not a regular file"
