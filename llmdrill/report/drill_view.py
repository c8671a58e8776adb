"""Drills as blocks: a list of them, and one as it is posed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.practice.drill import ExplainDrill, NumericDrill, StoryDrill
from llmdrill.practice.posed import LETTERS, reference_answers
from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.practice.library import Entry
    from llmdrill.practice.posed import Ask, Posed
    from llmdrill.report.blocks import Block, Blocks


def list_view(entries: Sequence[Entry]) -> Blocks:
    """Show a row a drill."""
    rows = tuple((one.id, one.kind, str(one.tier), f"{one.minutes:g}", one.title) for one in entries)
    count = f"{len(rows)} drill{'' if len(rows) == 1 else 's'}; llmdrill drill show ID shows one."
    return (Grid(("drill", "kind", ">tier", ">min", "title"), rows, note=count),)


def drill_view(posed: Posed, *, trace: Sequence[str] = (), answer: bool = False) -> Blocks:
    """Show a drill as it is posed; with ``answer`` hints, what is right, and sources."""
    return tuple(_drill(posed, trace, answer=answer))


def prose_blocks(text: str) -> Iterator[Block]:
    """Yield a text's paragraphs; what is indented or fenced stands as it is."""
    for kept, lines in _parts(text.strip("\n").split("\n")):
        part = "\n".join(lines)
        if part.strip():
            yield Drawing(part.strip("\n")) if kept else Text(part)


def _parts(lines: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Yield runs of lines that are to be kept as they are, and of those that are to be wrapped."""
    fenced, run_kept, run = False, False, list[str]()
    for line in lines:
        fence = line.startswith("```")
        kept = fenced or fence or line.startswith(("  ", "\t")) or (run_kept and not line)
        fenced = fenced != fence
        if kept != run_kept:
            yield run_kept, run
            run_kept, run = kept, []
        if not fence:
            run.append(line)
    yield run_kept, run


def _drill(posed: Posed, trace: Sequence[str], *, answer: bool) -> Iterator[Block]:
    drill = posed.drill
    about = f"{drill.kind}, tier {drill.tier}, difficulty {drill.difficulty} of 5, {drill.minutes:g} min"
    yield Heading(drill.title, 1)
    yield Text(f"{about}; {', '.join(drill.tags)}; for {', '.join(drill.roles)}", "dim")
    yield from prose_blocks(posed.prompt)
    if trace:
        yield Drawing("\n".join(trace))
    for ask in posed.asks:
        yield from _asked(ask)
    if answer:
        yield from _answered(posed)


def _asked(ask: Ask) -> Iterator[Block]:
    if ask.text and ask.kind != "self":
        yield Text(ask.text)
    if ask.choices:
        yield Bullets(tuple(f"{letter}. {choice}" for letter, choice in zip(LETTERS, ask.choices, strict=False)))


def _answered(posed: Posed) -> Iterator[Block]:
    drill = posed.drill
    if posed.hints:
        yield Heading("Hints")
        yield Bullets(posed.hints)
    yield Heading("Answer")
    picked = {ask.id for ask in posed.asks if ask.kind in {"pick", "picks", "order"}}
    right = tuple(f"{name}: {text}" for name, text in reference_answers(posed).items() if name in picked)
    if right:
        yield Bullets(right)
    yield from prose_blocks(posed.worked)
    if isinstance(drill, NumericDrill) and drill.mistakes:
        yield Heading("Mistakes")
        yield Bullets(tuple(f"{one.name}: {one.why}" for one in drill.mistakes))
    if isinstance(drill, ExplainDrill):
        yield Heading("Points")
        yield Bullets(tuple(f"{point.text} (weight {point.weight})" for point in drill.points))
    if isinstance(drill, StoryDrill):
        yield Heading("What each part holds")
        yield Bullets(tuple(f"{part.title}: {part.looks_for}" for part in drill.sections))
    yield Heading("Sources")
    yield Bullets(tuple(f"{source.title}: {source.url}" for source in drill.sources))
