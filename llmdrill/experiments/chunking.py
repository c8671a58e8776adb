"""`llmdrill lab chunking`: size × overlap × method of chunks, with k chunks and at equal tokens sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.catalog.load import find_price
from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.estimate.cost import explain_api_cost
from llmdrill.experiments.chunking_run import METHODS, Chunking, Sending, measure_grid
from llmdrill.experiments.chunking_shown import findings, meaning, pictures, tables
from llmdrill.experiments.result import Experiment, Protocol
from llmdrill.retrieval.compare import difference_interval, mean_interval, permutation_p

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.catalog.records import Price
    from llmdrill.estimate.explain import Explained
    from llmdrill.experiments.chunking_run import Cell, Grid
    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.compare import Interval
    from llmdrill.retrieval.index import Retriever

SIZES: Final = (256, 128, 512)
OVERLAP_SHARES: Final = (0.0, 0.125)
QUICK_METHODS: Final = ("fixed", "structural", "small-to-big")
QUICK_SIZES: Final = (256, 128)
DEFAULT_LLM: Final = "gpt-4o-mini"
QUESTIONS: Final = 1000  # that a cost is of
MOST_DESIGNS: Final = 500


@dataclass(frozen=True, slots=True)
class ChunkingOptions:
    """What to run; the first of each is what the others are compared with.

    Attributes:
        methods: Names of ``METHODS``.
        sizes: Budgets of a chunk, in the embedder's tokens.
        overlap_shares: Of a chunk, that the next may repeat.
        budget_tokens: Of the context when all designs send the same.
        llm: A priced model that reads the context.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    sizes: tuple[int, ...] = SIZES
    overlap_shares: tuple[float, ...] = OVERLAP_SHARES
    retriever: Retriever = "hybrid"
    k: int = 5
    budget_tokens: int = 1280
    stem: bool = False
    llm: str = DEFAULT_LLM

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise UnknownNameError("method", method, METHODS)
        if not all(0 <= share < 1 for share in self.overlap_shares):
            raise UsageError("--overlap-share: give shares from 0 up to, but not including, 1")
        if len(self.grid) > MOST_DESIGNS:
            raise UsageError(f"the grid has {len(self.grid):,} designs: give fewer methods, sizes or overlaps")

    @property
    def grid(self) -> tuple[Chunking, ...]:
        """Return every design once."""
        designs = [
            Chunking(method, size, share)
            for method in self.methods
            for size in self.sizes
            for share in self.overlap_shares
        ]
        return tuple(dict.fromkeys(designs))


@dataclass(frozen=True)
class Measured:
    """All that was seen.

    Attributes:
        dev: Of the answerable questions, those that a design may be chosen by, (n,) bool.
        test: Those that it is judged by: the others, or the same where the corpus has no two parts.
    """

    options: ChunkingOptions
    grid: Grid
    dev: np.ndarray
    test: np.ndarray
    price: Price
    seed: int

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every design measured, in the order of the grid."""
        return self.grid.cells

    @property
    def split(self) -> bool:
        """Whether designs are chosen and judged by different questions."""
        return not bool((self.dev & self.test).any())

    @property
    def first(self) -> Cell:
        """The design that the others are compared with."""
        return self.cells[0]

    @cached_property
    def chosen(self) -> Cell:
        """The best at equal tokens on the dev questions; of equals, the first."""
        return max(self.cells, key=lambda cell: float(cell.at_budget.recall[self.dev].mean()))

    def mean(self, values: np.ndarray) -> Interval:
        """Return the mean over the test questions."""
        return mean_interval(values[self.test].tolist(), rng=np.random.default_rng(self.seed))

    def difference(self, values: np.ndarray, others: np.ndarray) -> Interval:
        """Return the paired difference over the test questions."""
        rng = np.random.default_rng(self.seed)
        return difference_interval(values[self.test].tolist(), others[self.test].tolist(), rng=rng)

    def p_value(self, values: np.ndarray, others: np.ndarray) -> float:
        """Return how often a difference as large comes by chance."""
        rng = np.random.default_rng(self.seed)
        return permutation_p(values[self.test].tolist(), others[self.test].tolist(), rng=rng)

    def cost(self, tokens: float) -> Explained:
        """Return what the contexts of 1,000 questions cost to read."""
        return explain_api_cost(self.price, requests=QUESTIONS, input_tokens=tokens)


def measure_chunking(
    bench: Bench,
    options: ChunkingOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Search the corpus under every design, send k chunks, then as many as the same budget of tokens holds.

    Raises:
        MissingExtraError: If a design needs an embedder and there is none.
        UnknownNameError: If the model has no price.
        UsageError: If the corpus has no labelled question.

    Error:
        Tokens are the embedder's: an LLM's tokenizer counts others. Of the prompt only the context is counted, which is
        all that chunking changes. With many designs a few differ from the first by chance alone; therefore one is
        chosen on dev and judged on test.
    """
    started = now()
    bench.need_questions()
    price = find_price(options.llm)
    sending = Sending(options.retriever, options.k, options.budget_tokens, options.stem)
    grid = measure_grid(bench, options.grid, sending, say=say)
    seen = Measured(options, grid, *_parts(bench), price, seed)
    return Experiment(
        name="chunking",
        title="Chunking: size, overlap and method against recall, tokens and cost",
        inputs=_inputs(bench, seen),
        findings=tuple(findings(seen)),
        tables=tables(seen),
        pictures=pictures(seen),
        meaning=meaning(seen),
        machine=bench.machine,
        protocol=Protocol(seed, 0, 1, bench.machine.threads, now() - started),
        notes=tuple(_notes(bench, seen)),
    )


def _parts(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    in_dev = np.array(
        [question.split == "dev" for question in bench.corpus.questions if question.kind != "unanswerable"]
    )
    if in_dev.any() and not in_dev.all():
        return in_dev, ~in_dev
    everything = np.ones(len(in_dev), dtype=bool)
    return everything, everything


def _inputs(bench: Bench, seen: Measured) -> dict[str, object]:
    options = seen.options
    return {
        "corpus": bench.corpus.source,
        "corpus_sha256": bench.corpus.content_sha256,
        "embedder": bench.embedder.name if bench.embedder else None,
        "retriever": options.retriever,
        "k": options.k,
        "budget_tokens": options.budget_tokens,
        "llm": seen.price.name,
        "first": str(seen.first.chunking),
        "chosen": str(seen.chosen.chunking),
    }


def _notes(bench: Bench, seen: Measured) -> Iterator[str]:
    yield (
        "tokens sent are those of the passages under a heading each, chunks that touch being one passage; at equal"
        f" tokens, chunks go in best first as long as they fit {seen.options.budget_tokens:,}"
    )
    yield "nDCG falls where one chunk holds several spans, as it gains the best grade only: compare it within a size"
    if len(seen.cells) > 1:
        yield "of 20 designs that are no better, one looks better or worse by its 95 % interval alone"
    if not seen.split:
        yield "the corpus has no dev questions: the best design is judged by those that chose it, and looks better"
    yield from bench.corpus.notes
