"""What lies on this machine: data folder, prepared model, embedded index, network policy, AWS credentials. Nothing is made or written."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ...errors import RagError, StorageError, StorageReadOnlyError
from ..factories import INDEX_FOLDER, cache_folder, effective_embed
from . import fixes
from .channel import in_thread
from .walk import Step, Walk

LITTLE_BYTES = 200 * 2**20


def data_steps() -> tuple[Step, ...]:
    return (Step("folder", folder),)


def model_steps() -> tuple[Step, ...]:
    return (Step("model", model),)


def index_steps() -> tuple[Step, ...]:
    return (Step("index", index),)


def aws_steps() -> tuple[Step, ...]:
    return (Step("credentials", aws),)


async def folder(walk: Walk) -> str:
    """The data folder can be written, or made."""
    return await in_thread(lambda: _folder(walk))


def _folder(walk: Walk) -> str:
    path = walk.settings.storage.path
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise StorageError(f"{there} is a file, where the data folder should be.", setting="storage.path", hint="Name another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        hint = "Give this user write permission, or choose another folder."
        raise StorageReadOnlyError(f"The data folder {path} cannot be written.", setting="storage.path", hint=hint)
    free = shutil.disk_usage(there).free
    if free < LITTLE_BYTES:
        walk.warn(f"{free // 2**20} MB are free where the data folder lies.", "storage.path", "Free space, or choose another folder.")
    return f"{path} can be written" if there == path.absolute() else f"{path} is not there yet, and can be made"


async def model(walk: Walk) -> str:
    """The local model lies prepared, and is the one whose hash is known."""
    from ..providers import minilm

    place = minilm.model_folder(cache_folder(walk.settings))
    if await in_thread(lambda: minilm.is_prepared(place)):
        return f"{minilm.MODEL} lies prepared in {place}, its hashes are right"
    for name, digest in (("model.safetensors", minilm.WEIGHTS_SHA256), (minilm.TOKENIZER_FILE, minilm.TOKENIZER_SHA256)):
        await in_thread(partial(minilm.source_file, name, digest))
    state = "is damaged" if (place / minilm.GRAPH_FILE).exists() else "is not prepared yet"
    walk.warn(f"The local model {state}; its first use makes it, in about two seconds.", "cache.path", "Do it now: rag model prepare.")
    return f"{minilm.MODEL} can be made from the installed package, whose hashes are right"


async def index(walk: Walk) -> str:
    """The embedded index opens, and holds vectors of the configured embedder. Read so that no file changes."""
    return await in_thread(lambda: _index(walk))


def _index(walk: Walk) -> str:
    from ..search.embedded.session import identity
    from ..search.embedded.truth import Truth

    place = walk.settings.storage.path / INDEX_FOLDER
    if identity(place) is None:
        return "there is no index yet; `rag ingest PATH…` makes it"
    truth, logged = Truth.look(place)
    try:
        with truth.snapshot() as state:
            name, dims = _embedder(walk)
            if (state.embedder, state.dims) != (name, dims):
                walk.fixes = fixes.of_index(walk.settings, state.embedder, state.dims)
                raise _mismatch(truth.path, (state.embedder, state.dims), (name, dims))
            log = "; what was written last lies in its log, which is not looked into here" if logged else ""
            return f"{state.chunks:,} chunks, vectors of {state.embedder}, {state.dims} dimensions{log}"
    finally:
        truth.close()


def _embedder(walk: Walk) -> tuple[str, int]:
    embed = effective_embed(walk.settings)
    if embed.provider != "local":
        return f"{embed.provider}:{embed.model}", embed.dims
    from ..providers.minilm import DIMS, MODEL

    return MODEL, DIMS


def _mismatch(path: Path, made: tuple[str, int], asked: tuple[str, int]) -> RagError:
    from ...errors import IndexMismatchError
    from ..search.embedded.failures import REBUILD_COMMAND

    return IndexMismatchError(
        f"The index {path} holds vectors of {made[0]} ({made[1]} dimensions); the configuration asks for {asked[0]} ({asked[1]} dimensions).",
        setting="embed.model",
        hint=f"Configure the model that made it, or build the index again: {REBUILD_COMMAND}",
    )


async def aws(walk: Walk) -> str:
    """Credentials and region, by AWS's own chain; a role is assumed, as the product does."""
    from ..aws.chain import load_keys

    cfg = walk.settings.search
    asked = cfg.model_copy(update={"timeout_s": walk.left(cfg.timeout_s)})
    keys = await in_thread(lambda: load_keys(asked, walk.policy, time.time))
    parts = [f"credentials for {keys.region}"]
    if keys.expires is not None:
        left = keys.expires - time.time()
        parts.append(f"good until {datetime.fromtimestamp(keys.expires, UTC):%Y-%m-%d %H:%M} UTC")
        if left < 300:
            walk.warn(f"The AWS credentials are good for {left:.0f} s only.", "search.aws_profile", "Log in again.")
    return ", ".join(parts)
