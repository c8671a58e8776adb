"""`llmdrill lab position`: what a model recalls by where in its context it stands, and what retrieval can do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.experiments.position_shown import (
    position_findings,
    position_meaning,
    position_notes,
    position_pictures,
    position_tables,
)
from llmdrill.experiments.result import Experiment, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.lab.position_cases import Task
    from llmdrill.lab.position_run import PositionRun

DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
FEWEST_CASES: Final = 4


@dataclass(frozen=True, slots=True)
class PositionOptions:
    """What to ask.

    Attributes:
        task: Complete ``code``, or answer from ``facts``, for which a model of one's own is needed.
        model: A folder or hub id; None for the embedded model.
        context_tokens: Lengths of the prompt; none for a quarter, a half and all of what the model has.
        cases: Definitions, each among other text.
        chunks: Retrieved and put into the longest context.
        few_chunks: The remedy of fewer.
    """

    task: Task = "code"
    model: str | None = None
    context_tokens: tuple[int, ...] = ()
    cases: int = 16
    chunks: int = 7
    few_chunks: int = 2

    def __post_init__(self) -> None:
        if self.task == "facts" and self.model is None:
            raise UsageError("the embedded model has read Python source only: answering from facts needs --model")
        if self.cases < FEWEST_CASES:
            raise UsageError(f"--cases {self.cases}: fewer than {FEWEST_CASES} give no interval")
        if not 1 <= self.few_chunks < self.chunks:
            raise UsageError(f"--few-chunks {self.few_chunks}: must be from 1 to under --chunks {self.chunks}")


@dataclass(frozen=True, slots=True)
class PositionResult:
    """The run and what it was asked."""

    options: PositionOptions
    run: PositionRun


def measure_position(
    options: PositionOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Put definitions at every depth of real text, and into retrieved chunks in every order, and ask for them.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If a context is longer than the model's or too short, or there are fewer names than cases.

    Error:
        Definitions are made up and have nothing to do with the text around them; a real helper is hinted at by much
        else. The shape belongs to the model: another one may lose something else.
    Source:
        Liu et al. 2023, arXiv:2307.03172, for the question and the U; orders: ``retrieval.reorder``.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.position_run import PositionPlan, run_positions

    started, machine = now(), this_machine()
    plan = PositionPlan(options.task, options.context_tokens, DEPTHS, options.cases, options.chunks, options.few_chunks)
    found = PositionResult(options, run_positions(plan, model=options.model, seed=seed, say=say))
    return Experiment(
        name="position",
        title="Lost in the middle: recall by the depth of what is to be found",
        inputs={
            "model": options.model or "embedded",
            "task": options.task,
            "material": found.run.material,
            "contexts_tokens": sorted({one.context_tokens for one in found.run.depths}),
            "trained_tokens": found.run.trained_tokens,
            "cases": options.cases,
            "chunks": options.chunks,
            "few_chunks": options.few_chunks,
        },
        findings=tuple(position_findings(found)),
        tables=tuple(position_tables(found)),
        pictures=tuple(position_pictures(found)),
        meaning=position_meaning(found),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=tuple(position_notes(found)),
    )
