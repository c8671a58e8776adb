"""One call of a language model, over an API or on accelerators of one's own: what llm, judge and agent share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import model_validator

from llmdrill.catalog.load import find_api_latency, find_price
from llmdrill.errors import UnknownNameError
from llmdrill.estimate.explain import Explained
from llmdrill.estimate.lognormal import lognormal
from llmdrill.fields import Positive, Seconds, Share, Usd, Whole  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import (
    Array,
    Basis,
    Cost,
    Latency,
    Memory,
    Situation,
    StageBase,
    Timing,
    draw_lognormal,
    explain,
    ordered,
    weakest,
)
from llmdrill.system.kinds.passages import passage_tokens, passages_before

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price

API_TTFT_S: Final = (0.5, 1.5)
API_TPOT_S: Final = (0.015, 0.040)
TTFT_WHY: Final = (
    "the time to first token of '{}' is assumed: 500 ms (p95 1.5 s); measure yours and give ttft_p50, ttft_p95"
)
TPOT_WHY: Final = (
    "the time per output token of '{}' is assumed: 15 ms (p95 40 ms); measure yours and give tpot_p50, tpot_p95"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one call: one per drawn request (n,), and the expectation."""

    drawn: Array
    mean: float


class ModelCall(StageBase):
    """Settings of a stage that calls a language model."""

    streams: ClassVar[bool] = False

    model: str
    served: Literal["api", "self"] = "api"
    prompt_tokens: Whole = 200
    cached_share: Share = 0.0
    max_output_tokens: Positive | None = None
    ttft_p50: Seconds | None = None
    ttft_p95: Seconds | None = None
    tpot_p50: Seconds | None = None
    tpot_p95: Seconds | None = None
    usd_per_million_input: Usd | None = None
    usd_per_million_output: Usd | None = None
    on: str | None = None
    tensor_parallel: Positive = 1
    replicas: Positive = 1
    precision: Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"] = "bf16"
    engine: str = "vllm"
    usd_per_accelerator_hour: Usd | None = None
    max_sequences: Positive | None = None

    @model_validator(mode="after")
    def _call(self) -> Self:
        for what in ("ttft", "tpot"):
            p50, p95 = getattr(self, f"{what}_p50"), getattr(self, f"{what}_p95")
            if (p50 is None) != (p95 is None):
                raise ValueError(f"{what}_p50 and {what}_p95 go together: give both or neither")
            ordered(what, p50, p95)
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("usd_per_million_input and usd_per_million_output go together: give both or neither")
        if self.served == "self" and self.on is None:
            raise ValueError("served: self needs `on`, the accelerator it runs on")
        if self.served == "self" and (self.ttft_p50 is None) != (self.tpot_p50 is None):
            raise ValueError("of a self-hosted model give both ttft and tpot, or neither: the serving model gives both")
        return self

    def input_tokens(self, at: Situation) -> Tokens:
        """Return the input of one call: the person's text, fixed instructions, and the passages retrieved."""
        k = passages_before(at)
        fixed = self.prompt_tokens + (k * passage_tokens(at) if k else 0.0)
        text = at.workload.input_tokens
        return Tokens(at.input_tokens + fixed, lognormal(p50=text.p50, p95=text.p95).mean + fixed)

    def output_tokens(self, at: Situation) -> Tokens:
        """Return the output of one call: the workload's, cut at max_output_tokens."""
        text, most = at.workload.output_tokens, self.max_output_tokens
        if most is None:
            return Tokens(at.output_tokens, lognormal(p50=text.p50, p95=text.p95).mean)
        drawn = np.minimum(at.output_tokens, float(most))
        return Tokens(drawn, capped_lognormal_mean(p50=text.p50, p95=text.p95, cap=float(most)))

    def latency(self, at: Situation) -> Latency:
        """Return TTFT + (output − 1) · TPOT of one call."""
        return self.call_latency(at, self.input_tokens(at), self.output_tokens(at))

    def call_latency(self, at: Situation, sent: Tokens, written: Tokens) -> Latency:
        """Return the latency of one call with these tokens."""
        if self.served == "self" and None in {self.ttft_p50, self.tpot_p50}:
            from llmdrill.system.kinds.self_hosted import self_hosted_latency

            return self_hosted_latency(self, at, sent, written)
        ttft, tpot = self._ttft(), self._tpot()
        notes = tuple(side.note for side in (ttft, tpot) if side.note)
        return from_parts(ttft, tpot, written, notes=notes)

    def _ttft(self) -> Part:
        if self.ttft_p50 is not None and self.ttft_p95 is not None:
            return Part(self.ttft_p50, self.ttft_p95, "yours", "your figure")
        try:
            known = find_api_latency(self.model)
        except UnknownNameError:
            return Part(*API_TTFT_S, "assumed", "assumed", TTFT_WHY.format(self.model))
        source = f"{known.source}, measured {known.measured}, {known.conditions}"
        return Part(known.ttft_p50_s, known.ttft_p95_s, "catalogue", source)

    def _tpot(self) -> Part:
        if self.tpot_p50 is not None and self.tpot_p95 is not None:
            return Part(self.tpot_p50, self.tpot_p95, "yours", "your figure")
        try:
            known = find_api_latency(self.model)
        except UnknownNameError:
            return Part(*API_TPOT_S, "assumed", "assumed", TPOT_WHY.format(self.model))
        source = f"{known.source}, measured {known.measured}, {known.conditions}"
        return Part(known.tpot_p50_s, known.tpot_p95_s, "catalogue", source)

    def cost(self, at: Situation) -> Cost:
        """Return the expected price of one call, or the rent of the accelerators."""
        return self.call_cost(at, self.input_tokens(at), self.output_tokens(at))

    def call_cost(self, at: Situation, sent: Tokens, written: Tokens) -> Cost:
        """Return the cost of one call with these tokens."""
        if self.served == "self":
            from llmdrill.system.kinds.self_hosted import self_hosted_cost

            return self_hosted_cost(self)
        prices = self._prices(at)
        if prices is None:
            what = f"no price of '{self.model}' is known: give usd_per_million_input and usd_per_million_output"
            return Cost(None, notes=(what,))
        return self._priced(prices, at, sent, written)

    def _priced(self, prices: Prices, at: Situation, sent: Tokens, written: Tokens) -> Cost:
        cached = cached_share(self, at)
        per_input = (1 - cached) * prices.fresh + cached * prices.cached
        if self.usd_cap_per_request is None:
            usd = (sent.mean * per_input + written.mean * prices.written) / 1e6
        else:
            each = (sent.drawn * per_input + written.drawn * prices.written) / 1e6
            usd = float(np.minimum(each, self.usd_cap_per_request).mean())
        share = f" ({cached:.0%} of it at the cached price)" if cached else ""
        filled = f"({sent.mean:.6g} × {per_input:.6g}{share} + {written.mean:.6g} × {prices.written:g}) / 1e6"
        formula = "(input tokens × input price + output tokens × output price) / 1e6"
        return Cost(usd, shown=(explain("usd_per_call", usd, "usd", formula, filled, prices.source),))

    def _prices(self, at: Situation) -> Prices | None:
        if self.usd_per_million_input is not None and self.usd_per_million_output is not None:
            own = self.usd_per_million_input
            return Prices(own, own, self.usd_per_million_output, "your figures")
        try:
            price: Price = find_price(self.model, date=at.date)
        except UnknownNameError:
            return None
        fresh, cached = price.input_usd_per_mtok, price.cached_input_usd_per_mtok
        source = f"{price.source}, {price.date}"
        return Prices(fresh, fresh if cached is None else cached, price.output_usd_per_mtok or 0.0, source)

    def memory(self, at: Situation) -> Memory:
        """Return the memory of one's own accelerators in use: weights and caches. None over an API."""
        if self.served == "api":
            return Memory()
        from llmdrill.system.kinds.self_hosted import self_hosted_memory

        return self_hosted_memory(self, at, self.input_tokens(at), self.output_tokens(at))


