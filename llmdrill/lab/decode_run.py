"""Measure decoding: time to first token, time per output token and cache memory of a real decoder on this machine."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.completion_plan import embedded_sha256
from llmdrill.lab.load_decoder import find_model, load_decoder
from llmdrill.lab.machine import resident_bytes, this_machine
from llmdrill.lab.model_files import weight_files
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE, Figure, Measurement, measurement_key
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import KvCache, Session


@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """What to run.

    Attributes:
        prompt_tokens: Of each sequence.
        output_tokens: Of each sequence; at least two, or there is no time per output token.
        sequences: Prefilled and decoded together, as one static batch.
        model: A folder or hub id; or ``shape`` for random weights; without either the embedded model.
        shape: A name of ``NAMED_SHAPES``.
        cached_share: Of the prompt, already in the cache in the prefix-cache run.
    """

    prompt_tokens: int
    output_tokens: int
    sequences: int = 1
    model: str | None = None
    shape: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    warm_up: int = 1
    repeats: int = 5
    cached_share: float = 0.75

    def __post_init__(self) -> None:
        counts = {"prompt_tokens": (self.prompt_tokens, 2), "output_tokens": (self.output_tokens, 2)}
        counts |= {"sequences": (self.sequences, 1), "repeats": (self.repeats, 1), "warm_up": (self.warm_up, 0)}
        for name, (value, least) in counts.items():
            if value < least:
                raise UsageError(f"{name} is {value}: it must be at least {least}")
        if not 0 < self.cached_share < 1:
            raise UsageError(f"cached_share is {self.cached_share}: it must lie between 0 and 1")

    @property
    def cached_tokens(self) -> int:
        """Return how much of the prompt the prefix cache holds; at least one token is left to read."""
        return min(max(1, round(self.cached_share * self.prompt_tokens)), self.prompt_tokens - 1)


@dataclass(frozen=True, slots=True)
class Generation:
    """One timed answer: prefill until the first token is chosen, then a step for each further token."""

    ttft_s: float
    total_s: float
    output_tokens: int

    @property
    def tpot_s(self) -> float:
        """Return (total - TTFT) / (output tokens - 1).

        >>> Generation(ttft_s=1.0, total_s=3.0, output_tokens=5).tpot_s
        0.5
        """
        return (self.total_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class _Memory:
    weights_rss_bytes: int | None
    generation_rss_bytes: int | None
    cache_used_bytes: int
    cache_allocated_bytes: int


def decoding_key(config: DecodingConfig, *, seed: int) -> str:
    """Return the key of a measurement of this config; it reads the weights to hash them, but runs nothing."""
    return measurement_key({"kind": "decoding", "weights": _weights_sha256(config), "seed": seed, **asdict(config)})


def measure_decoding(
    config: DecodingConfig,
    *,
    seed: int,
    now: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Run prompts through a decoder with its real key-value cache and read the clock around each answer.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError: As ``load_decoder`` says.
        UsageError: If prompt and output do not fit the model's context.
    """
    started = now()
    load_decoder(shape="tiny")  # imports torch, so that its own memory is not counted below
    machine, before = this_machine(), resident_bytes()
    decoder = load_decoder(config.model, shape=config.shape, precision=config.precision, seed=seed)
    loaded = resident_bytes()
    rng = np.random.default_rng(seed)
    prompts = rng.integers(decoder.shape.vocab, size=(config.sequences, config.prompt_tokens)).tolist()
    capacity = config.prompt_tokens + config.output_tokens - 1  # the last token chosen is never read back
    session = decoder.start(sequences=config.sequences, capacity_tokens=capacity)
    first = _generate(session, prompts, config.output_tokens, now)
    memory = _memory(session.cache, before, loaded, resident_bytes())
    for _ in range(config.warm_up - 1):
        _generate(session, prompts, config.output_tokens, now)
    runs: list[Generation] = [] if config.warm_up else [first]
    cached_s: list[float] = []
    while len(runs) < config.repeats or len(cached_s) < config.repeats:
        if len(runs) < config.repeats:
            runs.append(_generate(session, prompts, config.output_tokens, now))
        cached_s.append(_time_cached_prefill(session, prompts, config.cached_tokens, now))
    return Measurement(
        kind="decoding",
        key=decoding_key(config, seed=seed),
        figures=(
            *_metric_figures(runs),
            *_latency_figures(runs, cached_s, config),
            *_memory_figures(memory, config),
        ),
        tables=(_repeats_table(runs, cached_s),),
        machine=machine,
        seed=seed,
        repeats=config.repeats,
        seconds=now() - started,
        notes=_notes(config, random_weights=decoder.random_weights),
    )


def _generate(session: Session, prompts: Sequence[Sequence[int]], tokens: int, now: Callable[[], float]) -> Generation:
    """Answer from an empty cache, choosing the likeliest token each time, with the clock read around the work."""
    session.cache.keep(0)
    start = now()
    picked = session.prefill(prompts).argmax(dim=-1)
    first = now()
    for _ in range(tokens - 1):
        picked = session.decode(picked).argmax(dim=-1)
    return Generation(ttft_s=first - start, total_s=now() - start, output_tokens=tokens)


