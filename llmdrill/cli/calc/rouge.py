"""`llmdrill calc rouge`: ROUGE-1, ROUGE-2 and ROUGE-L, with how they were computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.segments import (
    MOST_SHOWN,
    Against,
    Candidates,
    References,
    Sentences,
    Text,
    read_segments,
)
from llmdrill.errors import UsageError
from llmdrill.estimate.text_overlap import RougeTokens  # noqa: TC001 - typer resolves annotations
from llmdrill.table import Table
from llmdrill.units import format_share

if TYPE_CHECKING:
    from llmdrill.estimate.text_overlap import Rouge


def rouge(
    *,
    file: Candidates = None,
    reference: References = None,
    text: Text = None,
    against: Against = None,
    tokenize: Annotated[
        RougeTokens, typer.Option(help="latin: a–z and digits, as ROUGE-1.5.5; spaces: any script, split at spaces.")
    ] = "latin",
    stem: Annotated[bool, typer.Option("--stem", help="Compare Porter stems.")] = False,
    sentences: Sentences = False,
) -> Answer:
    """ROUGE of texts against their references."""
    from llmdrill.estimate.text_overlap import explain_rouge
    from llmdrill.estimate.text_overlap import rouge as mean_rouge

    if stem and tokenize != "latin":
        raise UsageError("--stem knows English words only: leave --tokenize at latin")
    segments = read_segments(file, reference, text=text, against=against)
    found = mean_rouge(segments.candidates, segments.references, tokens=tokenize, stem=stem)
    n = len(segments.candidates)
    return Answer(
        calculator="rouge",
        lines=(
            *(
                f"{kind.upper().replace('_', '-')}: F1 {format_share(one.f1)}"
                f" (precision {format_share(one.precision)}, recall {format_share(one.recall)})"
                for kind, one in found.means.items()
            ),
            f"signature: {found.signature}",
        ),
        figures=explain_rouge(found),
        inputs={"segments": n, "references": len(segments.references), "signature": found.signature},
        notes=_notes(found, n, shown=sentences),
        tables=(_table(found),) if sentences else (),
    )


def _table(found: Rouge) -> Table:
    rows = tuple((line, *(one.f1 for one in each.values())) for line, each in enumerate(found.sentences, start=1))
    return Table("sentence rouge", ("line", *(f"{kind}_f1" for kind in found.means)), rows[:MOST_SHOWN])


def _notes(found: Rouge, segments: int, *, shown: bool) -> tuple[str, ...]:
    none = f"{found.untokenized:,} of {segments:,} segments have no token that this tokenizer sees, and score 0"
    cut = (f"the first {MOST_SHOWN} of {segments:,} segments are shown",) if shown and segments > MOST_SHOWN else ()
    return ((none,) if found.untokenized else ()) + cut
