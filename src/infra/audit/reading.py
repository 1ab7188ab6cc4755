"""Reading an audit file that may be written meanwhile: as far as it went when its reader came."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import AuditError, ConfigurationError
from ..config import AuditCfg
from .anchors import read_anchors
from .chain import KEY_SETTING, Keyring, parse_keys
from .verify import Anchor


def keyring_of(cfg: AuditCfg) -> Keyring:
    """The keys of `[audit]`, also where it is not enabled.

    Raises:
        ConfigurationError: there are none, or they cannot be used.
    """
    if cfg.keys is None:
        hint = "Set it to the keys with which the file was written; the ones before the present one follow it."
        raise ConfigurationError("Checking an audit file needs its key.", setting=KEY_SETTING, hint=hint)
    return parse_keys(cfg.keys.get_secret_value())


def anchors_of(cfg: AuditCfg, more: Sequence[Path] = ()) -> list[Anchor]:
    """All heads of the configured anchor and of the files that are named. Read them before the file: it is ahead of them then.

    Raises:
        AuditError: one of them cannot be read, or holds no head.
    """
    own = read_anchors(cfg.anchor, own=True) if cfg.anchor is not None else []
    return [*own, *(anchor for path in more for anchor in read_anchors(path))]


@contextmanager
def rows_of(path: Path) -> Iterator[Iterator[bytes]]:
    """The rows of a file, each with its line end.

    Raises:
        AuditError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise AuditError(f"The audit file {path} cannot be read: {error.strerror}.", setting="audit.path") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)  # behind a group that is being written, and for a moment alone
        size = os.fstat(file.fileno()).st_size
        fcntl.flock(file, fcntl.LOCK_UN)
        yield _until(file, size)


def _until(file: Iterator[bytes], size: int) -> Iterator[bytes]:
    for line in file:
        yield line[:size]
        size -= len(line)
        if size <= 0:
            return
