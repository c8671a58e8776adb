"""`llmdrill calc`: the closed forms as commands, one file each. Only the called one's file is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

# Calculator → what help says of it: the first sentence of its docstring, here so that help imports none of them. In
# the order that help shows; each is the function of that name in the file of that name.
CALCULATORS: Final = {
    "kv": "Size of the key-value cache.",
    "memory": "Memory of a model: weights, cache, state, activations.",
    "flops": "FLOPs of prefill and decode, intensity, ridge, MFU and MBU.",
    "latency": "Time to first token and per token of a self-hosted model.",
    "cost": "Price of API requests.",
    "selfhost": "Cost on rented accelerators, and the break-even against an API.",
    "tokens": "Count the tokens of a text.",
    "train": "Compute, memory, time and cost of training a model.",
    "speculative": "Accepted tokens and speed-up of speculative decoding.",
    "batching": "What continuous batching gains over static batching.",
    "cache": "What a cache saves, and the price of wrong hits.",
    "index": "Memory, build time and query work of a vector index.",
    "agent": "Cost, latency and odds of an agent's loop, or of a plan.",
    "moderate": "Cost, latency, human load and mistakes of a tiered pipeline.",
    "voice": "Mouth-to-ear latency budget of a voice agent.",
    "abtest": "Sample size and power of an A/B test, and the price of peeking.",
    "agree": "Agreement of raters: raw, Cohen's kappa, Fleiss' kappa, Krippendorff's alpha.",
    "passk": "Unbiased pass@k of generated code.",
    "perplexity": "Perplexity from log-probabilities.",
    "bleu": "BLEU of texts against their references.",
    "rouge": "ROUGE of texts against their references.",
    "attention": "Attention worked by hand: scores, scaling, softmax, output, growth.",
}


def build_group(arguments: Sequence[str] | None) -> typer.Typer:
    """Return the group that can run ``arguments``: the calculator they name, or help alone; None: every calculator."""
    group = typer.Typer(
        help="Calculators: each shows its formula with --explain and can gate a script with --assert.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_calculators)  # a group of one command is still a group
    called = next((argument for argument in arguments or () if not argument.startswith("-")), None)
    for name in [called] if called in CALCULATORS else CALCULATORS:
        if arguments is None or name == called:
            from llmdrill.cli.calc.command import as_command

            module = import_module(f"llmdrill.cli.calc.{name}")
            group.command(name)(as_command(getattr(module, name)))
        else:
            group.command(name, help=CALCULATORS[name], short_help=CALCULATORS[name])(_calculators)
    return group


def _calculators() -> None:
    """Take no options: each calculator has its own."""
