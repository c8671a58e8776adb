"""The computations that a scenario's number questions may name, each with fixed arguments and a formula to show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.load import find_accelerator, find_model, find_price
from llmdrill.errors import UnknownNameError, UsageError, did_you_mean, nearest_names
from llmdrill.estimate.cost import explain_api_cost
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.kv_cache import explain_kv_cache
from llmdrill.estimate.lognormal import lognormal
from llmdrill.estimate.memory import ideal_weights_bytes
from llmdrill.estimate.quantization import explain_checkpoint
from llmdrill.estimate.serving_load import Load
from llmdrill.estimate.serving_steps import floor_prefill_s, floor_step_s
from llmdrill.system.kinds.base import explain
from llmdrill.system.kinds.passages import chunks_expected
from llmdrill.system.kinds.vector_search import explain_index
from llmdrill.system.scenario import HOURS_PER_MONTH
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmdrill.system.estimate import Estimate
    from llmdrill.system.scenario import NumberQuestion, Scenario, Value
    from llmdrill.units import Dimension

PRECISION_OF_BITS: Final = {32.0: "fp32", 16.0: "bf16", 8.0: "fp8", 4.0: "int4"}
DAYS_PER_MONTH: Final = HOURS_PER_MONTH / 24
Z975: Final = 1.959963984540054  # 97.5th percentile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class ComputedNumber:
    """The tool's answer to a number question: in SI, or the name of a stage; None if it cannot be told, and why."""

    value: float | str | None
    explained: Explained | None = None
    why_unknown: str = ""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The fixed arguments of a computation, with the scenario's workload for what is not given."""

    given: Mapping[str, Value]
    scenario: Scenario

    def text(self, name: str, default: str | None = None) -> str:
        """Return an argument that is a name."""
        value = self.given.get(name, default)
        if value is None:
            raise UsageError(f"the argument '{name}' is missing")
        return str(value)

    def number(self, name: str, default: float | None = None, *, dimension: Dimension = "count") -> float:
        """Return an argument that is a quantity, in SI."""
        value = self.given.get(name, default)
        if value is None:
            raise UsageError(f"the argument '{name}' is missing")
        return float(value) if isinstance(value, int | float) else parse_quantity(value, dimension)

    def whole(self, name: str, default: float | None = None) -> int:
        """Return an argument that is a whole count."""
        value = self.number(name, default)
        if not value.is_integer():
            raise UsageError(f"the argument '{name}' must be a whole number, got {value:g}")
        return int(value)

    def precision(self) -> str:
        """Return the precision: by its name, or by its bits."""
        if "bits" not in self.given:
            return self.text("precision", "bf16")
        bits = self.number("bits")
        if bits not in PRECISION_OF_BITS:
            raise UsageError(f"bits must be one of 32, 16, 8, 4, got {bits:g}")
        return PRECISION_OF_BITS[bits]

    @property
    def input_tokens(self) -> float:
        """Mean input of a request."""
        tokens = self.scenario.workload.input_tokens
        return self.number("input_tokens", lognormal(p50=tokens.p50, p95=tokens.p95).mean)

    @property
    def output_tokens(self) -> float:
        """Mean output of a request."""
        tokens = self.scenario.workload.output_tokens
        return self.number("output_tokens", lognormal(p50=tokens.p50, p95=tokens.p95).mean)

    @property
    def requests_per_month(self) -> float:
        """Requests of a month."""
        return self.number("requests_per_month", self.scenario.workload.requests_per_month)


def _kv_cache(of: Arguments) -> Explained:
    return explain_kv_cache(
        find_model(of.text("model")).attention,
        context_tokens=of.number("context_tokens"),
        sequences=of.number("sequences", 1.0),
        bytes_per_value=of.number("bytes_per_value", 2.0),
    )


def _weights(of: Arguments) -> Explained:
    """Return the weights as a checkpoint of the precision stores them; of so many bits each, if bits are given."""
    model = find_model(of.text("model"))
    if "bits" not in of.given:
        return explain_checkpoint(model, weight_format=of.precision())
    if model.parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown")
    bits = of.number("bits")
    of.precision()  # refuses bits that no precision has
    value = ideal_weights_bytes(parameters=model.parameters, bits=bits)
    filled = f"{figure(model.parameters)} × {bits:g} / 8"
    return explain("weights_bytes", value, "bytes", "parameters × bits / 8", filled, model.source)


def _tokens_per_month(of: Arguments) -> Explained:
    sent, written, requests = of.input_tokens, of.output_tokens, of.requests_per_month
    filled = f"({figure(sent)} + {figure(written)}) × {figure(requests)}"
    formula = "(mean input tokens + mean output tokens) × requests a month"
    return explain("tokens_per_month", (sent + written) * requests, "count", formula, filled, "the scenario")


