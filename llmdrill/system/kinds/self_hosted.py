"""A language model on accelerators of one's own: the batch follows from the load, latency and memory from the batch."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.catalog.load import LOCAL, constants_of, find_accelerator, find_model, find_serving
from llmdrill.errors import UnknownNameError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.queueing import resident_batch, wait_probability
from llmdrill.estimate.selfhost import rental_usd_per_month
from llmdrill.estimate.serving import DEFAULT_ENGINE
from llmdrill.estimate.serving_load import Load, served_precision
from llmdrill.estimate.serving_point import most_resident, replica_bytes
from llmdrill.estimate.serving_steps import Passes, passes
from llmdrill.estimate.serving_work import device_weights_bytes
from llmdrill.system.kinds.base import Cost, Latency, Memory, Timing, explain
from llmdrill.units import format_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord, ServingConstants
    from llmdrill.system.kinds.base import Array, Situation
    from llmdrill.system.kinds.model_call import ModelCall, Tokens

GRID: Final = 9  # points between which times are interpolated
ENGINE_CAP: Final = 1024.0  # assumed: no engine is set to hold more sequences than this at once
BUSIEST: Final = 0.95  # of the time that prefills may take before the load counts as more than can be served
LITTLE: Final = "Little 1961, doi:10.1287/opre.9.3.383"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica under its share of the busy hour."""

    model: ModelRecord
    accelerator: Accelerator
    constants: ServingConstants
    tensor_parallel: int
    precision: str
    input_tokens: float
    fresh_tokens: float  # of the input: those not read from a prefix cache
    output_tokens: float
    arrivals_per_s: float
    most_sequences: float
    notes: tuple[str, ...] = ()

    @property
    def weights_bytes(self) -> float:
        """Weights of the whole model."""
        return device_weights_bytes(self.model, self.load) * self.load.devices

    @property
    def load(self) -> Load:
        """Lengths, precision and split; its batch does not count."""
        cached = 1.0 - self.fresh_tokens / self.input_tokens
        load = Load(1.0, self.input_tokens, self.output_tokens, self.tensor_parallel, self.precision)
        return replace(_as_held(load, self.accelerator), prefix_share=cached)

    @property
    def passes(self) -> Passes:
        """The passes of this replica."""
        return _passes(self)

    def step_s(self, batch: float) -> float:
        """One decode step of a batch."""
        return self.passes.step_s(batch)

    def prefill_s(self, tokens: float) -> float:
        """The prefill of one prompt, alone."""
        fresh = max(tokens, 1.0)
        load = replace(self.load, input_tokens=max(self.input_tokens - self.fresh_tokens, 0.0) + fresh)
        cached = replace(load, prefix_share=1.0 - fresh / load.input_tokens)
        return replace(self.passes, load=cached).prefill_s()

    def tpot_s(self, batch: float) -> float:
        """Time per output token in a batch, the prefills of newcomers included."""
        newcomers = max(batch - 1.0, 0.0) / self.output_tokens
        return self.step_s(batch) + newcomers * self.passes.stall_s(batch)

    def ttft_s(self, batch: float) -> float:
        """Mean time to first token in a batch."""
        return self.overhead_s + _mean_prefill_s(self) + self.queued_s + self.step_s(batch) / 2.0

    @property
    def overhead_s(self) -> float:
        """What a first token takes beside the passes."""
        return self.passes.first_token_overhead_s()

    @property
    def queued_s(self) -> float:
        """Mean wait for prefills of requests that came before: M/D/1, as prompts are prefilled one after another."""
        prefill = _mean_prefill_s(self)
        busy = min(self.arrivals_per_s * prefill, BUSIEST)
        return busy / (2.0 * (1.0 - busy)) * prefill

    def residence_s(self, batch: float) -> float:
        """Time from arrival to the last token of a mean request."""
        return self.ttft_s(batch) + max(self.output_tokens - 1.0, 0.0) * self.tpot_s(batch)

    def resident(self) -> float | None:
        """Other sequences a newcomer meets, by Little's law; None if the load is more than can be served."""
        return _resident(self) if self.most_sequences >= 1 else None


@functools.lru_cache(maxsize=256)
def _passes(replica: Replica) -> Passes:
    return passes(replica.model, replica.accelerator, replica.load, replica.constants)


@functools.lru_cache(maxsize=256)
def _mean_prefill_s(replica: Replica) -> float:
    return replica.prefill_s(replica.fresh_tokens)


