"""`llmdrill drill list|show|new|validate`: the drills."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.consent import AgreeOption  # noqa: TC001
from llmdrill.cli.show import emit_json, show_mistakes
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from llmdrill.practice.library import Listed
    from llmdrill.practice.posed import Posed

Kind = Literal["numeric", "estimate", "choice", "order", "debug", "explain", "story", "code"]
Role = Literal["ai-lab", "product", "startup"]

TopicOption = Annotated[str | None, typer.Option("--topic", help="A tag, or the name of a file.")]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="What is to be done.")]
TierOption = Annotated[int | None, typer.Option("--tier", min=1, max=3, help="1 foundations to 3 depth.")]
RoleOption = Annotated[Role | None, typer.Option("--role", help="Whom it is for.")]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The drills: list them, read one, check them, write your own."
)


@app.command("list")
def list_(
    topic: TopicOption = None,
    kind: KindOption = None,
    tier: TierOption = None,
    role: RoleOption = None,
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """List the drills: shipped ones, your own, and those of installed packages."""
    from llmdrill.practice.library import load_library

    library = load_library()
    found = library.select(topic=topic, kind=kind, tier=tier, role=role)
    for broken in library.broken:
        typer.echo(f"{broken.file}: left out, {broken.why} (llmdrill drill validate tells all)", err=True)
    if topic is not None and not library.select(topic=topic):
        _require_topic(topic, {name for one in library.drills for name in (one.entry.topic, *one.entry.tags)})
    if json_:
        emit_json({"schema": "llmdrill/drills@1", "drills": [_row(one) for one in found]})
        return
    if not found:
        typer.echo("No drill has all of that.")
        return
    from llmdrill.cli.gate import print_blocks
    from llmdrill.report.drill_view import list_view

    print_blocks(list_view([one.entry for one in found]), plain=plain)


def _require_topic(topic: str, known: set[str]) -> None:
    from llmdrill.errors import UnknownNameError
    from llmdrill.practice.topics import TOPICS

    if topic not in TOPICS:
        raise UnknownNameError("topic", topic, known | set(TOPICS))


def _row(listed: Listed) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(listed.entry), "file": str(listed.file), "pack": listed.pack.name}


@app.command()
def show(
    drill: Annotated[str, typer.Argument(metavar="ID", help="A drill's id.")],
    seed: options.Seed = 0,
    answer: Annotated[bool, typer.Option("--answer", help="With hints, answer and sources.")] = False,
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Show a drill as it is posed under a seed; with --answer what is right, and why."""
    from llmdrill.practice.drill import DebugDrill
    from llmdrill.practice.library import load_drill, load_library
    from llmdrill.practice.posed import pose
    from llmdrill.practice.traces import trace_lines

    listed = load_library().find(drill)
    posed = pose(load_drill(listed), seed=seed)
    trace = trace_lines(posed.drill, say=_say) if isinstance(posed.drill, DebugDrill) else ()
    if json_:
        emit_json(_posed_json(posed, listed, trace, answer=answer))
        return
    from llmdrill.cli.gate import print_blocks
    from llmdrill.report.drill_view import drill_view

    print_blocks(drill_view(posed, trace=trace, answer=answer), plain=plain)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"{text} …", err=True)


def _posed_json(posed: Posed, listed: Listed, trace: tuple[str, ...], *, answer: bool) -> dict[str, object]:
    from llmdrill.practice.posed import reference_answers

    asks = [{"id": ask.id, "kind": ask.kind, "text": ask.text, "choices": list(ask.choices)} for ask in posed.asks]
    shown = {"schema": "llmdrill/drill@1", **_row(listed), "seed": posed.seed, "prompt": posed.prompt, "asks": asks}
    if trace:
        shown["trace"] = "\n".join(trace)
    if answer:
        sources = [source.model_dump() for source in posed.drill.sources]
        shown |= {"hints": list(posed.hints), "answers": reference_answers(posed), "worked": posed.worked}
        shown |= {"values": dict(posed.values), "sources": sources}
    return shown


@app.command()
def validate(
    targets: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files or folders; none: all that is shipped.")
    ] = None,
    no_code: Annotated[bool, typer.Option("--no-code", help="Look at the files of code drills, run nothing.")] = False,
    agree: AgreeOption = False,
    json_: options.Json = False,
) -> None:
    """Prove drills: each answer is graded, each mistake recognised, each solution run. Exit 1 if one does not hold."""
    from llmdrill.cli.consent import require_agreement
    from llmdrill.practice.packs import SHIPPED, pack_of, packs
    from llmdrill.practice.validate import validate_drills

    paths = _paths(targets or [])
    about = {pack.key: pack for pack in map(pack_of, paths)}
    for pack in about.values():
        if not no_code and (pack.folder / "code").is_dir():
            require_agreement(pack, agree=agree, otherwise="--no-code leaves code alone")
    about |= {pack.key: pack for pack in packs() if pack.name == SHIPPED}
    given = {path.resolve() for path in paths}
    beside = [file for pack in about.values() for file in pack.folder.glob("*.yaml") if file.resolve() not in given]
    mistakes = validate_drills(paths, beside=beside, run_code=not no_code)
    show_mistakes(mistakes, paths, what="file", json=json_)


def _paths(targets: list[Path]) -> list[Path]:
    from llmdrill.files import read_bytes
    from llmdrill.folders import shipped_folder

    paths: list[Path] = []
    for target in targets or [shipped_folder("drills")]:
        if target.is_dir():
            found = sorted(target.glob("*.yaml"))
            if not found:
                raise UsageError(f"{target}: no drills (*.yaml) in this folder")
            paths += found
        else:
            read_bytes(target, most_bytes=1)  # what cannot be read is no mistake of its author
            paths.append(target)
    return paths


@app.command()
def new(
    kind: Annotated[Kind, typer.Argument(help="What is to be done.")],
    name: Annotated[str, typer.Option("--id", help="Of the drill; its file is called so, too.")] = "my-drill",
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default your own drills'.")] = None,
) -> None:
    """Write a small complete drill of a kind to start from; it validates as it is."""
    import re

    from llmdrill.folders import home_folder
    from llmdrill.practice.template import drill_template

    if not re.fullmatch(r"[a-z][a-z0-9-]{0,59}", name):
        raise UsageError(f"'{name[:60]}' is no id: lower case letters, digits and hyphens, a letter first")
    folder = out or home_folder() / "drills"
    files = {folder / relative: text for relative, text in drill_template(kind, name).items()}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} exists already; choose another --id or --out")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror})") from error
    first = next(iter(files))
    typer.echo("\n".join(str(path) for path in files))
    typer.echo(f"Check it: llmdrill drill validate {first}")
