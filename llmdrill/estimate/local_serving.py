"""What a pass of a decoder costs on the machine that was calibrated: a sum of terms, each with a solved constant."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.catalog.load import LOCAL
from llmdrill.catalog.local import CACHE_BYTES, WEIGHT_BYTES
from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.serving_steps import Passes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.local import EngineCosts, LocalAccelerator, MachineProfile

ROWS: Final = {"torch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), "native": (1, 8, 32)}
_SOURCE: Final = "roofline: Williams et al. 2009, doi:10.1145/1498765.1498785; constants measured on this machine"


@dataclass(frozen=True, slots=True)
class LocalPass:
    """One pass: ``tokens`` of each prompt, or one token a sequence after ``tokens`` cached ones.

    Attributes:
        held_tokens: Of each prompt that a prefix cache holds, before those that are read.
    """

    kind: Literal["prefill", "decode"]
    tokens: float
    sequences: float = 1.0
    held_tokens: float = 0.0

    @property
    def rows(self) -> float:
        """New tokens: the rows of every matrix product."""
        return self.sequences * (self.tokens if self.kind == "prefill" else 1.0)

    @property
    def cached_tokens(self) -> float:
        """Tokens that the cache holds before the pass, of all sequences."""
        return self.sequences * (self.held_tokens if self.kind == "prefill" else self.tokens)

    @property
    def pairs(self) -> float:
        """Query-key pairs of one layer and head; a prompt's token sees half of the others on average."""
        seen = self.held_tokens + self.tokens / 2 if self.kind == "prefill" else self.tokens
        return self.rows * seen


def pass_terms(
    model: ModelRecord, one: LocalPass, *, engine: str, precision: str, profile: MachineProfile
) -> dict[str, float]:
    """Return what the constants of an engine are multiplied with, by name.

    Formula:
        pass: 1; layer: layers; weights: weight bytes / bandwidth(working set); cache: bytes of keys and values read /
        bandwidth(working set); outputs: values that the layers' matrices yield and logits; pairs: layers * heads *
        head_dim * query-key pairs; rows_r: parameters multiplied with r rows, between two measured r by straight line.

    Args:
        model: A dense decoder with full attention.
        one: The pass.
        engine: ``torch`` or ``native``.
        precision: Of the weights.
        profile: Only its bandwidths count.

    Returns:
        A quantity a term; seconds for weights and cache, counts for the others.

    Raises:
        UsageError: If the model is no dense decoder with full attention, or its widths are unknown.

    Error:
        Widths beyond the probes' are extrapolated; pieces of caches and threads are nowhere in it.
    Source:
        Williams et al. 2009, doi:10.1145/1498765.1498785 for bytes and FLOPs; arithmetic of the architecture.

    >>> from llmdrill.catalog.local import MachineProfile, Tier
    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.measurement import Machine
    >>> flat = MachineProfile("", Machine("", 1, 1, 1, "", ()), (Tier(1.0, 1e10, 1e10),), 1e11, 1e11, (), (), 1)
    >>> step, model = LocalPass("decode", 0), find_model("smollm2-135m")
    >>> terms = pass_terms(model, step, engine="native", precision="int8", profile=flat)
    >>> round(1e3 * terms["weights"], 2), terms["rows_1"] == model.linear_parameters + 49152 * 576
    (13.45, True)
    """
    work = _work(model)
    shape = model.attention
    weights_bytes = (work.layers + work.head) * WEIGHT_BYTES[precision]
    cache_bytes = one.cached_tokens * 2 * model.layers * shape.kv_heads * shape.head_dim * CACHE_BYTES[precision]
    bandwidth = profile.bandwidth_bytes_per_s(weights_bytes + cache_bytes)
    terms = {
        f"{one.kind}_pass": 1.0,
        f"{one.kind}_layer": float(model.layers),
        "weights": weights_bytes / bandwidth,
        "cache": cache_bytes / bandwidth,
        "outputs": work.outputs * one.rows + work.vocab * one.sequences,
        f"{one.kind}_pairs": one.pairs * model.layers * work.query_values,
    }
    for parameters, rows in ((work.layers, one.rows), (work.head, one.sequences)):
        for name, share in _row_shares(rows, ROWS[engine]):
            terms[name] = terms.get(name, 0.0) + share * parameters
    return terms