@functools.lru_cache(maxsize=256)
def _resident(replica: Replica) -> float | None:
    return resident_batch(
        lambda others: replica.residence_s(others + 1.0),
        arrivals_per_s=replica.arrivals_per_s,
        max_batch=replica.most_sequences,
    )


def replica_of(call: ModelCall, at: Situation, sent: Tokens, written: Tokens) -> Replica:
    """Return one replica of a self-hosted model under its share of the busy hour.

    Raises:
        UnknownNameError: If the model or the accelerator is not in the catalogue.
    """
    from llmdrill.system.kinds.model_call import cached_share

    model, accelerator = find_model(call.model), find_accelerator(str(call.on))
    constants, notes = engine_constants(call, accelerator)
    stated = call.precision if "precision" in call.model_fields_set else None
    precision = served_precision(model, stated)
    context_load = Load(1.0, sent.mean, max(written.mean, 1.0), call.tensor_parallel, precision)
    held = most_resident(model, accelerator, _as_held(context_load, accelerator))
    return Replica(
        model,
        accelerator,
        constants,
        call.tensor_parallel,
        precision,
        sent.mean,
        max(sent.mean * (1.0 - cached_share(call, at)), 1.0),
        max(written.mean, 1.0),
        at.peak_per_s / call.replicas,
        min(float(call.max_sequences or ENGINE_CAP), held),
        notes,
    )


def _as_held(load: Load, accelerator: Accelerator) -> Load:
    """Return the load with the bytes that this accelerator's engine holds of cached values and of weights."""
    return replace(
        load,
        cache_bytes_per_value=accelerator.cache_bytes_per_value(load.precision),
        prompt_bytes_per_weight=accelerator.prompt_bytes_per_weight(load.precision),
    )


def engine_constants(call: ModelCall, accelerator: Accelerator) -> tuple[ServingConstants, tuple[str, ...]]:
    """Return the constants of a call's engine, and what a reader must know of them."""
    if accelerator.name == LOCAL:
        engine = call.engine if "engine" in call.model_fields_set else LOCAL
        return constants_of(accelerator, engine), (f"'{LOCAL}' is this machine, {accelerator.note}",)
    try:
        return find_serving(call.engine), ()
    except UnknownNameError:
        note = f"no constants are fitted to the engine '{call.engine}': those of '{DEFAULT_ENGINE}' are taken"
        return find_serving(DEFAULT_ENGINE), (note,)


def self_hosted_latency(call: ModelCall, at: Situation, sent: Tokens, written: Tokens) -> Latency:
    """Return latency at the batch that the busy hour keeps resident (Little's law), or why there is none."""
    replica = replica_of(call, at, sent, written)
    others = replica.resident()
    if others is None:
        return Latency(_nothing, "formula", over_capacity=_over_capacity(call, at, replica), notes=replica.notes)
    fresh = sent.drawn * (replica.fresh_tokens / replica.input_tokens)
    sizes = np.linspace(float(fresh.min()), float(fresh.max()) + 1.0, GRID)
    prefills = np.array([replica.prefill_s(float(tokens)) for tokens in sizes])
    batches = np.linspace(1.0, max(2.0, min(replica.most_sequences, others + 6.0 * np.sqrt(others) + 6.0)), GRID)
    tpots = np.array([replica.tpot_s(float(batch)) for batch in batches])
    slots = int(replica.most_sequences)
    residence = replica.residence_s(others + 1.0)
    waits = wait_probability(arrivals_per_s=replica.arrivals_per_s, service_s=residence, servers=slots)
    mean_wait = residence / max(slots - replica.arrivals_per_s * residence, 1e-9)
    queued_prefills = replica.queued_s
    fixed = replica.overhead_s + replica.step_s(others + 1.0) / 2.0

    def met(rng: np.random.Generator, n: int) -> Array:
        batch: Array = np.minimum(1.0 + rng.poisson(others, n), replica.most_sequences)
        return batch

    def ttft_at(rng: np.random.Generator, n: int) -> Array:
        queued = np.where(rng.random(n) < waits, rng.exponential(mean_wait, n), 0.0)
        before = rng.exponential(queued_prefills, n)
        ttft: Array = fixed + np.interp(fresh, sizes, prefills) + before + queued
        return ttft

    def sample(rng: np.random.Generator, n: int) -> Timing:
        batch = met(rng, n)
        first = ttft_at(rng, n)
        return Timing(first + np.maximum(written.drawn - 1.0, 0.0) * np.interp(batch, batches, tpots), first)

    return Latency(
        sample,
        "formula",
        _shown(replica, others),
        ttft=ttft_at,
        tpot=lambda rng, n: np.interp(met(rng, n), batches, tpots),
        notes=(*replica.notes, _band(replica)),
    )


