"""Run the embedder on real text by engine, length, batch and order, beside its own matrix products."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.clock import Timing, timed_alternately
from llmdrill.lab.embed import load_minilm
from llmdrill.lab.held_out import held_out_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmdrill.lab.embed import MiniLm
    from llmdrill.lab.embed_engine import EngineName, Held, Precision

ENGINES: Final[tuple[tuple[EngineName, Precision], ...]] = (
    ("native", "int16"),
    ("native", "fp32"),
    ("torch", "fp32"),
    ("torch", "bf16"),
)
SHORTEST_TOKENS: Final = 8  # of texts of all lengths
CHARACTERS_PER_TOKEN: Final = 12  # of the library's text more than enough
CHILD_WITHIN_S: Final = 120


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    """What to embed.

    Attributes:
        tokens: Of all texts of one reading together.
        lengths: Tokens of a text, each in turn; those above what the model sees are left out.
        batches: Tokens computed together, each in turn.
        memory_of_all: Start a process for every engine, not for the asked one alone.
    """

    tokens: int
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    repeats: int
    memory_of_all: bool = True


@dataclass(frozen=True, slots=True)
class EmbedReading:
    """One way of embedding.

    Attributes:
        part: ``engine``, ``length``, ``batch`` or ``order``: the sweep it belongs to.
        text_tokens: Of each text; None where they differ.
        batch_tokens: Computed together; None: the engine's own choice.
        order: ``sorted`` by length, or as the texts ``come``.
        tokens: Of all texts, without [CLS] and [SEP].
    """

    part: str
    engine: str
    precision: Held
    text_tokens: int | None
    batch_tokens: int | None
    order: str
    texts: int
    tokens: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What one engine holds in a process of its own; None where the system does not tell.

    Attributes:
        load_bytes: By which loading let the process grow, its libraries included.
        embed_bytes: By which embedding the texts let it grow beyond that, at most.
    """

    engine: str
    precision: str
    texts: int
    load_bytes: int | None
    embed_bytes: int | None
    vector_bytes: int


@dataclass(frozen=True, slots=True)
class EmbedRun:
    """All readings.

    Attributes:
        product_tokens_per_s: By engine and precision: tokens for which the matrix products alone could be done.
        left_out: Engines that cannot be had here, with the reason.
    """

    embedder: MiniLm
    readings: tuple[EmbedReading, ...]
    product_tokens_per_s: dict[tuple[str, str], float]
    memory: tuple[EngineMemory, ...]
    left_out: tuple[str, ...]


