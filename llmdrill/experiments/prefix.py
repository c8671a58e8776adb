"""`llmdrill lab prefix`: time to first token by how much of the prompt is cached, beside the share of FLOPs left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.estimate.caching import prefill_saved_s
from llmdrill.estimate.explain import figure
from llmdrill.experiments.prompt_flops import prompt_flops
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.lab.prefix_run import PrefixHit

SHARES: Final = (0.0, 1 / 4, 1 / 2, 3 / 4, 7 / 8)
MAIN_SHARE: Final = 7 / 8  # 448 of 512
TOLERANCE: Final = 1e-4  # of logits in fp32


@dataclass(frozen=True, slots=True)
class PrefixOptions:
    """What to run.

    Attributes:
        model: A folder or hub id; or ``shape`` for random weights; neither for the embedded model.
        prompt_tokens: Of every prompt.
    """

    model: str | None = None
    shape: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    prompt_tokens: int = 512
    repeats: int = 7

    @property
    def cached_tokens(self) -> tuple[int, ...]:
        """Return the sizes of the hit that are measured, from none to all but the last token."""
        sizes = [int(share * self.prompt_tokens) for share in SHARES]
        return tuple(dict.fromkeys((*sizes, self.prompt_tokens - 1)))

    @property
    def main_tokens(self) -> int:
        """Return the size of the hit that the findings tell."""
        return int(MAIN_SHARE * self.prompt_tokens)


def measure_prefix(
    options: PrefixOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Time prompts of which the cache holds a share, and set them beside the FLOPs that are left.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError: As ``load_decoder`` says.
        UsageError: If the prompt is longer than the model's context.

    Error:
        FLOPs leave out what a pass costs whatever its length: reading the weights and dispatch. So the prediction is a
        ceiling, and the nearer the hit is to the whole prompt the further it is off.
    Source:
        ``prefill_flops``; the method: Kwon et al. 2023, arXiv:2309.06180, section 4.4, shared prefix.
    """
    from llmdrill.lab.load_decoder import load_decoder
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.prefix_run import time_prefix_hits
    from llmdrill.lab.prompt_text import draw_prompts

    started = now()
    decoder = load_decoder(options.model, shape=options.shape, precision=options.precision, seed=seed)
    if options.prompt_tokens > decoder.shape.max_positions:
        raise UsageError(f"a prompt of {options.prompt_tokens} tokens: this model has {decoder.shape.max_positions}")
    machine, record = this_machine(), record_of(decoder.shape)
    drawn = draw_prompts(decoder, [options.prompt_tokens] * 2, model=options.model, rng=np.random.default_rng(seed))
    hits = time_prefix_hits(
        decoder, *drawn.ids, cached_tokens=options.cached_tokens, repeats=options.repeats, now=now, say=say
    )
    return Experiment(
        name="prefix",
        title="Prefix caching: time to first token by how much of the prompt is cached",
        inputs=_inputs(options, drawn.what),
        findings=tuple(_findings(options, record, hits)),
        tables=(_table(options, record, hits),),
        pictures=(_picture(options, record, hits),),
        meaning=_meaning(options, record, hits),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(options, random_weights=decoder.random_weights)),
    )


def _left_share(options: PrefixOptions, record: ModelRecord, cached_tokens: int) -> float:
    """Return the share of a prompt's FLOPs that a hit leaves."""
    left = prompt_flops(record, tokens=options.prompt_tokens - cached_tokens, cached_tokens=cached_tokens)
    return left / prompt_flops(record, tokens=options.prompt_tokens)


def _at(hits: Sequence[PrefixHit], cached_tokens: int) -> PrefixHit:
    return next(one for one in hits if one.cached_tokens == cached_tokens)


def _findings(options: PrefixOptions, record: ModelRecord, hits: Sequence[PrefixHit]) -> Iterator[Finding]:
    none, hit = _at(hits, 0), _at(hits, options.main_tokens)
    share = _left_share(options, record, hit.cached_tokens)
    held = f"{hit.cached_tokens} of {options.prompt_tokens} prompt tokens cached"
    predicted_ms = none.median_s * share * MS_PER_S
    yield _timed("ttft_ms", none, note="nothing cached")
    yield _timed(
        "ttft_cached_ms",
        hit,
        predicted_ms,
        f"TTFT × share of FLOPs left = {figure(none.median_s * MS_PER_S)} × {share:.4g} = {figure(predicted_ms)} ms",
        note=held,
    )
    ratios = [slow / fast for slow, fast in zip(none.ttft_s, hit.ttft_s, strict=True)]
    whole, rest = prompt_flops(record, tokens=options.prompt_tokens), options.prompt_tokens - hit.cached_tokens
    left = prompt_flops(record, tokens=rest, cached_tokens=hit.cached_tokens)
    yield over_rounds(
        "ttft_speed_up_ratio",
        ratios,
        measured=none.median_s / hit.median_s,
        predicted=1 / share,
        formula=f"FLOP of all tokens / FLOP of the last {rest} = {whole:.4g} / {left:.4g} = {1 / share:.4g}",
        note=f"of the medians, {held}; low and high within a round",
    )
    apart = max(one.logit_difference for one in hits)
    yield Finding("logit_difference", apart, n=len(hits), note="the largest to the same prompts read whole")
    same = sum(one.same_token for one in hits) / len(hits)
    yield Finding("same_token_share", same, n=len(hits), weights_matter=True, note="of sizes with the same first token")


