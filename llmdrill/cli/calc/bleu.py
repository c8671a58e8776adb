"""`llmdrill calc bleu`: BLEU, with its signature."""

from __future__ import annotations

from typing import Annotated

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
from llmdrill.estimate.text_overlap import BleuTokens  # noqa: TC001 - typer resolves annotations
from llmdrill.table import Table


def bleu(
    *,
    file: Candidates = None,
    reference: References = None,
    text: Text = None,
    against: Against = None,
    tokenize: Annotated[BleuTokens, typer.Option(help="sacrebleu's tokenizer.")] = "13a",
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Compare without case.")] = False,
    sentences: Sentences = False,
) -> Answer:
    """BLEU of texts against their references."""
    from llmdrill.estimate.text_overlap import bleu as corpus_bleu
    from llmdrill.estimate.text_overlap import explain_bleu

    segments = read_segments(file, reference, text=text, against=against)
    found = corpus_bleu(segments.candidates, segments.references, tokens=tokenize, lowercase=lowercase)
    n = len(segments.candidates)
    precisions = "/".join(f"{100 * one:.1f}" for one in found.precisions)
    rows = tuple((line, score) for line, score in enumerate(found.sentences, start=1))
    table = Table("sentence bleu", ("line", "bleu"), rows[:MOST_SHOWN])
    return Answer(
        calculator="bleu",
        lines=(
            f"BLEU: {found.score:.2f} over {n:,} segment{'s' * (n != 1)}",
            f"1- to 4-gram precisions {precisions} %, brevity penalty {found.brevity_penalty:.3f}",
            f"signature: {found.signature}",
        ),
        figures=explain_bleu(found),
        inputs={
            "segments": n,
            "references": len(segments.references),
            "candidate_tokens": found.candidate_tokens,
            "reference_tokens": found.reference_tokens,
            "signature": found.signature,
        },
        notes=_notes(n, shown=sentences),
        tables=(table,) if sentences else (),
    )


def _notes(segments: int, *, shown: bool) -> tuple[str, ...]:
    few = () if segments > 1 else ("BLEU is made for a corpus: on one sentence, n-grams that are absent are smoothed",)
    cut = (f"the first {MOST_SHOWN} of {segments:,} segments are shown",) if shown and segments > MOST_SHOWN else ()
    return few + cut
