"""What BLEU and ROUGE compare: candidates and references, from files of one segment a line or from the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from llmdrill.cli.calc.files import name_of, text_of
from llmdrill.errors import ContentError, Mistake, UsageError

MOST_SEGMENTS: Final = 100_000
MOST_SHOWN: Final = 50

Candidates = Annotated[str | None, typer.Argument(help="File of candidates, one segment a line; - for standard input.")]
References = Annotated[
    list[str] | None, typer.Option("--reference", help="File of references, line for line; may be repeated.")
]
Text = Annotated[str | None, typer.Option("--text", help="One candidate itself, in place of a file.")]
Against = Annotated[list[str] | None, typer.Option("--against", help="Its reference; may be repeated.")]
Sentences = Annotated[bool, typer.Option("--sentences", help="Show the score of each segment too.")]


@dataclass(frozen=True, slots=True)
class Segments:
    """Candidates and, for each set of references, as many references."""

    candidates: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]


def read_segments(
    file: str | None, reference: list[str] | None, *, text: str | None, against: list[str] | None
) -> Segments:
    """Return what the options name.

    Raises:
        UsageError: If they name none, or both files and texts.
        ContentError: If a file cannot be read, is empty, or has another number of lines than the candidates.
    """
    files, texts = file is not None and bool(reference), text is not None and bool(against)
    if files == texts or (files and (text is not None or against)) or (texts and (file is not None or reference)):
        raise UsageError("give a FILE of candidates with --reference FILE, or --text TEXT with --against TEXT")
    if texts:
        return Segments((str(text),), tuple((one,) for one in against or ()))
    if [file, *(reference or ())].count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    candidates = _lines(str(file))
    sets = []
    for one in reference or ():
        lines = _lines(one)
        if len(lines) != len(candidates):
            what = f"has {len(lines):,} lines, the candidates {len(candidates):,}: one reference for each, line by line"
            raise ContentError([Mistake(name_of(one), len(lines), 1, "", what)])
        sets.append(lines)
    return Segments(candidates, tuple(sets))


def _lines(file: str) -> tuple[str, ...]:
    lines = tuple(text_of(file).removesuffix("\n").replace("\r\n", "\n").split("\n"))
    if not any(line.strip() for line in lines):
        raise ContentError([Mistake(name_of(file), 1, 1, "", "holds no text")])
    if len(lines) > MOST_SEGMENTS:
        raise ContentError([Mistake(name_of(file), MOST_SEGMENTS, 1, "", f"has over {MOST_SEGMENTS:,} lines")])
    return lines
