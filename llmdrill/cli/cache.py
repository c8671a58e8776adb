"""`llmdrill cache`: the embeddings that are kept on disk: see them, delete them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.show import emit_json
from llmdrill.errors import StoreError, UsageError

if TYPE_CHECKING:
    from llmdrill.report.blocks import Blocks
    from llmdrill.retrieval.embedding_cache import CacheUsage, DiskEmbeddingCache, ModelUsage

SHOWN_DIGITS: Final = 12  # of a hash

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Show the embeddings that are kept on disk: where, how many, of which models.",
)


@app.callback()
def cache(context: typer.Context, json_: options.Json = False, plain: options.Plain = False) -> None:
    """Show the embeddings that are kept on disk: where, how many, of which models.

    They are keyed by the sha256 of text and model. Beyond the limit, 2 GiB or LLMDRILL_CACHE_LIMIT such as "500 MB",
    the oldest go.
    """
    if context.invoked_subcommand is not None:
        return
    usage = _cache().usage()
    if json_:
        emit_json(_json(usage))
        return
    from llmdrill.cli.gate import print_blocks

    print_blocks(_view(usage), plain=plain)


@app.command()
def clear(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, json_: options.Json = False) -> None:
    """Delete the embeddings; the next run that needs them computes them again."""
    from llmdrill.units import format_bytes

    kept = _cache()
    before = kept.usage()
    if before.file_bytes and not yes and not _agreed(f"Delete {format_bytes(before.file_bytes)} in {before.folder}?"):
        typer.echo("Nothing deleted.")
        return
    try:
        freed_bytes = kept.clear()
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be deleted ({error.strerror}): close what uses it") from error
    if json_:
        emit_json({"schema": "llmdrill/cache-clear@1", "folder": str(before.folder), "freed_bytes": freed_bytes})
    else:
        typer.echo(f"Deleted {format_bytes(freed_bytes)} in {before.folder}." if freed_bytes else "There was nothing.")


def _cache() -> DiskEmbeddingCache:
    from llmdrill.folders import cache_folder
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache

    return DiskEmbeddingCache(cache_folder() / "embeddings")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked: say --yes to delete the embeddings")
    return typer.confirm(question, err=True)


def _json(usage: CacheUsage) -> dict[str, object]:
    return {
        "schema": "llmdrill/cache@1",
        "folder": str(usage.folder),
        "file_bytes": usage.file_bytes,
        "limit_bytes": usage.limit_bytes,
        "vectors": sum(model.vectors for model in usage.models),
        "models": [
            {"model": _name(model), "key": model.model, "vectors": model.vectors, "vector_bytes": model.vector_bytes}
            for model in usage.models
        ],
    }


def _view(usage: CacheUsage) -> Blocks:
    from llmdrill.report.blocks import Grid, Text
    from llmdrill.units import format_bytes, format_count

    vectors = sum(model.vectors for model in usage.models)
    held = (
        f"{usage.folder}: {format_count(vectors)} vectors, {format_bytes(usage.file_bytes)} on disk, of at most"
        f" {format_bytes(usage.limit_bytes)}"
    )
    if not usage.models:
        return (Text(held),)
    rows = tuple((_name(model), f"{model.vectors:,}", format_bytes(model.vector_bytes)) for model in usage.models)
    return (Text(held), Grid(("model", ">vectors", ">bytes"), rows))


def _name(usage: ModelUsage) -> str:
    """Return a model as people know it: its name if it is the installed one, else the beginning of its hash."""
    from llmdrill.lab.embed import MINILM_NAME, MINILM_SHA256

    sha256, *settings = usage.model.split("/")
    name = MINILM_NAME if sha256 == MINILM_SHA256 else sha256[:SHOWN_DIGITS]
    return " ".join(filter(None, (name, *settings)))