def pass_s(model: ModelRecord, one: LocalPass, *, costs: EngineCosts, profile: MachineProfile) -> Explained:
    """Return the time of one pass, with the sum that makes it.

    Formula:
        The sum over terms of constant * quantity, as pass_terms says.

    Args:
        model: A dense decoder with full attention.
        one: The pass.
        costs: Of the engine that runs it.
        profile: Of the machine.

    Returns:
        Seconds, explained.

    Raises:
        UsageError: As pass_terms says.

    Error:
        The profile's bands: 80 % of probes left out of the fit lay within.
    Source:
        As pass_terms says.

    >>> from llmdrill.catalog.local import EngineCosts, MachineProfile, Tier
    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.measurement import Machine
    >>> flat = MachineProfile("", Machine("", 1, 1, 1, "", ()), (Tier(1.0, 1e10, 1e10),), 1e11, 1e11, (), (), 1)
    >>> reads = EngineCosts("native", "int8", ("weights",), (1.25,), 1)
    >>> pass_s(find_model("smollm2-135m"), LocalPass("decode", 0), costs=reads, profile=flat).filled
    'weights 16.8 ms = 16.8 ms'
    """
    terms = pass_terms(model, one, engine=costs.engine, precision=costs.precision, profile=profile)
    solved = dict(zip(costs.terms, costs.constants, strict=True))
    parts: dict[str, float] = {}
    for name, quantity in terms.items():
        family = "products" if name.startswith("rows_") else name.split("_")[-1]
        parts[family] = parts.get(family, 0.0) + solved.get(name, 0.0) * quantity
    seconds = sum(parts.values())
    filled = " + ".join(f"{name} {_ms(part)}" for name, part in parts.items() if part >= seconds / 1000)
    name = "ttft_s" if one.kind == "prefill" else "tpot_s"
    formula = "pass + layers + weights / bandwidth + cache / bandwidth + outputs + query-key pairs + products"
    return Explained(name, seconds, "seconds", formula, f"{filled} = {_ms(seconds)}", _SOURCE)


def _ms(seconds: float) -> str:
    return f"{figure(float(f'{1e3 * seconds:.3g}'))} ms"


@dataclass(frozen=True, slots=True)
class LocalPasses(Passes):
    """The passes of a model on this machine, from its profile; prompts are read between decode steps."""

    model: ModelRecord
    profile: MachineProfile

    def step_s(self, sequences: float, *, tokens_per_sequence: float = 1.0) -> float:
        """Return the time of one decode step."""
        one = LocalPass("decode", self.load.context_tokens, max(sequences * tokens_per_sequence, 1.0))
        return self.explained(one).value

    def prefill_s(self, *, prompts: float = 1.0, sequences: float = 0.0) -> float:  # noqa: ARG002 - nothing is mixed
        """Return the time of prefilling prompts, together; what a prefix cache holds of them is seen, not read."""
        fresh = self.load.fresh_tokens
        return self.explained(LocalPass("prefill", fresh, prompts, self.load.input_tokens - fresh)).value

    def first_token_overhead_s(self) -> float:
        """Return 0: the passes were timed from outside."""
        return 0.0

    def explained(self, one: LocalPass) -> Explained:
        """Return the time of a pass with its sum."""
        costs = self.profile.engine_costs(self.load.precision, decodes=one.kind == "decode")
        return pass_s(self.model, one, costs=costs, profile=self.profile)


def local_passes(model: ModelRecord, passes: Passes, accelerator: LocalAccelerator) -> LocalPasses:
    """Return the passes of a model on this machine.

    Raises:
        UsageError: If the model is no dense decoder with full attention, is split over devices, its precision was
            not measured, or another cache is asked for than the engine keeps.
    """
    _work(model)
    if passes.load.devices > 1:
        raise UsageError(f"'{LOCAL}' is one machine: nothing can be split over {passes.load.devices} of it")
    kept = accelerator.cache_bytes_per_value(passes.load.precision)
    if passes.load.cache_bytes_per_value != kept:
        what = f"'{LOCAL}' keeps {kept:g} bytes for a cached value beside {passes.load.precision} weights"
        raise UsageError(f"{what}: leave out the cache's type")
    return LocalPasses(passes.replica, passes.load, passes.constants, model, accelerator.profile)


@dataclass(frozen=True, slots=True)
class _Work:
    layers: float  # parameters of all layers' matrices
    head: float
    outputs: float  # values that the layers' matrices yield for one token
    query_values: float  # of one layer and token
    vocab: float


def _work(model: ModelRecord) -> _Work:
    shape, inner = model.attention, model.feed_forward
    dense = model.kind == "decoder" and model.experts is None and model.state is None
    full = shape.latent_values is None and shape.layers == model.layers and not shape.windows
    if not (dense and full) or inner is None or shape.heads is None:
        raise UsageError(f"'{LOCAL}' predicts dense decoders with full attention, and '{model.name}' is none")
    query, cached = shape.heads * shape.head_dim, 2 * shape.kv_heads * shape.head_dim
    each = model.hidden * (2 * query + cached) + 3 * model.hidden * inner
    outputs = query + cached + 2 * model.hidden + 2 * inner
    head = float(model.vocab_size * model.hidden)
    return _Work(float(model.layers * each), head, float(model.layers * outputs), float(query), float(model.vocab_size))


def _row_shares(rows: float, measured: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """Yield the measured row counts around ``rows`` with their weights; beyond the last, time grows with the rows."""
    if rows >= measured[-1]:
        yield f"rows_{measured[-1]}", rows / measured[-1]
        return
    rows = max(rows, float(measured[0]))
    for low, high in itertools.pairwise(measured):
        if low <= rows < high:
            share = (rows - low) / (high - low)
            yield f"rows_{low}", 1.0 - share
            yield f"rows_{high}", share
