"""`llmdrill lab ssm`: a state-space layer against its attention twin, measured beside the closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape, StateLayers
from llmdrill.estimate.attention import projection_flops
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import attention_flops
from llmdrill.estimate.kv_cache import explain_kv_cache
from llmdrill.estimate.state import explain_state, state_flops
from llmdrill.experiments.growth import crossing, fitted_exponent, lengths_up_to, why_no_exponent
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.clock import Timing
    from llmdrill.lab.ssm import SsmShape
    from llmdrill.lab.ssm_run import DecodeReading, LengthReading, Pair

BYTES_PER_VALUE: Final = 4.0  # both layers run in fp32
CHECKED_TOKENS: Final = 96  # over which the two forms are compared
LONGEST_RECURRENT_TOKENS: Final = 1024  # token by token a longer prompt costs seconds and shows nothing new
SHORTEST_FITTED_TOKENS: Final = 1024  # below, dispatch hides how the work grows


@dataclass(frozen=True, slots=True)
class SsmOptions:
    """What to run.

    Attributes:
        width: Of both layers.
        state: Values of state per inner channel.
        longest_tokens: Of the prompts; they double from 128.
        longest_context_tokens: Before the decode steps.
    """

    width: int = 128
    state: int = 16
    heads: int = 4
    longest_tokens: int = 16384
    longest_context_tokens: int = 65536
    repeats: int = 3


def measure_ssm(
    options: SsmOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Run both layers on prompts and in decode, and set seconds and bytes beside what closed forms say.

    Raises:
        UsageError: If the heads do not divide the width, or the longest length is below the shortest.

    Source:
        ``state_bytes``, ``state_flops``: the shapes of Mamba (Gu and Dao 2023, arXiv:2312.00752); ``kv_cache_bytes``.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.ssm import SsmShape
    from llmdrill.lab.ssm_run import build_pair, largest_difference, measure_decoding, measure_lengths

    started = now()
    shape = SsmShape(width=options.width, state=options.state, heads=options.heads)
    pair, machine = build_pair(shape, seed=seed), this_machine()
    difference = largest_difference(pair, tokens=CHECKED_TOKENS, seed=seed)
    say("prompts by length")
    lengths = measure_lengths(
        pair,
        lengths=lengths_up_to(options.longest_tokens, option="longest"),
        longest_recurrent_tokens=LONGEST_RECURRENT_TOKENS,
        repeats=options.repeats,
        seed=seed,
        now=now,
    )
    say("decode by context")
    contexts = lengths_up_to(options.longest_context_tokens, option="context", step=4)
    decoding = measure_decoding(pair, contexts=contexts, repeats=options.repeats, seed=seed, now=now)
    forms = Forms(shape)
    return Experiment(
        name="ssm",
        title="A state-space layer against its attention twin: a state that stays, a cache that grows",
        inputs=_inputs(options, pair),
        findings=(
            _difference(difference),
            *_byte_findings(decoding, forms),
            *_decode_findings(decoding),
            *_prompt_findings(lengths, forms),
        ),
        tables=(_lengths_table(lengths, forms), _decode_table(decoding, forms)),
        pictures=tuple(_pictures(lengths, decoding)),
        meaning=(_decode_meaning(decoding), _prompt_meaning(lengths, forms)),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=(
            RANDOM_WEIGHTS_NOTE,
            "same width, not the same size: {:,} parameters against {:,} of attention".format(*pair.parameters),
            "the scan is a loop of plain torch, attention is one kernel of its own",
        ),
    )


class Forms:
    """What closed forms say of the two layers."""

    def __init__(self, shape: SsmShape) -> None:
        self.shape = shape
        self.attention = AttentionShape(
            layers=1, kv_heads=shape.heads, heads=shape.heads, head_dim=shape.width // shape.heads
        )
        self.state = StateLayers(
            kind="mamba",
            layers=1,
            conv_values=(shape.kernel - 1) * shape.inner,
            recurrent_values=shape.inner * shape.state,
            conv_kernel=shape.kernel,
        )

    def state_space_flops(self, tokens: float) -> float:
        """Return the operations of the state-space layer on a prompt: its four projections and its states."""
        shape = self.shape
        selects = shape.inner * (shape.rank + 2 * shape.state) + shape.rank * shape.inner
        projections = 2.0 * tokens * (3 * shape.width * shape.inner + selects)
        return projections + state_flops(self.state, tokens=tokens)

    def attention_flops(self, tokens: float) -> float:
        """Return the operations of the attention layer on a prompt, masked pairs left out."""
        pairs = attention_flops(self.attention, tokens=tokens, context_tokens=(tokens + 1) / 2)
        return projection_flops(tokens=tokens, width=self.shape.width) + pairs

    @property
    def crossover_tokens(self) -> float:
        """Return the prompt length from which on the state-space layer needs fewer operations."""
        state_space, projections, pair = self._per_token()
        return max(1.0, 2 * (state_space - projections) / pair - 1)

    @property
    def crossover_filled(self) -> str:
        """Return ``crossover_tokens`` with the numbers put in."""
        state_space, projections, pair = (figure(one) for one in self._per_token())
        end = figure(round(self.crossover_tokens))
        return f"2 × ({state_space} - {projections}) / {pair} - 1 = {end}: FLOP a token, and a pair of tokens"

    def _per_token(self) -> tuple[float, float, float]:
        """Return the FLOPs of a token in the state-space layer and in attention's projections, and of one pair."""
        projections = projection_flops(tokens=1, width=self.shape.width)
        return self.state_space_flops(1), projections, attention_flops(self.attention, tokens=1, context_tokens=1)


