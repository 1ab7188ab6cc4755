"""`rag index`: the index as a whole, and the versions of it that OpenSearch keeps behind one alias."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import click

from ..errors import ConfigurationError, ConflictError, IndexMissingError, InputError, UnsupportedFeatureError
from ..telemetry.audit import AuditEvent, changing
from .common import CommandContext, common_options, to_json
from .progress import overwritten_line
from .stopping import heeding_sigterm

if TYPE_CHECKING:
    from ..infra.search.opensearch.engine import OpenSearchEngine
    from ..infra.search.opensearch.versions.filling import Progress
    from ..infra.search.opensearch.versions.listing import Row
    from ..infra.search.opensearch.versions.reindex import Reindexed
    from ..infra.search.opensearch.versions.state import Version
    from ..infra.search.protocol import IndexInfo, SearchClient
    from ..infra.search.sync import Copied

EngineName = Literal["embedded", "opensearch"]
ENGINES = ("embedded", "opensearch")


@click.group(name="index")
def command() -> None:
    """Show the index; on OpenSearch also make, list, reindex, switch and delete its versions."""


@command.command()
@common_options
def info(ctx: CommandContext) -> None:
    """Count documents and chunks, and what each view holds of them."""
    found, version = ctx.run(_info(ctx))
    if ctx.json:
        ctx.emit({**to_json(found), **({"index": version.name, "memory_bytes": _memory(ctx, version, found.chunks)} if version else {})})
        return
    views = ", ".join(f"{name} {count:,}" for name, count in found.views.items())
    click.echo(f"documents  {found.documents:,}\nchunks     {found.chunks:,}\nviews      {views}")
    click.echo(f"engine     {found.engine}\nembedder   {found.embedder}\nversion    {found.version}")
    if version:
        click.echo(f"index      {version.name}\nmemory     {_memory(ctx, version, found.chunks) / 2**20:,.1f} MiB wanted for the vectors of all copies")


async def _info(ctx: CommandContext) -> tuple[IndexInfo, Version | None]:
    """What the engine counts, and the version in use on OpenSearch."""
    from ..infra.search.opensearch.engine import OpenSearchEngine

    async with ctx.resources() as resources:
        search = resources.search
        version = (await search.indices.current()).version if isinstance(search, OpenSearchEngine) else None
        return await search.info(), version


def _memory(ctx: CommandContext, version: Version, chunks: int) -> int:
    """Bytes that the cluster should have for that many vectors."""
    from ..infra.search_config import memory_estimate

    return memory_estimate(chunks, dims=int(version.meta["dims"]), size=ctx.settings.search.size, replicas=version.replicas)


@command.command(name="list")
@common_options
def list_versions(ctx: CommandContext) -> None:
    """List the versions of the index; the alias points to the one in use."""
    rows = ctx.run(_list(ctx))
    if ctx.json:
        ctx.emit({"alias": ctx.settings.search.index_alias, "versions": rows})
        return
    if not rows:
        click.echo("There is no index yet; `rag ingest PATH…` makes it.", err=True)
    for row in rows:
        size = "" if row.size_bytes is None else f"  {row.size_bytes / 1e6:,.1f} MB"
        if row.state == "foreign":
            click.echo(f"{row.state:<10}  {row.name}{size}  not made by this program, and never touched")
            continue
        fits = "" if row.fits else "  does not fit the configuration"
        click.echo(f"{row.state:<10}  {row.name}  {row.documents:,} documents, {row.chunks:,} chunks{size}  {row.embedder}, {row.language}{fits}")


async def _list(ctx: CommandContext) -> list[Row]:
    from ..infra.search.opensearch.versions.listing import list_rows

    async with _opensearch(ctx, "list") as engine:
        return await list_rows(engine.indices)


@command.command()
@common_options
def create(ctx: CommandContext) -> None:
    """Make a new, empty version as [search] says now.

    Where there was no index it is in use at once; else it waits for `rag index switch`.
    """
    from ..infra.search_config import tuning_of

    version, used = ctx.run(_create(ctx))
    chunks = tuning_of(ctx.settings.search.size).vectors
    memory = _memory(ctx, version, chunks)
    if ctx.json:
        ctx.emit({"index": version.name, "current": used, "memory_bytes": {str(chunks): memory}})
        return
    use = f" and in use as {ctx.settings.search.index_alias}" if used else f"; `rag index switch {version.name}` puts it to use"
    click.echo(f"{version.name} is made{use}")
    copies = "1 copy" if version.replicas == 0 else f"{version.replicas + 1} copies"
    click.echo(f"{chunks:,} chunks of {version.meta['dims']} dimensions in {copies} want {memory / 2**30:,.1f} GiB for their vectors")


async def _create(ctx: CommandContext) -> tuple[Version, bool]:
    from ..infra.search.opensearch.versions.lifecycle import Lifecycle

    async with _opensearch(ctx, "create") as engine:
        name = await Lifecycle(engine.indices).create()
        family = await engine.indices.family()
        version = family.find(name)
        if version is None:
            raise ConflictError(f"{name} was deleted again meanwhile.")
        return version, version in family.current


@command.command()
@click.option("--force", is_flag=True, help="Switch although sample questions are answered otherwise; numbers of entries must agree all the same.")
@common_options
def reindex(ctx: CommandContext, force: bool) -> None:
    """Fill a new version from the one in use, as [search] says now (language, size, vector engine), and switch to it.

    The old version stays in use, and takes writes, until the new one is filled and checked; writers wait for the moment of
    the switch. It then stays for `rag index rollback` until it is deleted. A reindex that was stopped goes on by being run
    again. Vectors are kept: for another embedding model, run `rag ingest --rebuild PATH…`.
    """
    done = ctx.run(_reindex(ctx, force=force))
    if ctx.json:
        ctx.emit(done)
        return
    checks = done.checks
    click.echo(f"{ctx.settings.search.index_alias}: {done.source} -> {done.target}, {checks.documents:,} documents, {checks.chunks:,} chunks")
    agreement = ", ".join(f"{leg} {share:.2f}" for leg, share in checks.agreement.items()) or "nothing to ask"
    click.echo(f"checked: numbers of entries agree; common hits of {checks.questions} sample questions: {agreement}")
    click.echo(f"{done.seconds:.1f} s in {done.rounds} rounds{', resumed' if done.resumed else ''}; writers waited {done.blocked_s:.1f} s")
    if checks.problem:
        click.secho(f"switched all the same: {checks.problem}", fg="yellow", err=True)
    click.echo(f"{done.source} is kept; `rag index rollback` returns to it, `rag index delete {done.source}` deletes it")


async def _reindex(ctx: CommandContext, *, force: bool) -> Reindexed:
    from ..infra.search.opensearch.versions.reindex import Reindexer

    with heeding_sigterm():
        async with _opensearch(ctx, "reindex") as engine:
            with overwritten_line() as show:

                def tell(progress: Progress) -> None:
                    show(f"{progress.phase} {progress.done:,}" + (f" of {progress.total:,} documents" if progress.phase == "copying" else ""))

                return await Reindexer(engine.indices, tell, force=force).run()


@command.command()
@click.argument("version")
@click.option("--force", is_flag=True, help="Also a version that does not fit the configured embedding model.")
@common_options
def switch(ctx: CommandContext, version: str, force: bool) -> None:
    """Point the alias to VERSION, a name or a number of `rag index list`; never to what this program did not make."""
    _moved(ctx, *ctx.run(_switch(ctx, version, force=force)))


@command.command()
@click.option("--force", is_flag=True, help="Also a version that does not fit the configured embedding model.")
@common_options
def rollback(ctx: CommandContext, force: bool) -> None:
    """Point the alias to the version that was in use before.

    Documents written since are only in the version that is left.
    """
    _moved(ctx, *ctx.run(_switch(ctx, None, force=force)))


async def _switch(ctx: CommandContext, version: str | None, *, force: bool) -> tuple[str | None, str]:
    from ..infra.search.opensearch.versions.lifecycle import Lifecycle

    async with _opensearch(ctx, "switch", version or "before") as engine:
        lifecycle = Lifecycle(engine.indices)
        return await lifecycle.rollback(force=force) if version is None else await lifecycle.switch(version, force=force)


def _moved(ctx: CommandContext, before: str | None, after: str) -> None:
    if ctx.json:
        ctx.emit({"alias": ctx.settings.search.index_alias, "before": before or "", "after": after})
    elif before == after:
        click.echo(f"{after} is in use already")
    else:
        click.echo(f"{ctx.settings.search.index_alias}: {before or 'nothing'} -> {after}")
        if before:
            click.echo(f"what was written into {before} since it came into use is not in {after}", err=True)


@command.command()
@click.argument("version")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also the version in use, or one that is being built; never what this program did not make.")
@common_options
def delete(ctx: CommandContext, version: str, yes: bool, force: bool) -> None:
    """Delete VERSION, a name or a number of `rag index list`, for good."""
    if not yes:
        if ctx.json or not sys.stdin.isatty():
            raise click.UsageError("deleting needs --yes where nobody can be asked")
        click.confirm(f"Delete version {version} of {ctx.settings.search.index_alias}?", abort=True)
    name = ctx.run(_delete(ctx, version, force=force))
    if ctx.json:
        ctx.emit({"deleted": name})
    else:
        click.echo(f"{name} is deleted")


async def _delete(ctx: CommandContext, version: str, *, force: bool) -> str:
    from ..infra.search.opensearch.versions.lifecycle import Lifecycle

    async with _opensearch(ctx, "delete", version) as engine:
        return await Lifecycle(engine.indices).delete(version, force=force)


@command.command()
@click.option("--from", "source", required=True, type=click.Choice(ENGINES), help="Engine to copy from.")
@click.option("--to", "target", required=True, type=click.Choice(ENGINES), help="Engine to copy into.")
@click.option("--mirror", is_flag=True, help="Also delete documents that only the target has.")
@common_options
def copy(ctx: CommandContext, source: EngineName, target: EngineName, mirror: bool) -> None:
    """Copy all documents of all tenants, with access lists and vectors, from one engine into the other.

    Nothing is embedded anew, and what the target holds unchanged is skipped: a copy that was stopped goes on by being run
    again. Where OpenSearch has no index yet, it comes into use when the copy is complete.
    """
    if source == target:
        raise click.BadParameter("must not be the engine that is copied from", param_hint="--to")
    done = ctx.run(_copy(ctx, source, target, mirror=mirror))
    if ctx.json:
        ctx.emit({"from": source, "to": target, **{name: getattr(done, name) for name in ("documents", "chunks", "deleted")}})
    else:
        deleted = f", {done.deleted:,} others deleted" if mirror else ""
        click.echo(f"{source} -> {target}: {done.documents:,} documents, {done.chunks:,} chunks{deleted}")


async def _copy(ctx: CommandContext, source: EngineName, target: EngineName, *, mirror: bool) -> Copied:
    from ..infra.factories import make_engine
    from ..infra.search.sync import copy as copy_all

    with heeding_sigterm():
        async with ctx.resources() as resources:
            cfg = ctx.settings.search
            if not cfg.host:
                raise ConfigurationError("No OpenSearch cluster is configured.", setting="search.host", hint="Set [search] host.")
            ours, theirs = make_engine(resources, source, cfg), make_engine(resources, target, cfg)
            event = AuditEvent("index.copy", object=cfg.index_alias, facts={"from": source, "to": target, "mirror": mirror})
            try:
                if (await ours.info()).documents == 0:
                    raise InputError(f"There is nothing to copy: the {source} index is empty.")
                with overwritten_line() as show:
                    async with changing(resources.get("audit"), event), _destination(theirs) as (into, fresh):
                        return await copy_all(ours, into, mirror=mirror or fresh, on_copied=lambda documents, _: show(f"copied {documents:,} documents"))
            finally:
                await ours.aclose()
                await theirs.aclose()


@asynccontextmanager
async def _destination(target: SearchClient) -> AsyncIterator[tuple[SearchClient, bool]]:
    """The index that is there, or a new version that comes into use when the block ends well; whether it is the latter."""
    from ..infra.search.opensearch.engine import OpenSearchEngine

    if isinstance(target, OpenSearchEngine):
        try:
            await target.ping()
        except IndexMissingError:
            async with target.building("copy", resume=True) as aside:
                yield aside, True
            return
    yield target, False


@asynccontextmanager
async def _opensearch(ctx: CommandContext, name: str, version: str = "") -> AsyncIterator[OpenSearchEngine]:
    """The configured engine, which must be OpenSearch. All but a list is recorded, with the version that is named."""
    from ..infra.search.opensearch.engine import OpenSearchEngine

    async with ctx.resources() as resources:
        if not isinstance(resources.search, OpenSearchEngine):
            raise UnsupportedFeatureError(
                f"`rag index {name}` is for OpenSearch; the embedded engine keeps one index and no versions of it.",
                setting="search.engine",
                hint="`rag index info` shows it; `rag ingest --rebuild PATH…` makes it anew; [search] host names a cluster.",
            )
        if name == "list":
            yield resources.search
            return
        facts: dict[str, str | int | bool] = {"version": version} if version else {}
        async with changing(resources.get("audit"), AuditEvent(f"index.{name}", object=ctx.settings.search.index_alias, facts=facts)):
            yield resources.search
