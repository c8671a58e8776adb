"""The serving model: TTFT and TPOT of a decoder under continuous batching, from shapes, datasheet and few constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import cache_room_bytes, weights_bytes
from llmdrill.estimate.serving_steps import Load, decode_step_s, floor_prefill_s, floor_step_s, prefill_s

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, Band, ModelRecord, ServingConstants

DEFAULT_ENGINE: Final = "continuous-batching"
_SOURCE: Final = "roofline (Williams et al. 2009) with constants fitted to published runs"


@dataclass(frozen=True, slots=True)
class Predicted:
    """A predicted time with its 80 % band and the least that physics allows.

    Attributes:
        value_s: The prediction.
        low_s: A tenth of the measured runs were below this.
        high_s: A tenth were above it.
        floor_s: At full bandwidth and full rate, alone on the device, with no overhead.
    """

    value_s: float
    low_s: float
    high_s: float
    floor_s: float


@dataclass(frozen=True, slots=True)
class ServingEstimate:
    """What one replica does at one point of operation.

    Attributes:
        ttft_s: Time to first token under closed-loop load of ``batch``, waiting included.
        tpot_s: Time per output token after the first, other requests' prefills included.
        step_s: One decode step alone.
        prefill_s: One prompt's prefill alone.
        weights_bytes: Of the whole model at its precision.
        memory_bytes: Weights and the cache of ``batch`` full-length sequences, over all devices.
        max_sequences: Full-length sequences that the devices hold; 0 if not even the weights fit.
        fits: Whether ``batch`` of them do.
        output_tokens_per_s: Of the whole replica.
        formulas: TPOT and TTFT with the numbers put in.
    """

    ttft_s: Predicted
    tpot_s: Predicted
    step_s: float
    prefill_s: float
    weights_bytes: float
    memory_bytes: float
    max_sequences: int
    fits: bool
    output_tokens_per_s: float
    formulas: tuple[Explained, ...]


def tpot_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time per output token, other requests' prefills included.

    Formula:
        decode_step_s + gamma * (batch - 1) / output_tokens * prefill_s: while a sequence writes its answer, each of
        the batch - 1 others ends once and a newcomer's prefill steals a share gamma of its time.

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Batch, lengths, precision, tensor_parallel.
        constants: Of the engine.

    Returns:
        Seconds: (total - TTFT) / (output tokens - 1), in the mean.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record. Without the interference term the median error was 44 % on 727 published runs.
    Source:
        Agrawal et al. 2024, arXiv:2403.02310, section 3: prefills stall ongoing decodes.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> model, device, engine = find_model("llama-3.1-8b"), find_accelerator("h100"), find_serving("default")
    >>> alone, crowded = (tpot_s(model, device, Load(b, 2048, 256), engine) for b in (1, 64))
    >>> alone < crowded
    True
    """
    step = decode_step_s(model, accelerator, load, constants)
    newcomers = max(load.batch - 1, 0) / load.output_tokens
    return step + constants.interference * newcomers * prefill_s(model, accelerator, load, constants)