def _timed(name: str, hit: PrefixHit, predicted: float | None = None, formula: str = "", *, note: str) -> Finding:
    times = [seconds * MS_PER_S for seconds in hit.ttft_s]
    note = f"{note}; low and high are the fastest and the slowest round"
    return over_rounds(name, times, predicted=predicted, formula=formula, note=note)


def _table(options: PrefixOptions, record: ModelRecord, hits: Sequence[PrefixHit]) -> Table:
    whole_s = _at(hits, 0).median_s
    rows = []
    for one in hits:
        share = _left_share(options, record, one.cached_tokens)
        saved_s = prefill_saved_s(
            prefill_s=whole_s, prefix_tokens=one.cached_tokens, input_tokens=options.prompt_tokens, hit_share=1
        )
        predicted = (round(whole_s * share * MS_PER_S, 3), round((whole_s - saved_s) * MS_PER_S, 3))
        speed_ups = (round(1 / share, 2), round(whole_s / one.median_s, 2))
        rows.append((one.cached_tokens, *predicted, round(one.median_s * MS_PER_S, 3), *speed_ups))
    columns = ("cached_tokens", "predicted_ms", "linear_ms", "measured_ms", "predicted_ratio", "measured_ratio")
    note = (
        "predicted by the share of FLOPs left, linear by the share of tokens left, both of the TTFT with nothing cached"
    )
    return Table("by cached tokens", columns, tuple(rows), note)


def _picture(options: PrefixOptions, record: ModelRecord, hits: Sequence[PrefixHit]) -> Picture:
    at, whole_s = tuple(float(one.cached_tokens) for one in hits), _at(hits, 0).median_s
    predicted = tuple(whole_s * _left_share(options, record, one.cached_tokens) * MS_PER_S for one in hits)
    measured = tuple(one.median_s * MS_PER_S for one in hits)
    series = (Series("measured", at, measured), Series("predicted by FLOPs", at, predicted))
    return Picture("Time to first token", f"of {options.prompt_tokens} prompt tokens cached", "ms", series)


def _meaning(options: PrefixOptions, record: ModelRecord, hits: Sequence[PrefixHit]) -> tuple[str, str]:
    none, hit, last = _at(hits, 0), _at(hits, options.main_tokens), _at(hits, options.prompt_tokens - 1)
    ratio, predicted = none.median_s / hit.median_s, 1 / _left_share(options, record, hit.cached_tokens)
    held = f"With {hit.cached_tokens} of {options.prompt_tokens} tokens cached the first token came"
    pace = f"{held} {ratio:.3g} times as fast" if ratio > 1 else f"{held} no sooner"
    least = f"with all but one token cached it still took {last.median_s * MS_PER_S:.3g} ms"
    promised = f"{pace}, where the FLOPs left promise {predicted:.3g} times"
    first = f"{promised}: {least}." if ratio < predicted else f"{promised}; {least}."
    apart = max(one.logit_difference for one in hits)
    if apart <= TOLERANCE:
        return (
            first,
            f"A hit changes nothing that comes out: logits agree within {TOLERANCE:g} with the prompt read whole.",
        )
    if options.precision == "bf16":
        return first, f"Logits differ by up to {apart:.2g} from the prompt read whole: bf16 rounds otherwise by length."
    return first, f"Logits differ by up to {apart:.2g} from the prompt read whole, more than rounding should leave."


def _inputs(options: PrefixOptions, prompt: str) -> dict[str, object]:
    return {
        "model": options.model or options.shape or "embedded",
        "precision": options.precision,
        "prompt_source": prompt,
        "prompt_tokens": options.prompt_tokens,
        "cached_tokens": options.main_tokens,
    }


def _notes(options: PrefixOptions, *, random_weights: bool) -> Iterator[str]:
    if random_weights:
        yield RANDOM_WEIGHTS_NOTE
    yield (
        "TTFT is the time to find the common beginning, read the rest and choose the first token; no network, no queue,"
        " no tokenizer"
    )
    yield f"each prompt leaves the cached text after the hit; the sizes are measured in turn, {options.repeats} rounds"
