"""`llmdrill lab`: experiments on a real small model, one file each. Only the called one's file is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Experiment → what help says of it: the first sentence of its docstring, here so that help imports none of them. In
# the order that help and `lab all` go through them; each is the function of that name in the file of that name, a
# hyphen being an underscore there.
EXPERIMENTS: Final = {
    "decode": "Decode token by token: TTFT, TPOT, tokens per second, MBU and MFU.",
    "kv": "Bytes of the key-value cache, and what decoding without one costs.",
    "batching": "Throughput by batch, and continuous against static batching.",
    "paged": "A paged key-value cache: waste, sharing, copy-on-write, preemption.",
    "prefix": "Prefix caching: time to first token by share of the prompt already cached.",
    "quantize": "int8 and int4 weights: bytes, seconds, loss, and which layers hurt.",
    "speculative": "Speculative decoding with a draft model and with n-gram lookup.",
    "attention": "Attention: scaling, tiling, positions beyond training, growth.",
    "norm": "Pre-LN against Post-LN: gradients by depth in a small training.",
    "lora": "LoRA of the embedded model: ranks, memory, loss, forgetting.",
    "completion": "Code completion on held-out files, under a typing trace.",
    "moe": "A mixture-of-experts layer against its dense twins.",
    "ssm": "A state-space layer against its attention twin.",
    "dpo": "DPO, and its variant with a verifier's reward, on the embedded model.",
    "calibrate": "Profile this machine, and predict shapes that were not run.",
    "perplexity": "Perplexity and bits per byte of a text.",
    "retrieval": "One retrieval configuration or several: quality, latency, memory, cost.",
    "chunking": "Size, overlap and method of chunks against quality and cost.",
    "hybrid": "Dense, sparse and hybrid search by kind of question; fusion weights.",
    "ann": "Approximate search: recall, speed and memory against exact.",
    "rerank": "What reranking n candidates gains and costs, and when it hurts.",
    "position": "Lost in the middle: recall by the depth of what is to be found.",
    "semantic-cache": "Thresholds of a semantic cache: hits, wrong hits, money.",
    "faults": "What one planted fault does to a working pipeline.",
    "embed": "Throughput and memory of the embedder, against this machine's limit.",
    "all": "Every experiment as one report that can be resumed.",
}

# They import torch for the first text that has to be embedded, if there is one: the import alone takes a second.
TORCH_WHEN_NEEDED: Final = frozenset({"retrieval", "chunking", "hybrid"})


def build_group(arguments: Sequence[str] | None) -> typer.Typer:
    """Return the group that can run ``arguments``: the experiment they name, or help alone; None: every experiment."""
    group = typer.Typer(
        help="Experiments on a real small model on this machine: predicted beside measured.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_experiments)  # a group of one command is still a group
    called = next((argument for argument in arguments or () if not argument.startswith("-")), None)
    for name in [called] if called in EXPERIMENTS else EXPERIMENTS:
        if arguments is None or name == called:
            group.command(name)(experiment_command(name))
        else:
            group.command(name, help=EXPERIMENTS[name], short_help=EXPERIMENTS[name])(_experiments)
    return group


def experiment_command(name: str) -> Callable[..., None]:
    """Return the typer command of an experiment; ``all`` has options of its own."""
    from llmdrill.cli.lab.command import as_command

    if name == "all":
        command: Callable[..., None] = import_module("llmdrill.cli.lab.all_").all_
        return command
    function = name.replace("-", "_")
    return as_command(
        getattr(import_module(f"llmdrill.cli.lab.{function}"), function), needs_torch=name not in TORCH_WHEN_NEEDED
    )


def _experiments() -> None:
    """Take no options: each experiment has its own."""
