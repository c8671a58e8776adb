"""Time real decoders of a few sizes, pass by pass and in interleaved rounds: what a machine's profile is made of."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

from llmdrill.lab.bandwidth import Reader, peak_flops
from llmdrill.lab.clock import Timing
from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights, random_decoder
from llmdrill.lab.native.binding import native_status
from llmdrill.lab.native.engine import NativeDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Session
    from llmdrill.lab.shapes import DecoderShape

Engine = Literal["torch", "native"]
Precision = Literal["fp32", "bf16", "int8"]
READING_S: Final = 0.008  # a reading of a short pass takes at least this long
UNREAD_S: Final = 0.004  # and this long before it, unread
LONG_S: Final = 0.02
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_TORCH_OF: Final[dict[Precision, Literal["fp32", "bf16"]]] = {"fp32": "fp32", "bf16": "bf16", "int8": "fp32"}


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a decoder.

    Attributes:
        kind: ``prefill`` reads ``tokens`` of each prompt into an empty cache; ``decode`` appends one token to each
            sequence after ``tokens`` cached ones. Both end with the choice of the next token.
        sequences: Together in the pass.
    """

    kind: Literal["prefill", "decode"]
    tokens: int
    sequences: int = 1

    @property
    def name(self) -> str:
        """Return how llama-bench would call it: pp512, tg1 at 512.

        >>> Pass("prefill", 512).name, Pass("decode", 512).name, Pass("decode", 64, sequences=8).name
        ('pp512', 'tg@512', 'tg@64x8')
        """
        batch = f"x{self.sequences}" if self.sequences > 1 else ""
        return f"pp{self.tokens}{batch}" if self.kind == "prefill" else f"tg@{self.tokens}{batch}"