def _difference(value: float) -> Finding:
    note = f"parallel against token by token over {CHECKED_TOKENS} tokens, largest gap as a share of the largest output"
    return Finding("forms_difference_ratio", value, n=CHECKED_TOKENS, note=note)


def _byte_findings(decoding: Sequence[DecodeReading], forms: Forms) -> Iterator[Finding]:
    last = decoding[-1]
    state = explain_state(forms.state, bytes_per_value=BYTES_PER_VALUE)
    cache = explain_kv_cache(
        forms.attention, context_tokens=last.context_tokens, sequences=1, bytes_per_value=BYTES_PER_VALUE
    )
    yield Finding("state_bytes", last.state_bytes, state.value, n=1, formula=state.filled, note="at every context")
    note = f"after {last.context_tokens} tokens"
    yield Finding("cache_bytes", last.cache_bytes, cache.value, n=1, formula=cache.filled, note=note)
    equal = state.value / cache.value * last.context_tokens
    measured = last.state_bytes / last.cache_bytes * last.context_tokens
    note = "context from which on the cache is the larger"
    formula = f"state / cache of a token = {figure(state.value)} / {figure(cache.value / last.context_tokens)}"
    formula = f"{formula} = {figure(equal)}"
    yield Finding("bytes_crossover_tokens", measured, equal, n=1, formula=formula, note=note)


def _decode_findings(decoding: Sequence[DecodeReading]) -> Iterator[Finding]:
    first, last = decoding[0], decoding[-1]
    pairs = (("state_step", first.state_space, last.state_space), ("attention_step", first.attention, last.attention))
    for name, short, long in pairs:
        yield _timed(f"{name}_short_ms", short, first.context_tokens)
        yield _timed(f"{name}_long_ms", long, last.context_tokens)
        note = f"one decode step after {last.context_tokens} tokens against one after {first.context_tokens}"
        yield Finding(f"{name}_growth_ratio", long.median_s / short.median_s, n=len(long.seconds), note=note)


def _prompt_findings(lengths: Sequence[LengthReading], forms: Forms) -> Iterator[Finding]:
    fitted = [one for one in lengths if one.tokens >= SHORTEST_FITTED_TOKENS]
    sizes = [one.tokens for one in fitted]
    for name, at in (("state_space", forms.state_space_flops), ("attention", forms.attention_flops)):
        seconds = [getattr(one, name).median_s for one in fitted]
        predicted = fitted_exponent(sizes, [at(tokens) for tokens in sizes])
        note = f"power of the prompt's length with which seconds grow from {SHORTEST_FITTED_TOKENS} tokens on"
        note = f"{note}; predicted: with which operations grow{why_no_exponent(sizes, SHORTEST_FITTED_TOKENS)}"
        formula = "" if predicted is None else f"slope of log FLOP by log tokens, {sizes[0]} to {sizes[-1]} tokens"
        measured = fitted_exponent(sizes, seconds)
        yield Finding(f"{name}_exponent_ratio", measured, predicted, n=len(sizes), formula=formula, note=note)
    measured = crossing(
        [one.tokens for one in lengths],
        [one.state_space.median_s for one in lengths],
        [one.attention.median_s for one in lengths],
    )
    predicted = forms.crossover_tokens
    note = "prompt from which on the state-space layer is faster; predicted: needs fewer operations"
    note = note if measured else f"{note}; measured: none up to {lengths[-1].tokens} tokens"
    formula = forms.crossover_filled
    yield Finding("prompt_crossover_tokens", measured, predicted, n=len(lengths), formula=formula, note=note)


def _timed(name: str, timing: Timing, context_tokens: int) -> Finding:
    note = f"after {context_tokens} tokens; median, the fastest and the slowest repeat"
    return over_rounds(name, [MS_PER_S * seconds for seconds in timing.seconds], note=note)