def _nothing(rng: np.random.Generator, n: int) -> Timing:  # noqa: ARG001 - a sampler's signature
    return Timing(np.zeros(n), np.zeros(n))


def _over_capacity(call: ModelCall, at: Situation, replica: Replica) -> str:
    devices = f"{replica.tensor_parallel} × {replica.accelerator.name}"
    if replica.most_sequences < 1:
        held = format_bytes(replica.accelerator.memory_bytes * replica.tensor_parallel)
        weights = format_bytes(replica.weights_bytes)
        return f"{replica.model.name} does not fit: weights of {weights} and one sequence on {devices} ({held})"
    served = call.replicas * replica.most_sequences / replica.residence_s(replica.most_sequences)
    return (
        f"{at.peak_per_s:.3g} requests/s arrive in the busy hour, but {call.replicas} replica(s) of "
        f"{replica.model.name} on {devices} serve at most about {served:.3g}/s"
    )


def _shown(replica: Replica, others: float) -> tuple[Explained, ...]:
    batch, source = others + 1.0, replica.constants.source
    step, prefill = replica.step_s(batch), replica.prefill_s(replica.fresh_tokens)
    newcomers = f"{figure(batch - 1.0)} / {figure(replica.output_tokens)}"
    return (
        explain(
            "batch",
            batch,
            "count",
            "1 + arrivals × seconds in the system (Little's law, solved for the batch)",
            f"1 + {figure(replica.arrivals_per_s)}/s × {figure(replica.residence_s(batch))} s",
            LITTLE,
        ),
        explain(
            "ttft_s",
            replica.ttft_s(batch),
            "seconds",
            "overhead + prefill + prefills before it (M/D/1) + decode step / 2",
            f"{figure(replica.overhead_s)} + {figure(prefill)} + {figure(replica.queued_s)} + {figure(step)} / 2",
            source,
        ),
        explain(
            "tpot_s",
            replica.tpot_s(batch),
            "seconds",
            "decode step + (batch − 1) / output tokens × stall of a newcomer's prefill",
            f"{figure(step)} + {newcomers} × {figure(replica.passes.stall_s(batch))}",
            source,
        ),
    )


def _band(replica: Replica) -> str:
    mixture = replica.model.experts is not None
    ttft, tpot = (replica.constants.band(metric, mixture=mixture) for metric in ("ttft", "tpot"))
    return (
        f"80 % of measured runs lay at {ttft.low:g} to {ttft.high:g} times the predicted TTFT and at {tpot.low:g} to "
        f"{tpot.high:g} times the predicted TPOT"
    )


def self_hosted_memory(call: ModelCall, at: Situation, sent: Tokens, written: Tokens) -> Memory:
    """Return weights, activations and the caches of the sequences resident in the busy hour, all replicas."""
    replica = replica_of(call, at, sent, written)
    others = replica.resident()
    batch = replica.most_sequences if others is None else min(others + 1.0, replica.most_sequences)
    each = replica_bytes(replica.model, replica.load, resident=batch)
    held = call.replicas * each
    shown = explain(
        "memory_bytes",
        held,
        "bytes",
        "replicas × (weights + activations, cache and state of the resident sequences at full length)",
        f"{call.replicas} × ({figure(replica.weights_bytes)} + {figure(each - replica.weights_bytes)})",
        "counting",
    )
    beside = replica.load.prompt_bytes_per_weight
    twice = f"weights are held twice: {replica.precision} to decode, {beside:g} bytes each to read prompts"
    return Memory(held, (shown,), (twice,) if beside else ())


def self_hosted_cost(call: ModelCall) -> Cost:
    """Return the rent of all devices for a month; unknown if nobody stated a price."""
    accelerator = find_accelerator(str(call.on))
    rental = accelerator.rental
    own = call.usd_per_accelerator_hour
    if own is None and rental is None:
        what = f"no rental price of '{accelerator.name}' is known: give usd_per_accelerator_hour"
        return Cost(0.0, None, notes=(what,))
    per_hour = own if own is not None else (rental.usd_per_hour if rental else 0.0)
    source = f"{rental.provider}, {rental.source}, {rental.date}" if rental and own is None else "your figure"
    devices = call.replicas * call.tensor_parallel
    usd = rental_usd_per_month(usd_per_hour=per_hour, devices=devices)
    filled = f"{per_hour:g} × {devices} × 730"
    shown = explain("usd_per_month", usd, "usd", "usd per hour × devices × 730 hours", filled, source)
    return Cost(0.0, usd, (shown,))
