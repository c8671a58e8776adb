"""`llmdrill metrics`: score a run against judgements, in scripts and CI."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from llmdrill.cli import options  # noqa: TC001
from llmdrill.cli.calc.command import Assertions, shown_as
from llmdrill.cli.show import emit_json, failing_assertions, leave_if_any, read_assertion
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from llmdrill.report.blocks import Blocks

MOST_K: Final = 1_000_000


def metrics(
    qrels: Annotated[
        Path, typer.Option("--qrels", metavar="FILE", help="Judgements: TREC's four columns, BEIR's three, or JSON.")
    ],
    run: Annotated[
        Path, typer.Option("--run", metavar="FILE", help="A run: TREC's six columns, BEIR's three, or JSON.")
    ],
    baseline_run: Annotated[
        Path | None,
        typer.Option("--baseline-run", metavar="FILE", help="Another run: the paired difference from it is shown."),
    ] = None,
    k: Annotated[str, typer.Option("--k", metavar="K,…", help="Cut-offs.")] = "5,10",
    ties: Annotated[
        Literal["id", "trec"],
        typer.Option("--ties", help="Order of equal scores: by id upwards, or downwards as trec_eval has it."),
    ] = "id",
    skip_no_relevant: Annotated[
        bool, typer.Option("--skip-no-relevant", help="Leave out queries with nothing relevant; else they count 0.")
    ] = False,
    per_query: Annotated[bool, typer.Option("--per-query", help="Show each query too.")] = False,
    assertions: Assertions = None,
    seed: options.Seed = 0,
    json_: options.Json = False,
    format_: options.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Score a run against judgements: recall, precision, hit, MRR, nDCG, MAP, R-precision, as trec_eval does.

    Files are TREC's, BEIR's or JSON {query: {document: number}}. Means go over all judged queries; one that the run
    lacks counts 0. With --baseline-run, --assert also knows NAME_difference, NAME_difference_low,
    NAME_difference_high and NAME_p.
    """
    shown = shown_as(format_, json=json_)
    for assertion in assertions or ():
        read_assertion(assertion, example="ndcg_at_10").limit_in("count")
    ks = _cut_offs(k)
    from llmdrill.retrieval.score_run import figures, score_json, score_run

    scored = score_run(
        qrels,
        run,
        baseline_file=baseline_run,
        ks=ks,
        ties=ties,
        skip_no_relevant=skip_no_relevant,
        seed=seed,
    )
    if shown == "json":
        emit_json(score_json(scored, per_query=per_query))
    else:
        from llmdrill.report.metrics_view import metrics_view

        _print(metrics_view(scored, per_query=per_query), markdown=shown == "markdown", plain=plain)
    leave_if_any(failing_assertions(assertions or (), {n: (one, "count") for n, one in figures(scored).items()}))


def _cut_offs(text: str) -> tuple[int, ...]:
    """Return the cut-offs of ``--k``, each once.

    >>> _cut_offs("5, 10,5")
    (5, 10)
    """
    words = [word.strip() for word in text.split(",")]
    bad = next((word for word in words if not (word.isascii() and word.isdigit() and 0 < int(word) <= MOST_K)), None)
    if bad is not None:
        raise UsageError(f"--k: '{bad[:60]}' is no cut-off; write whole numbers from 1 to {MOST_K:,}, like 5,10")
    return tuple(dict.fromkeys(map(int, words)))


def _print(blocks: Blocks, *, markdown: bool, plain: bool) -> None:
    if markdown:
        from llmdrill.report.markdown import to_markdown

        sys.stdout.write(to_markdown(blocks))
    else:
        from llmdrill.cli.gate import print_blocks

        print_blocks(blocks, plain=plain)