def run_embedder(
    embedder: MiniLm, plan: EmbedPlan, *, folder: Path | None, seed: int, say: Callable[[str], None]
) -> EmbedRun:
    """Embed in every way, in turn, so that a machine that drifts drifts for all."""
    models, left_out = _engines(embedder, folder)
    text = _Text(embedder, plan.tokens)
    ways = list(_ways(embedder, models, plan, text, seed))
    say(f"{len(ways)} ways of embedding {plan.tokens:,} tokens, {plan.repeats} rounds")
    works: dict[str, Callable[[], object]] = {
        str(index): partial(way.model.embed, way.texts) for index, way in enumerate(ways)
    }
    works |= {f"products {index}": partial(one.products, tokens=plan.tokens) for index, one in enumerate(models)}
    timings = timed_alternately(works, repeats=plan.repeats)
    readings = tuple(way.reading(timings[str(index)]) for index, way in enumerate(ways))
    limits: dict[tuple[str, str], float] = {}
    for index, one in enumerate(models):
        done = one.products(tokens=plan.tokens)
        limits[one.engine.name, one.precision] = done / timings[f"products {index}"].median_s
    say("memory, in processes of their own")
    texts = max(1, plan.tokens // embedder.max_tokens)
    memory = tuple(_memory(one, folder, texts) for one in (models if plan.memory_of_all else models[:1]))
    return EmbedRun(embedder, readings, limits, memory, tuple(left_out))


@dataclass(frozen=True, slots=True)
class _Way:
    part: str
    model: MiniLm
    texts: list[str]
    text_tokens: int | None
    tokens: int
    batch_tokens: int | None = None
    order: str = "sorted"

    def reading(self, timing: Timing) -> EmbedReading:
        engine, precision = self.model.engine.name, self.model.precision
        return EmbedReading(
            *(self.part, engine, precision, self.text_tokens, self.batch_tokens, self.order),
            *(len(self.texts), self.tokens, timing),
        )


class _Text:
    """Source of the standard library, cut into texts of so many tokens each."""

    def __init__(self, embedder: MiniLm, tokens: int) -> None:
        whole = "\n".join(one.text for one in held_out_texts())
        self._text = whole[: tokens * CHARACTERS_PER_TOKEN]
        self._spans = embedder.token_spans(self._text)
        if len(self._spans) < tokens:
            raise UsageError(
                f"the held-out source here has {len(self._spans):,} tokens, not {tokens:,}: take fewer --passages"
            )

    def cut(self, lengths: list[int]) -> list[str]:
        ends = np.cumsum(lengths)
        firsts, lasts = self._spans[ends - lengths, 0], self._spans[ends - 1, 1]
        return [self._text[first:last] for first, last in zip(firsts, lasts, strict=True)]


def _engines(embedder: MiniLm, folder: Path | None) -> tuple[list[MiniLm], list[str]]:
    models, left_out = [embedder], []
    for engine, precision in ENGINES:
        if (engine, precision) == (embedder.engine.name, embedder.precision):
            continue
        try:
            models.append(load_minilm(folder, precision=precision, engine=engine))
        except UsageError as error:
            left_out.append(f"{engine} {precision}: {error}")
    return models, left_out


def _ways(embedder: MiniLm, models: list[MiniLm], plan: EmbedPlan, text: _Text, seed: int) -> Iterator[_Way]:
    whole = embedder.max_tokens
    count = max(1, plan.tokens // whole)
    full = text.cut([whole] * count)
    yield from (_Way("engine", model, full, whole, count * whole) for model in models)
    for length in plan.lengths:
        if length < whole:
            number = max(1, plan.tokens // length)
            yield _Way("length", embedder, text.cut([length] * number), length, number * length)
    for batch in plan.batches:
        yield _Way("batch", embedder.batched(batch_tokens=batch), full, whole, count * whole, batch)
    lengths = _drawn_lengths(plan.tokens, whole, seed)
    mixed, tokens = text.cut(lengths), sum(lengths)
    for model in _one_of_each_engine(models):
        batch = plan.batches[-1]
        for order in ("sorted", "come"):
            way = model.batched(batch_tokens=batch, in_order=order == "come")
            yield _Way("order", way, mixed, None, tokens, batch, order)


def _one_of_each_engine(models: list[MiniLm]) -> list[MiniLm]:
    first: dict[str, MiniLm] = {}
    for model in models:
        first.setdefault(model.engine.name, model)
    return list(first.values())


def _drawn_lengths(tokens: int, longest: int, seed: int) -> list[int]:
    """Draw lengths of texts, all as likely, until they have about so many tokens."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) + longest <= tokens or not lengths:
        lengths.append(int(rng.integers(SHORTEST_TOKENS, longest + 1)))
    return lengths


def _memory(model: MiniLm, folder: Path | None, texts: int) -> EngineMemory:
    asked = {
        "embedder": None if folder is None else str(folder.absolute()),
        "engine": model.engine.name,
        "precision": model.precision,
        "texts": texts,
    }
    command = (sys.executable, "-m", "llmdrill.lab.embed_child", json.dumps(asked))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CHILD_WITHIN_S)  # noqa: S603
    if done.returncode != 0:
        return EngineMemory(model.engine.name, model.precision, texts, None, None, 0)
    told = json.loads(done.stdout)
    return EngineMemory(model.engine.name, model.precision, texts, **told)
