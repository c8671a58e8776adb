"""`llmdrill lab dpo`."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.calc.options import quantity, whole
from llmdrill.cli.lab.options import ModelOption, QuickOption  # noqa: TC001
from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment  # noqa: TC001

Judge = Literal["names", "parses", "sums"]
MOST_EACH = 64
MOST_PROMPTS = 2000  # 400 already took two to four minutes, and time grows with their number


def dpo(
    model: ModelOption = None,
    verifier: Annotated[
        Judge, typer.Option(help="What is right: parses with known names, parses, or sums that hold.")
    ] = "names",
    prompts: Annotated[str, typer.Option(help="Lines to draw pairs from.")] = "80",
    held_out_prompts: Annotated[str, typer.Option(help="Held-out lines to compare policies on.")] = "64",
    each: Annotated[int, typer.Option(min=2, max=MOST_EACH, help="Completions drawn of a line.")] = 6,
    betas: Annotated[str, typer.Option(help="Of DPO, how dear it is to leave the reference: a list.")] = "0.05,0.2,0.8",
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Over the pairs.")] = 2,
    reward_steps: Annotated[int, typer.Option(min=1, max=10_000, help="Of REINFORCE on the reward.")] = 20,
    reward_beta: Annotated[float, typer.Option(min=0, max=10, help="Weight of the KL there.")] = 0.02,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1, help="Of AdamW.")] = 1e-4,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """DPO, and its variant with a verifier's reward.

    The model completes lines, a program says which are right, and the model is trained on pairs of a right and a wrong
    one; then again from the start by reinforcement on the program's reward alone. Both are judged on held-out files.
    """
    from llmdrill.experiments.dpo import measure_dpo
    from llmdrill.lab.dpo import DpoOptions

    sweep = _betas(betas)
    options = DpoOptions(
        verifier=verifier,
        prompts=_prompts("prompts", prompts, most=12 if quick else MOST_PROMPTS),
        held_out_prompts=_prompts("held-out-prompts", held_out_prompts, most=8 if quick else MOST_PROMPTS),
        each=min(each, 4) if quick else each,
        betas=sweep[:1] if quick else sweep,
        epochs=1 if quick else epochs,
        reward_steps=min(reward_steps, 2) if quick else reward_steps,
        reward_prompts=4 if quick else 6,
        reward_beta=reward_beta,
        rate=learning_rate,
        context_tokens=64,
        max_new_tokens=16,
        model=model,
    )
    return measure_dpo(options, seed=seed, say=say)


def _prompts(name: str, text: str, *, most: int) -> int:
    """Return how many prompts to draw: as many as asked for, or ``most`` in a quick run.

    Raises:
        UsageError: If it is no whole number, or more than a person would wait for.
    """
    wanted = whole(name, text)
    if wanted > MOST_PROMPTS:
        raise UsageError(
            f"--{name} is at most {MOST_PROMPTS}: every one is completed, trained on and judged; got {text}"
        )
    return min(wanted, most)


def _betas(text: str) -> tuple[float, ...]:
    """Return the betas of a list with commas, each once."""
    found = [quantity("betas", one.strip(), "count") for one in text.split(",") if one.strip()]
    if not found:
        raise UsageError("--betas is a list such as 0.05,0.2,0.8")
    return tuple(dict.fromkeys(found))
