"""`llmdrill lab embed`: what an embedder does a second, and what it holds, beside its own matrix products."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.experiments.embed_shown import embed_findings, embed_meaning, embed_notes, embed_picture, embed_tables
from llmdrill.experiments.result import Experiment, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmdrill.lab.embed_engine import EngineName, Precision

LENGTHS: Final = (8, 16, 32, 64, 128)  # and as many tokens as the model sees
BATCHES: Final = (64, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """What to embed, and how.

    Attributes:
        passages: Texts as long as the model sees; every reading has about as many tokens as these.
        engine: That the sweeps run in; the others are set beside it at the longest texts.
        memory_of_all: Measure the memory of every engine, not of this one alone.
    """

    passages: int = 12
    engine: EngineName = "auto"
    precision: Precision = "auto"
    repeats: int = 3
    memory_of_all: bool = True

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise UsageError(f"{self.passages} passages: embed at least one")


def measure_embed(
    options: EmbedOptions,
    *,
    embedder: Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Embed the same text by every engine, and by length, batch and order, beside the matrix products alone.

    Args:
        options: What to embed, and how.
        embedder: Folder of a BERT encoder; None for the installed one.
        seed: Draws the lengths of texts of all lengths.
        say: Told how far it is.
        now: The clock.

    Raises:
        MissingExtraError: If the extra ``lab`` is not installed.
        ModelFileError: If the embedder's files cannot be used.
        UsageError: If the engine or the precision cannot be had, or there is too little text.

    Error:
        The limit is measured by the engine's own products at 256 tokens, so it says how much the rest of the pass
        costs, not how good the products are. Rates include tokenising.
    Source:
        Measured here. FLOPs: see ``estimate.flops.attention_flops``, and 2 per parameter of a matrix and token.
    """
    from llmdrill.lab.embed import load_minilm
    from llmdrill.lab.embed_run import EmbedPlan, run_embedder
    from llmdrill.lab.machine import this_machine

    started, folder = now(), None if embedder is None else embedder.expanduser()
    model = load_minilm(folder, precision=options.precision, engine=options.engine)
    plan = EmbedPlan(options.passages * model.max_tokens, LENGTHS, BATCHES, options.repeats, options.memory_of_all)
    run = run_embedder(model, plan, folder=folder, seed=seed, say=say)
    machine = this_machine()
    return Experiment(
        name="embed",
        title="Texts a second of the embedder, and the memory it holds, against its own matrix products",
        inputs={
            "embedder": model.name,
            "engine": model.engine.name,
            "precision": model.precision,
            "passages": options.passages,
            "passage_tokens": model.max_tokens,
        },
        findings=embed_findings(run),
        tables=embed_tables(run),
        pictures=(embed_picture(run),),
        meaning=embed_meaning(run),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=embed_notes(run),
    )
