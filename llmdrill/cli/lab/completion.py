"""`llmdrill lab completion`."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.calc.options import quantity, whole
from llmdrill.cli.lab.options import ModelOption, QuickOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001
from llmdrill.units import MS_PER_S

Lines = Annotated[str, typer.Option(help="Lines to complete, drawn from the held-out files.")]
Context = Annotated[str, typer.Option(help="Tokens of a prompt, at most.")]
Most = Annotated[str, typer.Option(help="Tokens of a completion, at most.")]
Keys = Annotated[str, typer.Option(help="Length of the typing trace.")]
Interval = Annotated[str, typer.Option(help="Median time between two keystrokes.")]
Sigma = Annotated[float, typer.Option(min=0, max=5, help="Spread of its logarithm; 0 types like a metronome.")]
Debounce = Annotated[str, typer.Option(help="A request is sent after so long without a keystroke.")]


def completion(
    model: ModelOption = None,
    lines: Lines = "120",
    context_tokens: Context = "512",
    max_new_tokens: Most = "24",
    keystrokes: Keys = "100",
    interval: Interval = "100ms",
    interval_sigma: Sigma = 2.5,
    debounce: Debounce = "100ms",
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Code completion on held-out files, under a typing trace.

    Real lines are cut where somebody might pause and completed to their end; then the engine answers a typing trace,
    and each request is left where the next keystroke finds it.
    """
    from llmdrill.experiments.completion import measure_completion_lab
    from llmdrill.lab.completion import Lengths
    from llmdrill.lab.completion_run import CompletionOptions
    from llmdrill.lab.typing_trace import TypingTrace

    trace = TypingTrace(
        keystrokes=_at_most(12 if quick else None, whole("keystrokes", keystrokes)),
        interval_p50_ms=MS_PER_S * quantity("interval", interval, "seconds"),
        interval_sigma=interval_sigma,
        debounce_ms=MS_PER_S * quantity("debounce", debounce, "seconds", zero=True),
    )
    options = CompletionOptions(
        model=model,
        cases=_at_most(10 if quick else None, whole("lines", lines)),
        lengths=Lengths(
            _at_most(128 if quick else None, whole("context-tokens", context_tokens)),
            whole("max-new-tokens", max_new_tokens),
        ),
        cached_keystrokes=5 if quick else 15,
        typing=trace,
    )
    return measure_completion_lab(options, seed=seed, say=say)


def _at_most(most: int | None, wanted: int) -> int:
    return wanted if most is None else min(most, wanted)
