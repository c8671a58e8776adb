"""`llmdrill lab speculative`: several tokens a pass of the target model."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

_MOST = 1_000_000


def speculative(
    model: ModelOption = None,
    draft_model: Annotated[
        str | None, typer.Option(help="A model of the same tokens; default: the embedded one's draft model.")
    ] = None,
    files: Annotated[int, typer.Option(min=1, max=100, help="Held-out files, each continued and written again.")] = 3,
    prompt: Annotated[int, typer.Option(min=1, max=_MOST, help="Tokens of each prompt.")] = 384,
    tokens: Annotated[int, typer.Option(min=2, max=_MOST, help="Tokens generated after the first.")] = 96,
    longest_draft: Annotated[int, typer.Option(min=1, max=31, help="The sweep goes from 1 token to so many.")] = 8,
    ngram_min: Annotated[int, typer.Option(min=1, max=64, help="Shortest n-gram that is looked up.")] = 2,
    ngram_max: Annotated[int, typer.Option(min=1, max=64, help="Longest n-gram that is looked up.")] = 3,
    draws: Annotated[int, typer.Option(min=100, max=_MOST, help="Pairs of tokens of the chi-square test.")] = 1000,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Speculative decoding with a draft model and with n-gram lookup.

    Held-out Python source is continued, and written again, with drafts of 1, 2, 3 … tokens against the fastest plain
    decoding there is; greedy output has to be the same, and what is sampled has to have the same distribution.
    """
    from llmdrill.experiments.speculative import measure_speculative
    from llmdrill.lab.speculative_run import SpeculativeOptions

    options = SpeculativeOptions(
        model=model,
        draft_model=draft_model,
        files=1 if quick else files,
        prompt_tokens=prompt,
        output_tokens=min(tokens, 32) if quick else tokens,
        longest_draft=min(longest_draft, 3) if quick else longest_draft,
        ngram=(ngram_min, ngram_max),
        draws=min(draws, 200) if quick else draws,
        repeats=1 if quick else repeats,
    )
    return measure_speculative(options, seed=seed, say=say)