@dataclass(frozen=True, slots=True)
class Probe:
    """A decoder with random weights on an engine, and the passes it is timed in."""

    name: str
    shape: DecoderShape
    engine: Engine
    precision: Precision
    passes: tuple[Pass, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The seconds of one pass of one probe, one a round."""

    probe: Probe
    timed: Pass
    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Return the median over rounds."""
        return float(np.median(self.seconds))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A request to a decoder that is no probe: prompts are read, then tokens written one by one."""

    name: str
    shape: DecoderShape
    engine: Engine
    precision: Precision
    prompt_tokens: int
    output_tokens: int
    sequences: int = 1

    @property
    def request(self) -> str:
        """Return prompt and output tokens as text, and how many requests go together."""
        batch = f" x{self.sequences}" if self.sequences > 1 else ""
        return f"{self.prompt_tokens}+{self.output_tokens}{batch}"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a held-out request took, one value a round; TPOT = (total - TTFT) / (output tokens - 1)."""

    asked: HeldOut
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes per second at which a working set of so many bytes is read: the median of rounds, and the fastest."""

    set_bytes: int
    bytes_per_s: float
    best_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a machine did: bandwidths, probes, and the requests that a profile is held against.

    Attributes:
        fp32_flops_per_s: Of a large matrix product, the best of all rounds.
        bf16_flops_per_s: Likewise.
    """

    bandwidths: tuple[Bandwidth, ...]
    readings: tuple[Reading, ...]
    answered: tuple[Answered, ...]
    fp32_flops_per_s: float
    bf16_flops_per_s: float

    @property
    def spread_share(self) -> float:
        """Return how far apart the rounds were: the quartiles of one and the same time over its median, in the middle.

        On an idle machine a few hundredths; what a prediction is off by less than this is noise.
        """
        times = [one.seconds for one in self.readings]
        times += [seconds for one in self.answered for seconds in (one.ttft_s, one.tpot_s)]
        return float(np.median([Timing(seconds).spread_share for seconds in times]))


def calibrate(
    probes: Sequence[Probe],
    held_out: Sequence[HeldOut],
    *,
    rounds: int,
    set_bytes: Sequence[int],
    seed: int = 0,
    now: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Time bandwidths, probes and held-out requests, all of them once a round, so that drift meets them alike.

    A round before the first that counts warms up. Random weights: latency and memory only.

    Args:
        probes: What the constants are solved from.
        held_out: What the constants are held against.
        rounds: Readings of each.
        set_bytes: Working sets whose bandwidth is read.
        seed: Of the weights.
        now: The clock.
        say: Told how far it is.
    """
    readers = [Reader(size_bytes=size) for size in set_bytes]
    runs = [_Run(probe, one, session) for probe in probes for one, session in _sessions(probe, seed=seed)]
    requests = [_Request(asked, seed=seed) for asked in held_out]
    rates, peaks = [list[float]() for _ in readers], (list[float](), list[float]())
    for turn in range(rounds + 1):
        say(f"round {turn} of {rounds}")
        for reader, seen in zip(readers, rates, strict=True):
            seen.append(reader.bytes_per_s(now=now))
        for run in runs:
            run.once(now)
        for request in requests:
            request.once(now)
        for peak, dtype in zip(peaks, _DTYPES.values(), strict=True):
            peak.append(peak_flops(dtype, repeats=1, now=now))
    return Calibration(
        tuple(
            Bandwidth(size, float(np.median(seen[1:])), max(seen)) for size, seen in zip(set_bytes, rates, strict=True)
        ),
        tuple(Reading(run.probe, run.timed, tuple(run.seconds[1:])) for run in runs),
        tuple(Answered(one.asked, tuple(one.ttft_s[1:]), tuple(one.tpot_s[1:])) for one in requests),
        *(max(peak) for peak in peaks),
    )


class _Run:
    """One pass of one probe, and what its rounds took."""

    def __init__(self, probe: Probe, timed: Pass, session: Session) -> None:
        self.probe, self.timed, self.seconds = probe, timed, list[float]()
        self._session = session
        self._ids = torch.zeros(timed.sequences, dtype=torch.long)
        self._prompts = [[0] * timed.tokens for _ in range(timed.sequences)]

    def once(self, now: Callable[[], float]) -> None:
        """Run it and keep its time: of a short pass the mean of several, after some unread.

        A decoder that runs alone finds its weights where its last pass left them, in a cache if they fit; here other
        probes ran in between. A long pass brings them back before it has gone far.
        """
        if not self.seconds or self.seconds[-1] < LONG_S:
            self._passes(now, at_least_s=UNREAD_S)
        self.seconds.append(self._passes(now, at_least_s=READING_S))

    def _passes(self, now: Callable[[], float], *, at_least_s: float) -> float:
        """Run passes for so long, at least one, and return the mean time of one."""
        turns, start = 0, now()
        while True:
            self._pass()
            turns += 1
            seconds = now() - start
            if seconds >= at_least_s:
                return seconds / turns

    def _pass(self) -> None:
        """Run it once; what the cache holds does not matter, only how much of it is in use."""
        prefills = self.timed.kind == "prefill"
        self._session.cache.lengths.fill_(0 if prefills else self.timed.tokens)
        logits = self._session.prefill(self._prompts) if prefills else self._session.decode(self._ids)
        logits.argmax(dim=-1)


class _Request:
    """A held-out request, and what its rounds took."""

    def __init__(self, asked: HeldOut, *, seed: int) -> None:
        self.asked, self.ttft_s, self.tpot_s = asked, list[float](), list[float]()
        decoder = probe_decoder(asked.shape, engine=asked.engine, precision=asked.precision, seed=seed, distinct=True)
        capacity = asked.prompt_tokens + asked.output_tokens - 1  # the last token chosen is never read back
        self._session = decoder.start(sequences=asked.sequences, capacity_tokens=capacity)
        self._prompts = [[0] * asked.prompt_tokens for _ in range(asked.sequences)]

    def once(self, now: Callable[[], float]) -> None:
        """Answer it, and keep its times; a short one is answered before, unread, as ``_Run.once`` says."""
        ttft_s, tpot_s = self._answer(now)
        if ttft_s < LONG_S:
            ttft_s, tpot_s = self._answer(now)
        self.ttft_s.append(ttft_s)
        self.tpot_s.append(tpot_s)

    def _answer(self, now: Callable[[], float]) -> tuple[float, float]:
        self._session.cache.lengths.fill_(0)
        start = now()
        picked = self._session.prefill(self._prompts).argmax(dim=-1)
        first = now()
        for _ in range(self.asked.output_tokens - 1):
            picked = self._session.decode(picked).argmax(dim=-1)
        return first - start, (now() - first) / (self.asked.output_tokens - 1)


def _sessions(probe: Probe, *, seed: int) -> list[tuple[Pass, Session]]:
    decoder = probe_decoder(probe.shape, engine=probe.engine, precision=probe.precision, seed=seed)
    return [
        (one, decoder.start(sequences=one.sequences, capacity_tokens=one.tokens + (one.kind == "decode")))
        for one in probe.passes
    ]


def probe_decoder(
    shape: DecoderShape, *, engine: Engine, precision: Precision, seed: int, distinct: bool = False
) -> Decoder:
    """Return a decoder with random weights whose layers are copies of one: drawing them all would take longer.

    The native engine packs a copy of its own of each layer, so where it alone is timed (not ``distinct``) the
    originals may be one and the same.
    """
    one = random_decoder(replace(shape, layers=1), seed=seed, dtype=_DTYPES[_TORCH_OF[precision]])
    first = one.weights.layers[0]
    shared = engine == "native" and not distinct
    layers = tuple(first if shared else _copy(first) for _ in range(shape.layers))
    weights = DecoderWeights(one.weights.embedding, layers, one.weights.norm, one.weights.head)
    decoder = Decoder(shape, weights, random_weights=True)
    library = native_status().library
    if engine == "torch" or library is None:
        return decoder
    return NativeDecoder(decoder, library, precision=precision)


def _copy(layer: LayerWeights) -> LayerWeights:
    def twin(weight: Tensor | None) -> Tensor | None:
        return None if weight is None else weight.clone()

    twins: dict[str, Any] = {name: twin(getattr(layer, name)) for name in layer.__slots__}
    return replace(layer, **twins)
