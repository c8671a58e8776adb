"""`llmdrill lab quantize`: weights in few bits."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Final

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption  # noqa: TC001
from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment  # noqa: TC001

LARGEST: Final = 1 << 20


def quantize(
    model: ModelOption = None,
    windows: Annotated[int, typer.Option(min=2, max=10_000, help="Of held-out text, to judge on.")] = 16,
    window_tokens: Annotated[int, typer.Option(min=16, max=100_000, help="Length of a window.")] = 512,
    calibration_windows: Annotated[int, typer.Option(min=1, max=10_000, help="Of other text, for GPTQ.")] = 8,
    groups: Annotated[str, typer.Option(help="Columns that share a scale in int4: sizes to try.")] = "32,64,128",
    decode_tokens: Annotated[int, typer.Option(min=1, max=10_000, help="Of each timed run.")] = 32,
    repeats: RepeatsOption = 5,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """int8 and int4 weights: bytes, seconds, loss, and which layers hurt."""
    from llmdrill.experiments.quantize import measure_quantize
    from llmdrill.lab.quantize_run import QuantizeConfig

    sizes = whole_numbers("groups", groups, least=2)
    config = QuantizeConfig(
        model=model,
        windows=min(windows, 2) if quick else windows,
        sweep_windows=1 if quick else 4,
        calibration_windows=min(calibration_windows, 2) if quick else calibration_windows,
        window_tokens=min(window_tokens, 128) if quick else window_tokens,
        groups=sizes[-1:] if quick else sizes,
        decode_tokens=min(decode_tokens, 4) if quick else decode_tokens,
        repeats=min(repeats, 2) if quick else repeats,
    )
    return measure_quantize(config, seed=seed, say=say)


def whole_numbers(name: str, text: str, *, least: int = 1) -> tuple[int, ...]:
    """Return the whole numbers of a list such as ``32,128``, each once, in order.

    Raises:
        UsageError: If it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and least <= int(part) <= LARGEST for part in parts):
        raise UsageError(f"--{name} {text}: whole numbers from {least}, with commas between, such as 32,128")
    return tuple(sorted({int(part) for part in parts}))