def ttft_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time to first token when ``batch`` clients each send a request as soon as the last is answered.

    Formula:
        request_overhead + prefill_s * (1 + admission * (batch - 1)) + decode_step_s
        (some of the other prompts are before this one in the queue, and the running step must end).

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Batch, lengths, precision, tensor_parallel.
        constants: Of the engine.

    Returns:
        Seconds, in the mean.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record: far larger than TPOT's, because how requests bunch is not in the model. A
        static batch that starts all prompts together waits several times longer.
    Source:
        Agrawal et al. 2024, arXiv:2403.02310, section 3.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> model, device, engine = find_model("llama-3.1-8b"), find_accelerator("h100"), find_serving("default")
    >>> ttft_s(model, device, Load(1, 1024, 128), engine) > prefill_s(model, device, Load(1, 1024, 128), engine)
    True
    """
    waiting = constants.admission * max(load.batch - 1, 0)
    prefill = prefill_s(model, accelerator, load, constants)
    step = decode_step_s(model, accelerator, load, constants)
    return constants.request_overhead_s + prefill * (1 + waiting) + step


def serving_estimate(
    model: ModelRecord,
    accelerator: Accelerator,
    *,
    batch: float,
    input_tokens: float,
    output_tokens: float,
    tensor_parallel: int = 1,
    precision: str = "bf16",
    cache_bytes_per_value: float | None = None,
    engine: str = DEFAULT_ENGINE,
) -> ServingEstimate:
    """Return latency, memory and throughput of one replica under continuous batching.

    Formula:
        tpot_s, ttft_s, weights_bytes, kv_cache_bytes and cache_room_bytes, put together.

    Args:
        model: A decoder whose parameters are known.
        accelerator: One of the replica's devices.
        batch: Sequences resident at once; closed-loop concurrency, or what resident_batch finds for a rate.
        input_tokens: Prompt tokens of a request that are prefilled.
        output_tokens: Tokens of its answer.
        tensor_parallel: Devices that the replica is split over.
        precision: Of the weights.
        cache_bytes_per_value: Of the cache; default 2.
        engine: Which fitted constants.

    Returns:
        Predictions with 80 % bands and floors, memory, and the formulas with numbers put in.

    Raises:
        NumberError: If a number is not positive.
        UsageError: If the model is no decoder, or its parameters, the device's rate or the engine are unknown.

    Error:
        Measured by benchmarks/serving_accuracy.py; the figures stand in the engine's record in the catalogue.
    Source:
        As the functions put together.

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> model, device = find_model("llama-3.1-8b"), find_accelerator("h100")
    >>> estimate = serving_estimate(model, device, batch=16, input_tokens=1024, output_tokens=256)
    >>> estimate.tpot_s.floor_s < estimate.tpot_s.value_s and estimate.fits
    True
    """
    from llmdrill.catalog.load import find_serving

    if model.kind != "decoder":
        raise UsageError(f"'{model.name}' is an encoder: it writes no tokens")
    constants = find_serving(engine)
    load = Load(batch, input_tokens, output_tokens, tensor_parallel, precision, cache_bytes_per_value or 2.0)
    tpot = tpot_s(model, accelerator, load, constants)
    ttft = ttft_s(model, accelerator, load, constants)
    weights = _all_weights_bytes(model, precision)
    one_cache = kv_cache_bytes(
        model.attention,
        context_tokens=input_tokens + output_tokens,
        bytes_per_value=load.cache_bytes_per_value,
    )
    room = cache_room_bytes(weights_bytes=weights, memory_bytes=accelerator.memory_bytes, devices=tensor_parallel)
    return ServingEstimate(
        ttft_s=_predicted(ttft, constants.ttft_band, floor_prefill_s(model, accelerator, load)),
        tpot_s=_predicted(tpot, constants.tpot_band, floor_step_s(model, accelerator, load)),
        step_s=decode_step_s(model, accelerator, load, constants),
        prefill_s=prefill_s(model, accelerator, load, constants),
        weights_bytes=weights,
        memory_bytes=weights + batch * one_cache,
        max_sequences=int(max(room, 0.0) // one_cache),
        fits=room >= batch * one_cache,
        output_tokens_per_s=batch * output_tokens / (ttft + max(output_tokens - 1, 0) * tpot),
        formulas=tuple(explain(model, accelerator, load, constants) for explain in (_explain_tpot, _explain_ttft)),
    )


def _all_weights_bytes(model: ModelRecord, precision: str) -> float:
    if model.parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown; name a model of the catalogue")
    return weights_bytes(parameters=model.parameters, precision=precision)


def _predicted(value_s: float, band: Band, floor_s: float) -> Predicted:
    return Predicted(value_s, max(value_s * band.low, floor_s), value_s * band.high, floor_s)


def _explain_tpot(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> Explained:
    step = decode_step_s(model, accelerator, load, constants)
    prefill = prefill_s(model, accelerator, load, constants)
    value = tpot_s(model, accelerator, load, constants)
    return Explained(
        name="tpot_s",
        value=value,
        unit="seconds",
        formula="decode_step + gamma × (batch − 1) / output_tokens × prefill",
        filled=f"{figure(step)} s + {constants.interference:g} × {figure(max(load.batch - 1, 0))} / "
        f"{figure(load.output_tokens)} × {figure(prefill)} s = {figure(value)} s",
        source=_source(constants, constants.tpot_median_error),
    )


def _explain_ttft(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> Explained:
    step = decode_step_s(model, accelerator, load, constants)
    prefill = prefill_s(model, accelerator, load, constants)
    value = ttft_s(model, accelerator, load, constants)
    return Explained(
        name="ttft_s",
        value=value,
        unit="seconds",
        formula="request_overhead + prefill × (1 + admission × (batch − 1)) + decode_step",
        filled=f"{constants.request_overhead_s:g} s + {figure(prefill)} s × (1 + {constants.admission:g} × "
        f"{figure(max(load.batch - 1, 0))}) + {figure(step)} s = {figure(value)} s",
        source=_source(constants, constants.ttft_median_error),
    )


def _source(constants: ServingConstants, error: float) -> str:
    return f"{_SOURCE}: {constants.rows} runs, median error {error:.0%} ({constants.source})"
