"""`llmdrill lab lora`: low-rank adapters."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption  # noqa: TC001
from llmdrill.cli.lab.quantize import whole_numbers
from llmdrill.experiments.result import Experiment  # noqa: TC001

Rate = Annotated[float, typer.Option(min=1e-9, max=10, help="Learning rate of the adapters.")]
FullRate = Annotated[float, typer.Option(min=1e-9, max=10, help="Learning rate of full fine-tuning.")]


def lora(
    model: ModelOption = None,
    ranks: Annotated[str, typer.Option(help="Of the adapters; each is trained.")] = "2,8,32",
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of each training.")] = 30,
    batch_windows: Annotated[int, typer.Option(min=1, max=1000, help="Windows of a step.")] = 4,
    window_tokens: Annotated[int, typer.Option(min=16, max=100_000, help="Length of a window.")] = 256,
    test_windows: Annotated[int, typer.Option(min=2, max=10_000, help="To judge on.")] = 12,
    prompt_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Of examples, where none is trained.")] = 512,
    rate: Rate = 5e-3,
    full_rate: FullRate = 1e-3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """LoRA of the embedded model: ranks, memory, loss, forgetting."""
    from llmdrill.experiments.lora import measure_lora
    from llmdrill.lab.lora_run import LoraConfig

    sizes = whole_numbers("ranks", ranks)
    config = LoraConfig(
        model=model,
        ranks=sizes[:1] if quick else sizes,
        steps=min(steps, 3) if quick else steps,
        batch_windows=min(batch_windows, 1) if quick else batch_windows,
        window_tokens=min(window_tokens, 64) if quick else window_tokens,
        test_windows=min(test_windows, 2) if quick else test_windows,
        prompt_tokens=min(prompt_tokens, 64) if quick else prompt_tokens,
        rate=rate,
        full_rate=full_rate,
    )
    return measure_lora(config, seed=seed, say=say)