def _peak(of: Arguments) -> Explained:
    factor = of.number("peak_factor", of.scenario.workload.peak_factor)
    value = of.requests_per_month / (HOURS_PER_MONTH * 3600) * factor
    filled = f"{figure(of.requests_per_month)} / (730 × 3,600 s) × {factor:g}"
    formula = "requests a month / seconds of a month × peak factor"
    return explain("peak_requests_per_s", value, "per_second", formula, filled, "the scenario")


def _api_month(of: Arguments) -> Explained:
    sent = of.input_tokens
    return explain_api_cost(
        find_price(of.text("model")),
        requests=of.requests_per_month,
        input_tokens=sent,
        output_tokens=of.output_tokens,
        cached_input_tokens=sent * of.number("cached_share", 0.0, dimension="share"),
    )


def _index(of: Arguments) -> Explained:
    return explain_index(
        vectors=of.whole("vectors"),
        dimensions=of.whole("dimensions"),
        links=of.whole("links", 0.0),
        each_bytes=of.number("bytes_per_value", 4.0),
    )


def _chunks(of: Arguments) -> Explained:
    tokens, size = of.number("corpus_tokens"), of.number("size_tokens")
    overlap, documents = of.number("overlap_tokens", 0.0), of.number("documents", 0.0)
    value = chunks_expected(corpus_tokens=tokens, size_tokens=size, overlap_tokens=overlap, documents=documents)
    filled = (
        f"({figure(tokens)} − {figure(documents)} × {overlap:g}) / ({size:g} − {overlap:g}) + {figure(documents)} / 2"
    )
    formula = "(corpus tokens − documents × overlap) / (size − overlap) + documents / 2"
    return explain("chunks", value, "count", formula, filled, "counting")


def _in_flight(of: Arguments) -> Explained:
    rate = of.number("requests_per_s", of.scenario.workload.peak_requests_per_s, dimension="per_second")
    seconds = of.number("seconds", dimension="seconds")
    source = "Little 1961, doi:10.1287/opre.9.3.383"
    filled = f"{figure(rate)} × {figure(seconds)}"
    return explain("sequences", rate * seconds, "count", "requests per second × seconds each", filled, source)


def _decode_floor(of: Arguments) -> Explained:
    model, device = find_model(of.text("model")), find_accelerator(of.text("accelerator"))
    load = Load(1.0, 1.0, 1.0, int(of.number("tensor_parallel", 1.0)), of.precision())
    value = floor_step_s(model, device, load, cache=False)
    read = value * device.bandwidth_bytes_per_s * load.tensor_parallel
    filled = f"{figure(read)} B / ({figure(device.bandwidth_bytes_per_s)} B/s × {load.tensor_parallel})"
    formula = "bytes of the weights one token reads / (memory bandwidth × devices)"
    return explain("decode_floor_s", value, "seconds", formula, filled, device.source)


def _prefill_floor(of: Arguments) -> Explained:
    model, device = find_model(of.text("model")), find_accelerator(of.text("accelerator"))
    tokens = of.number("tokens", of.input_tokens)
    load = Load(1.0, tokens, 1.0, int(of.number("tensor_parallel", 1.0)), of.precision())
    value = floor_prefill_s(model, device, load)
    formula = "(2 × parameters multiplied × tokens + attention) / (peak rate × devices)"
    filled = f"{model.name}, {figure(tokens)} tokens, {load.precision} on {load.tensor_parallel} × {device.name}"
    return explain("prefill_floor_s", value, "seconds", formula, filled, device.source)


def _human_hours(of: Arguments) -> Explained:
    share = of.number("share", dimension="share")
    seconds = of.number("seconds_per_item", dimension="seconds")
    value = of.requests_per_month / DAYS_PER_MONTH * share * seconds / 3600
    filled = f"{figure(of.requests_per_month)} / {DAYS_PER_MONTH:.4g} × {share:g} × {seconds:g} / 3,600"
    formula = "requests a month / days of a month × share × seconds each / 3,600"
    return explain("human_hours_per_day", value, "count", formula, filled, "the scenario")


def _needed_sample(of: Arguments) -> Explained:
    share, margin = of.number("share", 0.5, dimension="share"), of.number("margin", dimension="share")
    value = float(math.ceil((Z975 / margin) ** 2 * share * (1.0 - share)))
    filled = f"1.96² × {share:g} × (1 − {share:g}) / {margin:g}²"
    formula = "z² × share × (1 − share) / margin², rounded up; z of a 95 % interval"
    return explain("sample", value, "count", formula, filled, "the normal approximation of a binomial share")


@dataclass(frozen=True, slots=True)
class _Computation:
    """A calculator and the names of its arguments."""

    compute: Callable[[Arguments], Explained]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_LOAD: Final = ("requests_per_month", "input_tokens", "output_tokens")
