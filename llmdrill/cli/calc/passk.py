"""`llmdrill calc passk`: unbiased pass@k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import whole
from llmdrill.errors import ContentError, Mistake, UsageError
from llmdrill.units import format_share

if TYPE_CHECKING:
    from llmdrill.estimate.pass_at_k import Problem

MAX_SAMPLES: Final = 100_000  # of one problem; the product has as many factors as samples pass
FEW_PROBLEMS: Final = 300
_ENDS: Final = ("low", "high")


def passk(
    *,
    file: Annotated[
        str | None,
        typer.Argument(help="CSV or JSON lines with n and c of each problem, or one line per sample; - for stdin."),
    ] = None,
    n: Annotated[str | None, typer.Option("--n", help="Samples generated for one problem.")] = None,
    c: Annotated[str | None, typer.Option("--c", help="Of them, those that pass.")] = None,
    k: Annotated[list[str] | None, typer.Option("--k", help="Samples drawn; may be repeated; default 1.")] = None,
) -> Answer:
    """Unbiased pass@k of generated code."""
    from llmdrill.estimate.pass_at_k import explain_interval, explain_pass_at_k

    problems = _problems(file, n, c)
    ks = tuple(dict.fromkeys(whole("k", one) for one in k or ["1"]))
    pairs = [explain_pass_at_k(problems, k=one) for one in ks]
    intervals = [explain_interval(problems, k=one) for one in ks]
    unknown = [f"pass_at_{one}_{end}" for one, found in zip(ks, intervals, strict=True) if not found for end in _ENDS]
    lines = []
    for one, (unbiased, biased), ends in zip(ks, pairs, intervals, strict=True):
        between = f", 95 % interval {format_share(ends[0].value)} to {format_share(ends[1].value)}" if ends else ""
        lines.append(f"pass@{one}: {format_share(unbiased.value)}{between}")
        if one > 1:
            lines.append(f"  the biased 1 - (1 - c / n)^{one} would say {format_share(biased.value)}")
    return Answer(
        calculator="passk",
        lines=tuple(lines),
        figures=tuple(one for pair, ends in zip(pairs, intervals, strict=True) for one in (*pair, *ends)),
        inputs={
            "problems": len(problems),
            "samples": sum(one.samples for one in problems),
            "correct": sum(one.correct for one in problems),
            "k": ks,
        },
        notes=_notes(len(problems)),
        unknown=tuple(unknown),
    )


def _notes(problems: int) -> tuple[str, ...]:
    if problems == 1:
        return ("one problem says nothing about others: an interval needs a file of several",)
    few = f"the interval is the normal approximation: with {problems} problems it is a rough guide, likely too narrow"
    return (few,) if problems < FEW_PROBLEMS else ()


def _problems(file: str | None, n: str | None, c: str | None) -> tuple[Problem, ...]:
    """Return the problems that the options or the file describe."""
    from llmdrill.estimate.pass_at_k import Problem

    if file is None:
        if n is None or c is None:
            raise UsageError("give --n and --c of one problem, or a FILE with n and c of each")
        problem = Problem(whole("n", n), whole("c", c, zero=True))
        if problem.samples > MAX_SAMPLES:
            raise UsageError(f"--n {n} is too large to be meant; at most {MAX_SAMPLES:,}")
        return (problem,)
    if n is not None or c is not None:
        raise UsageError("give --n and --c, or a FILE, not both")
    from llmdrill.cli.calc.files import name_of, text_of

    text, name = text_of(file), name_of(file)
    problems = _json_lines(text, name) if text.lstrip().startswith("{") else _csv(text, name)
    if not problems:
        raise ContentError([Mistake(name, 1, 1, "", "holds no problem")])
    return problems


def _csv(text: str, name: str) -> tuple[Problem, ...]:
    import csv

    reader = csv.DictReader(text.splitlines())
    try:
        missing = [column for column in ("n", "c") if column not in (reader.fieldnames or ())]
        if missing:
            what = f"no column '{missing[0]}'; the first line must name the columns n and c"
            raise ContentError([Mistake(name, 1, 1, "", what)])
        return tuple(_problem(row["n"], row["c"], name, reader.line_num) for row in reader)
    except csv.Error as error:
        raise ContentError([Mistake(name, reader.line_num, 1, "", f"is not CSV: {error}")]) from error


def _json_lines(text: str, name: str) -> tuple[Problem, ...]:
    """Return the problems of lines with n and c, or of lines of single samples with task_id and passed."""
    from llmdrill.cli.calc.files import json_value
    from llmdrill.estimate.pass_at_k import Problem

    problems: list[Problem] = []
    tasks: dict[str, list[bool]] = {}
    for line, raw in enumerate(text.splitlines(), start=1):
        row = json_value(raw, name, line=line) if raw.strip() else None
        if isinstance(row, dict) and isinstance(row.get("passed"), bool) and "task_id" in row:
            tasks.setdefault(str(row["task_id"]), []).append(row["passed"])
        elif isinstance(row, dict) and "n" in row and "c" in row:
            problems.append(_problem(row["n"], row["c"], name, line))
        elif raw.strip():
            what = "is neither an object with n and c nor one with task_id and passed (true or false)"
            raise ContentError([Mistake(name, line, 1, "", what)])
    if problems and tasks:
        raise ContentError([Mistake(name, 1, 1, "", "mixes lines of problems (n, c) and of samples (task_id, passed)")])
    return tuple(problems) + tuple(Problem(len(passed), sum(passed)) for passed in tasks.values())


def _problem(n: Any, c: Any, name: str, line: int) -> Problem:  # noqa: ANN401 - a cell of any file
    from llmdrill.estimate.pass_at_k import Problem

    samples, correct = _count(n), _count(c)
    if samples is None or correct is None or not 1 <= samples <= MAX_SAMPLES or not 0 <= correct <= samples:
        what = f"n must be a whole number of 1 to {MAX_SAMPLES:,} and c one of 0 to n, got {n!r:.40} and {c!r:.40}"
        raise ContentError([Mistake(name, line, 1, "", what)])
    return Problem(samples, correct)


def _count(cell: Any) -> int | None:  # noqa: ANN401 - a cell of any file
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    text = cell.strip() if isinstance(cell, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
