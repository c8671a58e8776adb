"""`llmdrill lab perplexity`: how well a model predicts a text, beside what compressors make of the same bytes."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.bootstrap import bootstrap_intervals
from llmdrill.estimate.perplexity import bits_per_byte, perplexity
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmdrill.lab.perplexity_run import Passage, PerplexityRun

BITS_PER_BYTE: Final = 8
FEWEST_FOR_INTERVAL: Final = 10  # texts; an interval over fewer says little
MOST_ROWS: Final = 20  # of the table of texts


def measure_perplexity(
    text: Passage | None = None,
    *,
    model: str | None = None,
    context_tokens: int | None = None,
    stride_tokens: int | None = None,
    most_bytes: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Score a text, or held-out modules of the standard library.

    Args:
        text: None for the held-out modules.
        model: A folder or hub id; None for the embedded decoder.
        context_tokens: Length of a window.
        stride_tokens: From one window to the next; a whole window makes disjoint chunks.
        most_bytes: Of held-out text, whole modules drawn at random; None for all of it.
        seed: Draws the sample.
        say: Told how far it is.
        now: The clock.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``score_passages`` says.

    Error:
        Exact for the windows used; the shorter they are and the less they overlap, the higher the figure. Perplexities
        of different tokenizers cannot be compared, bits per byte can.
    Source:
        As ``score_passages`` says.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.perplexity_run import held_out_note, held_out_passages, score_passages

    started = now()
    passages = held_out_passages(most_bytes=most_bytes, seed=seed) if text is None else (text,)
    run = score_passages(passages, model=model, context_tokens=context_tokens, stride_tokens=stride_tokens, say=say)
    machine = this_machine()
    return Experiment(
        name="perplexity",
        title="How well the model predicts this text",
        inputs={
            "model": model or "embedded",
            "text": f"{len(passages)} held-out modules" if text is None else text.name,
            "context_tokens": run.context_tokens,
            "stride_tokens": run.stride_tokens,
        },
        findings=tuple(_findings(run, seed=seed)),
        tables=tuple(_tables(run)),
        pictures=(_picture(run),),
        meaning=_meaning(run),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=(*_notes(run), *([held_out_note()] if text is None else [])),
    )


def _findings(run: PerplexityRun, *, seed: int) -> Iterator[Finding]:
    total, interval = run.total, _interval(run, seed=seed)
    low, high = interval or (None, None)

    def of_weights(name: str, value: float | None, note: str = "") -> Finding:
        return Finding(name, value, n=total.tokens, weights_matter=True, note=note)

    per_byte = bits_per_byte(total.nats_per_token, tokens=total.tokens, text_bytes=total.bytes)
    over = f"low and high: 95 % interval over {len(run.passages)} texts" if interval else ""
    yield replace(of_weights("bits_per_byte", per_byte, over), low=low, high=high)
    yield of_weights("perplexity", perplexity(total.nats_per_token), "e to the nats per token")
    yield of_weights("nats_per_token", total.nats_per_token)
    yield of_weights("next_token_accuracy_share", total.next_token_share, "the likeliest was right")
    yield Finding("tokens", float(total.tokens), note="predicted, each once")
    yield Finding("text_bytes", float(total.bytes), note="of exactly these tokens")
    for name, size in (("gzip_9", run.gzip_bytes), ("xz_9e", run.xz_bytes)):
        yield Finding(f"{name}_bits_per_byte", BITS_PER_BYTE * size / run.text_bytes, note="all texts as one file")


def _interval(run: PerplexityRun, *, seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of bits per byte over texts drawn anew; None for few texts."""
    from llmdrill.lab.score import total_score

    if len(run.passages) < FEWEST_FOR_INTERVAL:
        return None

    def pooled(drawn: Mapping[int, int]) -> float | None:
        picked = [(run.passages[at].score.sums, count) for at, count in drawn.items()]
        return total_score([one for one, count in picked for _ in range(count)]).bits_per_byte

    texts = dict.fromkeys(range(len(run.passages)), 1)
    found = bootstrap_intervals(texts, (pooled,), rng=random.Random(seed))[0]  # noqa: S311 - draws, not secrets
    return None if found is None else (found.low, found.high)


def _tables(run: PerplexityRun) -> Iterator[Table]:
    yield Table(
        "by context",
        ("tokens_before", "tokens", "nats_per_token"),
        tuple((f"{one.least_seen}-{one.most_seen}", one.tokens, round(one.nats_per_token, 4)) for one in run.bands),
        "in the first window of every text: what the tokens before are worth",
    )
    if len(run.passages) > 1:
        rows = [
            (one.name, sums.tokens, round(sums.bits_per_byte, 4)) for one in run.passages for sums in (one.score.sums,)
        ]
        shown = sorted(rows, key=lambda row: -row[1])[:MOST_ROWS]
        note = f"the {MOST_ROWS} longest of {len(rows)}" if len(rows) > MOST_ROWS else ""
        yield Table("texts", ("text", "tokens", "bits_per_byte"), tuple(shown), note)


def _picture(run: PerplexityRun) -> Picture:
    bars = {"model": run.total.bits_per_byte}
    bars |= {f"{name}": BITS_PER_BYTE * size / run.text_bytes for name, size in _compressed(run)}
    places = tuple(float(at) for at in range(len(bars)))
    series = (Series("bits per byte", places, tuple(bars.values())),)
    return Picture("Bits for a byte of this text", "", "bits per byte", series, "bars", tuple(bars))


def _compressed(run: PerplexityRun) -> tuple[tuple[str, int], ...]:
    return ("gzip -9", run.gzip_bytes), ("xz -9e", run.xz_bytes)


def _meaning(run: PerplexityRun) -> tuple[str, str]:
    own = run.total.bits_per_byte
    name, size = min(_compressed(run), key=lambda one: one[1])
    other = BITS_PER_BYTE * size / run.text_bytes
    unsure = perplexity(run.total.nats_per_token)
    among = "more tokens than can be written" if unsure is None else f"{unsure:.3g} equally likely tokens"
    first = f"At each token the model is as unsure as between {among}, which is {own:.3g} bits for a byte of this text."
    if own < other:
        return first, f"{name} needs {other / own:.3g} times as many bits, because it knows only what it has read here."
    return first, f"{name} needs {other:.3g}: for this text what the model learned is worth less than repetition in it."


def _notes(run: PerplexityRun) -> Iterator[str]:
    context, stride = run.context_tokens, run.stride_tokens
    if stride == context:
        yield f"disjoint chunks of {context} tokens: the first of each are predicted from few, so figures are high"
    else:
        yield (
            f"windows of {context} tokens, {stride} apart: beyond the first window every token is predicted from at"
            f" least {context - stride} before it"
        )
    if run.starts:
        yield "each text begins with the token that stood before every text in training, so its first token counts too"
    else:
        yield "the first token of a text is not predicted, and its bytes do not count"
    yield "perplexities of different tokenizers cannot be compared; bits per byte can"