def _time_cached_prefill(
    session: Session,
    prompts: Sequence[Sequence[int]],
    cached_tokens: int,
    now: Callable[[], float],
) -> float:
    """Time the first token when the cache still holds the beginning of the very same prompts."""
    session.cache.keep(cached_tokens)
    start = now()
    session.prefill([prompt[cached_tokens:] for prompt in prompts]).argmax(dim=-1)
    return now() - start


def _memory(cache: KvCache, before: int | None, loaded: int | None, ran: int | None) -> _Memory:
    return _Memory(
        weights_rss_bytes=None if before is None or loaded is None else loaded - before,
        generation_rss_bytes=None if loaded is None or ran is None else ran - loaded,
        cache_used_bytes=cache.used_bytes,
        cache_allocated_bytes=cache.allocated_bytes,
    )


def _percentiles(name: str, seconds: Sequence[float], note: str = "") -> tuple[Figure, Figure]:
    """Return p50 and p95 over repeats in ms, each with the fastest and slowest repeat beside it."""
    values = np.array(seconds) * MS_PER_S
    low, high, n = float(values.min()), float(values.max()), len(values)
    note = f"{note}; low and high are the fastest and slowest repeat".removeprefix("; ")
    return (
        Figure(f"{name}_p50_ms", float(np.median(values)), low, high, n, note),
        Figure(f"{name}_p95_ms", float(np.percentile(values, 95)), low, high, n, note),
    )


def _metric_figures(runs: Sequence[Generation]) -> tuple[Figure, ...]:
    """Return the figures under the names, and in the seconds, that a design's requirements use."""
    n, note = len(runs), "over repeats of one prompt"
    return (
        Figure("measured_ttft_p95_s", float(np.percentile([run.ttft_s for run in runs], 95)), n=n, note=note),
        Figure("measured_tpot_p50_s", float(np.median([run.tpot_s for run in runs])), n=n, note=note),
        Figure("measured_total_p95_s", float(np.percentile([run.total_s for run in runs], 95)), n=n, note=note),
    )


def _latency_figures(
    runs: Sequence[Generation], cached_s: Sequence[float], config: DecodingConfig
) -> tuple[Figure, ...]:
    total_s = float(np.median([run.total_s for run in runs]))
    ttft_s = float(np.median([run.ttft_s for run in runs]))
    made, read = config.sequences * config.output_tokens, config.sequences * config.prompt_tokens
    hit = f"{config.cached_tokens} of {config.prompt_tokens} prompt tokens in the cache"
    return (
        *_percentiles("ttft", [run.ttft_s for run in runs]),
        *_percentiles("tpot", [run.tpot_s for run in runs], "(total - TTFT) / (output tokens - 1)"),
        *_percentiles("total", [run.total_s for run in runs]),
        *_percentiles("ttft_cached", cached_s, hit),
        Figure(
            "ttft_cached_ratio", float(np.median(cached_s)) / ttft_s, n=len(runs), note=f"of TTFT without cache; {hit}"
        ),
        Figure("tokens_per_s", made / total_s, n=len(runs), note="output tokens of all sequences per second of total"),
        Figure(
            "prefill_tokens_per_s", read / ttft_s, n=len(runs), note="prompt tokens of all sequences per second of TTFT"
        ),
    )


def _memory_figures(memory: _Memory, config: DecodingConfig) -> tuple[Figure, ...]:
    tokens = config.sequences * (config.prompt_tokens + config.output_tokens - 1)
    used = f"keys and values of {tokens} tokens; the last token chosen is never read back"
    rss = "growth of the process; None where the system does not tell"
    return (
        Figure("kv_cache_bytes", float(memory.cache_used_bytes), n=1, note=used),
        Figure("kv_cache_allocated_bytes", float(memory.cache_allocated_bytes), n=1),
        Figure("weights_rss_bytes", _number(memory.weights_rss_bytes), n=1, note=rss),
        Figure(
            "generation_rss_bytes", _number(memory.generation_rss_bytes), n=1, note=f"{rss}; cache and working space"
        ),
    )


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _repeats_table(runs: Sequence[Generation], cached_s: Sequence[float]) -> Table:
    rows = tuple(
        (number, *(round(seconds * MS_PER_S, 3) for seconds in (run.ttft_s, run.tpot_s, run.total_s, cached)))
        for number, (run, cached) in enumerate(zip(runs, cached_s, strict=True), start=1)
    )
    return Table("Repeats", ("repeat", "ttft_ms", "tpot_ms", "total_ms", "ttft_cached_ms"), rows)


def _notes(config: DecodingConfig, *, random_weights: bool) -> tuple[str, ...]:
    batch = f"{config.sequences} sequences in a static batch: all prompts are read before the first token of any"
    return (
        *([RANDOM_WEIGHTS_NOTE] if random_weights else []),
        *([batch] if config.sequences > 1 else []),
        f"p50 and p95 are over {config.repeats} repeats of one prompt, not over different requests",
    )


def _weights_sha256(config: DecodingConfig) -> str | None:
    if config.model is None:
        return embedded_sha256() if config.shape is None else None
    digest = hashlib.sha256()
    for file in weight_files(find_model(config.model)):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
