"""A check of design files: for the terminal, and for a pull-request comment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Grid, Heading, Text
from llmdrill.report.estimate_views import TONES, figure_texts, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.system.check import Result, Verdict
    from llmdrill.system.gate import FileCheck, GateCheck

COLUMNS: Final = ("requirement", "result", ">limit", ">estimated", ">measured")
ORDER: Final[tuple[Result, ...]] = ("fail", "unknown", "pass")


def gate_view(gate: GateCheck) -> Blocks:
    """Show each file's rows, the reasons that a figure alone does not tell, and what it all amounts to."""
    blocks: list[Block] = []
    for one in gate.files:
        blocks += [_table(one, title=one_line(one.file)), *_reasons(one.verdicts)] if one.verdicts else []
        blocks += _notes(one)
    return (*blocks, *_left_out(gate), *_unread(gate), Text(headline(gate), "good" if gate.passed else "bad"))


def headline(gate: GateCheck) -> str:
    """Return the whole check in a line.

    >>> from llmdrill.system.gate import FileCheck, GateCheck
    >>> headline(GateCheck((FileCheck("a.yaml"),), seed=0, draws=100))
    'PASS: nothing was asked'
    """
    counts = {result: gate.count(result) for result in ORDER}
    said = [f"{count} {result}" for result, count in counts.items() if count]
    unread = sum(bool(one.mistakes) for one in gate.files)
    said += [f"{unread} {'file' if unread == 1 else 'files'} could not be judged"] if unread else []
    return f"{'PASS' if gate.passed else 'FAIL'}: {', '.join(said) or 'nothing was asked'}"


def _table(one: FileCheck, *, title: str) -> Grid:
    measured = any(verdict.measured is not None for verdict in one.verdicts)
    columns = COLUMNS if measured else COLUMNS[:-1]
    rows = [_row(verdict)[: len(columns)] for verdict in one.verdicts]
    return Grid(columns, tuple(rows), title, "", tuple(TONES[verdict.result] for verdict in one.verdicts))


def _row(verdict: Verdict) -> tuple[str, ...]:
    return (verdict.requirement, verdict.result.upper(), *figure_texts(verdict))


def _reasons(verdicts: Sequence[Verdict]) -> tuple[Block, ...]:
    """Return why each row does not pass, and what a passing one rests on; what several rows share is said once."""
    shared: dict[str, list[str]] = {}
    for verdict in verdicts:
        why = verdict.why if verdict.result != "pass" else verdict.why.partition("; ")[2]
        if why:
            shared.setdefault(why, []).append(verdict.requirement)
    return (Bullets(tuple(f"{', '.join(names)}: {why}" for why, names in shared.items())),) if shared else ()


def _notes(one: FileCheck) -> tuple[Block, ...]:
    return (Bullets(one.notes, "warn"),) if one.notes else ()


def _left_out(gate: GateCheck) -> tuple[Block, ...]:
    """Return what was not judged; whose it is only where the files differ in it."""
    files: dict[tuple[str, ...], list[str]] = {}
    for one in gate.files:
        if one.left_out:
            files.setdefault(one.left_out, []).append(one_line(one.file))
    said = [f"{', '.join(left)}{f' ({_listed(of)})' if len(files) > 1 else ''}" for left, of in files.items()]
    return (Text(f"Left out (--estimated-only): {'; '.join(said)}", "dim"),) if said else ()


def _listed(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _unread(gate: GateCheck) -> tuple[Block, ...]:
    files = [one_line(one.file) for one in gate.files if one.mistakes]
    return (Text(f"Could not be judged: {', '.join(files)}", "bad"),) if files else ()


# --- Markdown -----------------------------------------------------------------------------------------------------


def gate_markdown(gate: GateCheck) -> str:
    """Return the check as a pull-request comment: headline, what does not pass, and each file folded away."""
    from llmdrill.report.markdown import to_markdown

    parts = [to_markdown([Heading(f"llmdrill check: {headline(gate)}", 3)])]
    several = len(gate.files) > 1
    if several:
        parts.append(to_markdown([_overview(gate)]))
    parts += [_file_markdown(one, open_=not several) for one in gate.files]
    parts += [to_markdown(block for block in _left_out(gate))] if _left_out(gate) else []
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _overview(gate: GateCheck) -> Grid:
    rows = []
    for one in gate.files:
        broken = [verdict.requirement for verdict in one.verdicts if verdict.result != "pass"]
        rows.append((one.outcome.upper(), one_line(one.file), ", ".join(broken)))
    return Grid(("result", "design", "does not pass"), tuple(rows))


def _file_markdown(one: FileCheck, *, open_: bool) -> str:
    from llmdrill.report.markdown import details, to_markdown

    if one.mistakes:
        places = tuple(one_line(mistake) for mistake in one.mistakes)
        return to_markdown([Text(f"{one_line(one.file)} could not be judged:"), Bullets(places)])
    if not one.verdicts:
        return to_markdown([Text(f"{one_line(one.file)}: nothing was asked of it.")])
    table = to_markdown([_table(one, title=one_line(one.file) if open_ else "")])
    why = to_markdown([Bullets(tuple(f"{verdict.requirement}: {verdict.why}" for verdict in _by_result(one.verdicts)))])
    table += f"\n{to_markdown(_notes(one))}" if one.notes else ""
    if open_:
        return f"{table}\n{details('Why', why)}"
    return details(f"{one.outcome.upper()}: {one_line(one.file)}", f"{table}\n{why}")


def _by_result(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: ORDER.index(verdict.result))