@dataclass(frozen=True, slots=True)
class Part:
    """TTFT or TPOT: median, 95th percentile, what they rest on."""

    p50_s: float
    p95_s: float
    basis: Basis
    source: str
    note: str = ""

    def explained(self, name: str) -> Explained:
        """Return the median with the distribution it belongs to."""
        filled = f"lognormal({self.p50_s:.4g} s, {self.p95_s:.4g} s)"
        return Explained(name, self.p50_s, "seconds", "lognormal(p50, p95)", filled, self.source)


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per million tokens: fresh input, cached input, output."""

    fresh: float
    cached: float
    written: float
    source: str


def cached_share(call: ModelCall, at: Situation) -> float:
    """Return the share of input read from a prefix cache: stated, or of a prefix-cache stage before the call."""
    stages = [at.stages[name] for name in at.before]
    hits = [float(getattr(s, "hit_rate", 0.0)) for s in stages if getattr(s, "type", None) == "prefix"]
    return max([call.cached_share, *hits])


def _median(values: Array) -> float:
    """Return the median of at least one value; ``np.median`` would import numpy.ma to look for masks."""
    ordered, middle = np.sort(values), len(values) // 2
    return float(ordered[middle] + ordered[~middle]) / 2


def from_parts(ttft: Part, tpot: Part, written: Tokens, *, notes: tuple[str, ...]) -> Latency:
    """Return TTFT + (output − 1) · TPOT, both lognormal, one TPOT a request."""

    def draw_ttft(rng: np.random.Generator, n: int) -> Array:
        return draw_lognormal(rng, n, p50=ttft.p50_s, p95=ttft.p95_s)

    def draw_tpot(rng: np.random.Generator, n: int) -> Array:
        return draw_lognormal(rng, n, p50=tpot.p50_s, p95=tpot.p95_s)

    def sample(rng: np.random.Generator, n: int) -> Timing:
        first = draw_ttft(rng, n)
        return Timing(first + np.maximum(written.drawn - 1.0, 0.0) * draw_tpot(rng, n), first)

    output = _median(written.drawn)
    at_medians = explain(
        name="total_at_medians_s",
        value=ttft.p50_s + max(output - 1.0, 0.0) * tpot.p50_s,
        unit="seconds",
        formula="TTFT + (output tokens − 1) × TPOT, each at its median",
        filled=f"{ttft.p50_s:.4g} + ({output:.4g} − 1) × {tpot.p50_s:.4g}",
        source="definition of TPOT",
    )
    shown = (ttft.explained("ttft_p50_s"), tpot.explained("tpot_p50_s"), at_medians)
    basis = weakest((ttft.basis, tpot.basis))
    return Latency(sample, basis, shown, ttft=draw_ttft, tpot=draw_tpot, notes=notes)


def capped_lognormal_mean(*, p50: float, p95: float, cap: float) -> float:
    """Return the mean of min(X, cap) for a lognormal X by its median and 95th percentile.

    Formula:
        mean * Phi((ln cap - mu - sigma^2) / sigma) + cap * (1 - Phi((ln cap - mu) / sigma)).

    Source:
        The lognormal's partial expectation.

    >>> round(capped_lognormal_mean(p50=100, p95=400, cap=1e9), 1)
    142.6
    >>> capped_lognormal_mean(p50=100, p95=100, cap=50)
    50
    """
    tokens, phi = lognormal(p50=p50, p95=p95), NormalDist()
    if tokens.sigma == 0:
        return min(p50, cap)
    z = (math.log(cap) - tokens.mu) / tokens.sigma
    return tokens.mean * phi.cdf(z - tokens.sigma) + cap * (1.0 - phi.cdf(z))
