"""OpenSearch: the index behind the alias, its mapping, and whether the cluster can search it. Reads only, through the product's engine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from ...errors import IndexMismatchError, RagError, UnsupportedFeatureError
from ..factories import effective_embed
from ..opensearch_client import OpenSearchClient
from . import fixes
from .walk import Step, Walk

if TYPE_CHECKING:
    from ..search.opensearch.versions.state import Version

T = TypeVar("T")


def steps() -> tuple[Step, ...]:
    return (Step("service", answers), Step("index", index), Step("mapping", mapping), Step("search", searches))


def engine(walk: Walk) -> OpenSearchClient:
    """The product's engine on this one host, without repeats, and within what is left of the time."""
    cfg = walk.settings.search
    limit = walk.left(cfg.timeout_s)
    asked = cfg.model_copy(update={"host": walk.target.address, "max_retries": 0, "timeout_s": limit})
    embed = effective_embed(walk.settings)
    if embed.provider == "local":
        from ..providers.minilm import DIMS, MODEL

        return OpenSearchClient(asked, embedder=MODEL, dims=DIMS, network=walk.policy)
    return OpenSearchClient(asked, embedder=f"{embed.provider}:{embed.model}", dims=embed.dims, network=walk.policy)


async def answers(walk: Walk) -> str:
    """Something that is OpenSearch answers, and takes our credential."""
    client = engine(walk)
    try:
        family = await _asked(walk, client.indices.family())
    finally:
        await client.aclose()
    cfg = walk.settings.search
    who = (
        "signed for AWS" if cfg.use_aws_auth else "by bearer token" if cfg.bearer_token else f"as {cfg.username!r}" if cfg.username else "without a credential"
    )
    return f"it answers, asked {who}; {len(family.versions)} indices of the alias {family.alias!r}"


async def index(walk: Walk) -> str:
    """One index of ours behind the alias."""
    client = engine(walk)
    try:
        version: Version = client.indices.the_current(await _asked(walk, client.indices.family()))
        client.indices.check_ours(version)
    finally:
        await client.aclose()
    if version.write_blocked:
        walk.warn(f"The index {version.name} takes no writes.", "search.index_alias", "Lift its block; a full disk sets one too.")
    return f"{walk.settings.search.index_alias} is {version.name}"


async def mapping(walk: Walk) -> str:
    """Its vectors are those of the configured embedder: model, dimensions, space; its fields as this release reads them."""
    client = engine(walk)
    try:
        version = client.indices.the_current(await _asked(walk, client.indices.family()))
        try:
            client.indices.check(version)
        except IndexMismatchError as error:
            walk.fixes = fixes.of_index(walk.settings, version.meta.get("embedder"), version.meta.get("dims")) if error.setting == "embed.model" else []
            raise
    finally:
        await client.aclose()
    return f"vectors of {version.meta['embedder']}, {version.meta['dims']} dimensions, compared by {version.meta.get('space', 'their mapping')}"


async def searches(walk: Walk) -> str:
    """It searches vectors, and fuses by the pipelines that the configuration asks for."""
    client = engine(walk)
    try:
        found = await _asked(walk, client.capabilities())
        found.check_vectors(walk.target.address)
    finally:
        await client.aclose()
    named = walk.settings.search.pipeline
    if named and found.named:
        raise UnsupportedFeatureError(
            f"The search pipeline {named!r} cannot be used: {found.named}.",
            setting="search.pipeline",
            hop=walk.target.address,
            hint="Make it on the cluster, name another, or leave the key out: the pipeline then goes along with each request.",
        )
    lacking = [technique for technique, reason in found.techniques.items() if reason]
    pipeline = f"; the pipeline {named!r} fuses" if named else f"; inline pipelines: all but {', '.join(lacking)}" if lacking else "; inline pipelines fuse"
    return f"it searches vectors on {found.shards} shard{'s' if found.shards > 1 else ''}{pipeline}"


async def _asked(walk: Walk, work: Awaitable[T]) -> T:
    limit = walk.left()
    try:
        return await work
    except RagError as error:
        walk.fixes = fixes.of_error(walk.settings, error)
        raise walk.impatient(error, walk.settings.search.timeout_s, limit) from None
