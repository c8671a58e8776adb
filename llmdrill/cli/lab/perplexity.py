"""`llmdrill lab perplexity`: how well a model predicts a text."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption  # noqa: TC001
from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment  # noqa: TC001

if TYPE_CHECKING:
    from llmdrill.lab.perplexity_run import Passage


def perplexity(
    text: Annotated[
        str | None, typer.Option(metavar="FILE", help="A text, - for standard input; default: held-out Python modules.")
    ] = None,
    model: ModelOption = None,
    context: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a window; default 1024, or what the model has.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Tokens from one window to the next; default half a window.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All held-out modules, about a minute, not a sample of them.")
    ] = False,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Perplexity and bits per byte of a text."""
    from llmdrill.experiments.perplexity import measure_perplexity

    if everything and (text is not None or quick):
        raise UsageError("--all means all held-out modules: leave out --text and --quick")
    return measure_perplexity(
        None if text is None else _passage(text),
        model=model,
        context_tokens=context,
        stride_tokens=stride,
        most_bytes=None if everything else _sample_bytes(quick=quick),
        seed=seed,
        say=say,
    )


def _sample_bytes(*, quick: bool) -> int:
    from llmdrill.lab.perplexity_run import QUICK_SAMPLE_BYTES, SAMPLE_BYTES

    return QUICK_SAMPLE_BYTES if quick else SAMPLE_BYTES


def _passage(file: str) -> Passage:
    """Return the text of a file.

    Raises:
        ContentError: If it cannot be read or is not UTF-8.
        UsageError: If it is empty or not text.
    """
    from llmdrill.cli.calc.files import name_of, text_of
    from llmdrill.lab.perplexity_run import Passage

    text, name = text_of(file), name_of(file)
    if not text:
        raise UsageError(f"{name}: is empty: there is nothing to predict")
    if "\0" in text:
        raise UsageError(f"{name}: is not text (it holds a zero byte)")
    return Passage(name, text)