def _lengths_table(lengths: Sequence[LengthReading], forms: Forms) -> Table:
    columns = (
        "tokens",
        "state_space_ms",
        "recurrent_ms",
        "attention_ms",
        "state_space_flops",
        "attention_flops",
        "state_space_peak_bytes",
        "attention_peak_bytes",
    )
    rows = tuple(
        (
            one.tokens,
            _ms(one.state_space),
            None if one.recurrent is None else _ms(one.recurrent),
            _ms(one.attention),
            forms.state_space_flops(one.tokens),
            forms.attention_flops(one.tokens),
            one.state_space_peak_bytes,
            one.attention_peak_bytes,
        )
        for one in lengths
    )
    note = "state_space is the parallel form, recurrent the same layer token by token; FLOPs are the closed forms"
    return Table("prompts", columns, rows, note)


def _decode_table(decoding: Sequence[DecodeReading], forms: Forms) -> Table:
    columns = ("context_tokens", "state_ms", "attention_ms", "state_bytes", "cache_bytes", "cache_formula_bytes")
    rows = tuple(
        (
            one.context_tokens,
            _ms(one.state_space),
            _ms(one.attention),
            one.state_bytes,
            one.cache_bytes,
            explain_kv_cache(
                forms.attention, context_tokens=one.context_tokens, sequences=1, bytes_per_value=BYTES_PER_VALUE
            ).value,
        )
        for one in decoding
    )
    return Table("decode", columns, rows, "one step of one sequence; bytes are those of the tensors")


def _ms(timing: Timing) -> float:
    return round(MS_PER_S * timing.median_s, 4)


def _pictures(lengths: Sequence[LengthReading], decoding: Sequence[DecodeReading]) -> Iterator[Picture]:
    x = tuple(float(one.tokens) for one in lengths)
    prompts = (
        Series("state-space, parallel", x, tuple(MS_PER_S * one.state_space.median_s for one in lengths)),
        Series("attention", x, tuple(MS_PER_S * one.attention.median_s for one in lengths)),
    )
    yield Picture("Reading a prompt", "tokens", "milliseconds", prompts, log_x=True, log_y=True)
    at = tuple(float(one.context_tokens) for one in decoding)
    held = (
        Series("state", at, tuple(float(one.state_bytes) for one in decoding)),
        Series("key-value cache", at, tuple(float(one.cache_bytes) for one in decoding)),
    )
    yield Picture("What one sequence keeps", "context tokens", "bytes", held, log_x=True, log_y=True)


def _decode_meaning(decoding: Sequence[DecodeReading]) -> str:
    first, last = decoding[0], decoding[-1]
    times = last.cache_bytes / last.state_bytes
    grown = last.attention.median_s / first.attention.median_s
    steady = last.state_space.median_s / first.state_space.median_s
    slower = last.state_space.median_s > last.attention.median_s
    end = (
        "yet is still the faster there"
        if slower
        else f"{last.attention.median_s / last.state_space.median_s:.2g} times that of the state"
    )
    return (
        f"From {first.context_tokens} to {last.context_tokens} tokens of context the state stays at"
        f" {last.state_bytes} bytes and its step takes {steady:.2g} times as long, while the cache grows to"
        f" {times:,.0f} times the state and the step of attention takes {grown:.2g} times as long, {end}."
    )


def _prompt_meaning(lengths: Sequence[LengthReading], forms: Forms) -> str:
    crossover = next(one for one in _prompt_findings(lengths, forms) if one.name == "prompt_crossover_tokens")
    last = lengths[-1]
    by_flops = f"by operations it should be so from {round(forms.crossover_tokens)} tokens on"
    if crossover.measured is None:
        ratio = last.state_space.median_s / last.attention.median_s
        faster = f"is not the faster at the longest measured ({ratio:.2g} times the time of attention)"
    elif crossover.measured <= lengths[0].tokens:
        faster = "is the faster at every length measured"
    else:
        faster = f"is the faster from about {crossover.measured:.0f} tokens on"
    rates = [
        operations / timing.median_s / 1e9
        for operations, timing in (
            (forms.state_space_flops(last.tokens), last.state_space),
            (forms.attention_flops(last.tokens), last.attention),
        )
    ]
    return (
        f"On prompts the state-space layer {faster}, and {by_flops}: at {last.tokens} tokens it does {rates[0]:.2g}"
        f" GFLOP/s with its scan of small elementwise work, attention {rates[1]:.2g} with products of matrices."
    )


def _inputs(options: SsmOptions, pair: Pair) -> dict[str, object]:
    shape, parameters = pair.state_space.shape, pair.parameters
    return {
        "width": options.width,
        "inner_channels": shape.inner,
        "state_values": options.state,
        "heads": options.heads,
        "dtype": "fp32",
        "state_space_parameters": parameters[0],
        "attention_parameters": parameters[1],
    }