COMPUTATIONS: Final[Mapping[str, _Computation]] = {
    "kv_cache_bytes": _Computation(_kv_cache, ("model", "context_tokens"), ("sequences", "bytes_per_value")),
    "weights_bytes": _Computation(_weights, ("model",), ("precision", "bits")),
    "tokens_per_month": _Computation(_tokens_per_month, (), _LOAD),
    "peak_requests_per_s": _Computation(_peak, (), ("requests_per_month", "peak_factor")),
    "api_usd_per_month": _Computation(_api_month, ("model",), (*_LOAD, "cached_share")),
    "index_bytes": _Computation(_index, ("vectors", "dimensions"), ("bytes_per_value", "links")),
    "chunks_expected": _Computation(_chunks, ("corpus_tokens", "size_tokens"), ("overlap_tokens", "documents")),
    "sequences_in_flight": _Computation(_in_flight, ("seconds",), ("requests_per_s",)),
    "decode_floor_s": _Computation(_decode_floor, ("model", "accelerator"), ("precision", "bits", "tensor_parallel")),
    "prefill_floor_s": _Computation(
        _prefill_floor, ("model", "accelerator"), ("tokens", "input_tokens", "precision", "bits", "tensor_parallel")
    ),
    "human_hours_per_day": _Computation(_human_hours, ("share", "seconds_per_item"), ("requests_per_month",)),
    "needed_sample": _Computation(_needed_sample, ("margin",), ("share",)),
}
ALIASES: Final[Mapping[str, str]] = {"requests": "requests_per_month", "rate": "requests_per_s"}
OF_DESIGN: Final[Mapping[str, Callable[[Estimate], float | str | None]]] = {
    "design.usd_per_request": lambda estimate: estimate.total.usd_per_request,
    "design.usd_per_month": lambda estimate: estimate.total.usd_per_month,
    "design.ttft_p50": lambda estimate: estimate.total.ttft_p50_s,
    "design.ttft_p95": lambda estimate: estimate.total.ttft_p95_s,
    "design.total_p50": lambda estimate: estimate.total.p50_s,
    "design.total_p95": lambda estimate: estimate.total.p95_s,
    "design.memory_bytes": lambda estimate: estimate.total.memory_bytes,
    "design.human_share": lambda estimate: estimate.total.human_share,
    "design.success_share": lambda estimate: estimate.total.success_share,
    "design.bottleneck": lambda estimate: estimate.bottleneck,
}


def check_computation(question: NumberQuestion) -> None:
    """Refuse a computation that is not known, or whose arguments are not its own.

    Raises:
        UnknownNameError: If there is no such computation.
        UsageError: If an argument is unknown or missing.
    """
    name, given = question.computed.by, {ALIASES.get(key, key) for key in question.computed.arguments}
    if name in OF_DESIGN:
        known = _Computation(_peak)
    elif name in COMPUTATIONS:
        known = COMPUTATIONS[name]
    else:
        raise UnknownNameError("computation", name, (*COMPUTATIONS, *OF_DESIGN))
    allowed = (*known.required, *known.optional)
    for argument in sorted(given - set(allowed)):
        hint = did_you_mean(nearest_names(argument, allowed)) or f" (it takes {', '.join(allowed) or 'none'})"
        raise UsageError(f"'{name}' takes no argument '{argument}'{hint}")
    missing = [argument for argument in known.required if argument not in given]
    if missing:
        raise UsageError(f"'{name}' needs the argument '{missing[0]}'")


def compute_number(question: NumberQuestion, scenario: Scenario, estimate: Estimate | None) -> ComputedNumber:
    """Return the tool's answer to a number question; what asks about a design takes it from its estimate.

    Raises:
        UnknownNameError: If the computation, a model or an accelerator is not known.
        UsageError: If an argument is unknown, missing or unreadable.
    """
    check_computation(question)
    name = question.computed.by
    if name in OF_DESIGN:
        return _of_design(name, question, estimate)
    given = {ALIASES.get(key, key): value for key, value in question.computed.arguments.items()}
    explained = COMPUTATIONS[name].compute(Arguments(given, scenario))
    return ComputedNumber(explained.value, explained)


def _of_design(name: str, question: NumberQuestion, estimate: Estimate | None) -> ComputedNumber:
    if estimate is None:
        return ComputedNumber(None, why_unknown="there is no design to estimate yet")
    value = OF_DESIGN[name](estimate)
    if value is None:
        over = estimate.total.over_capacity
        why = f"over capacity: {over}" if over else "; ".join(estimate.notes) or "the estimate has no figure"
        return ComputedNumber(None, why_unknown=why)
    if isinstance(value, str) or question.dimension == "stage":
        return ComputedNumber(value)
    formula = f"from the estimate of your design ({estimate.draws:,} drawn requests, seed {estimate.seed})"
    filled = f"basis: {estimate.total.basis}"
    explained = Explained(name, value, question.dimension, formula, filled, "llmdrill estimate")
    return ComputedNumber(value, explained)
