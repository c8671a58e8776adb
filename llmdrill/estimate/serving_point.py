"""The replica at work: how many sequences are resident, who waits for whom, and the most it can do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import require_not_negative
from llmdrill.estimate.kv_cache import BLOCK_TOKENS, cache_copies, index_cache_bytes, kv_cache_bytes
from llmdrill.estimate.memory import USABLE_MEMORY_SHARE, activation_bytes
from llmdrill.estimate.serving_work import device_weights_bytes
from llmdrill.estimate.speculative import expected_accepted_tokens
from llmdrill.estimate.state import state_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator
    from llmdrill.estimate.serving_load import Load
    from llmdrill.estimate.serving_steps import Passes

REQUESTS_PER_CLIENT: Final = (
    10.0  # of the published closed-loop runs: InferenceMAX, README.md (num-prompts = 10 * conc)
)
MOST_SEQUENCES: Final = 2048.0  # TensorRT-LLM's default max_batch_size


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding.

    Attributes:
        acceptance_share: Probability that a drafted token is accepted.
        draft_tokens: Tokens drafted before each pass of the model.
        cost_ratio: Time of one pass of the draft model as a share of one step of the model.
    """

    acceptance_share: float
    draft_tokens: int
    cost_ratio: float

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that one pass of the model yields."""
        return expected_accepted_tokens(acceptance_share=self.acceptance_share, draft_tokens=self.draft_tokens)


@dataclass(frozen=True, slots=True)
class Point:
    """The replica at one point of operation, in seconds, means over requests.

    Attributes:
        resident: Sequences that decode at once.
        step_s: One decode step of them.
        decode_s: Time per token without newcomers: step_s, or less with speculative decoding.
        prefill_s: One prompt alone.
        stall_s: What one newcomer's prefill takes from each of the others.
        tpot_s: Time per output token after the first.
        first_s: From admission to the first token.
        wait_s: For a free slot, before that.
        waves: Batches that run one after another where memory does not hold a static batch at once.
    """

    resident: float
    step_s: float
    decode_s: float
    prefill_s: float
    stall_s: float
    overhead_s: float
    tpot_s: float
    first_s: float
    wait_s: float
    waves: int = 1

    @property
    def ttft_s(self) -> float:
        """Time to first token."""
        return self.first_s + self.wait_s


def sequence_bytes(model: ModelRecord, load: Load) -> float:
    """Return the cache and state of one full-length sequence on one device.

    Formula:
        ((kv_cache_bytes + index_cache_bytes) * cache_copies + state_bytes) / tensor_parallel, the cache in blocks of 16
        tokens.

    Args:
        model: A decoder.
        load: Lengths, cache_bytes_per_value and tensor_parallel count.

    Returns:
        Bytes.

    Raises:
        NumberError: If a count is negative.
        UsageError: If the heads cannot be split over so many devices.

    Error:
        As kv_cache_bytes and cache_copies.
    Source:
        Arithmetic.

    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> sequence_bytes(find_model("llama-3.1-8b"), Load(1, 1000, 24)) == 1024 * 131072
    True
    """
    shape, context, split = model.attention, load.input_tokens + load.output_tokens, load.tensor_parallel
    cache = kv_cache_bytes(
        shape, context_tokens=context, bytes_per_value=load.cache_bytes_per_value, block_tokens=BLOCK_TOKENS
    ) + index_cache_bytes(shape, context_tokens=context)
    return (cache * cache_copies(shape, tensor_parallel=split) + state_bytes(model.state)) / split


def replica_bytes(model: ModelRecord, load: Load, *, resident: float) -> float:
    """Return the memory of a replica that holds ``resident`` full-length sequences, over all its devices.

    Formula:
        (device_weights_bytes + activation_bytes) * devices + sequence_bytes * tensor_parallel * resident
    Args:
        model: A decoder whose parameters are known.
        load: Lengths, precision and parallelism count.
        resident: Sequences.

    Returns:
        Bytes.

    Raises:
        NumberError: If a count is negative.
        UsageError: If the model's parameters are unknown.

    Error:
        As place, which says the same of a single group of devices.
    Source:
        Arithmetic.

    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> replica_bytes(find_model("llama-3.1-8b"), Load(1, 1000, 24), resident=2)
    17067155456.0
    """
    require_not_negative(resident=resident)
    each = device_weights_bytes(model, load) + activation_bytes(model, tensor_parallel=load.tensor_parallel)
    return each * load.devices + sequence_bytes(model, load) * load.tensor_parallel * resident


def most_resident(model: ModelRecord, accelerator: Accelerator, load: Load) -> float:
    """Return how many full-length sequences a replica holds beside its weights; 0 if not even the weights fit.

    Formula:
        0.9 * (memory - device_weights_bytes - activation_bytes) / sequence_bytes * data_parallel

    Args:
        model: A decoder whose parameters are known.
        accelerator: One of the replica's devices.
        load: Lengths, precision and parallelism count.

    Returns:
        Sequences, not rounded.

    Raises:
        UsageError: If the model's parameters are unknown, or its heads do not split over so many devices.

    Error:
        This is TensorRT-LLM's rule, and of published runs with queues it is the better one. vLLM's, which place and
        fit_on use, fills 0.9 of the whole memory, weights included: a tenth of weights and activations less. On
        Llama-3.1-70B in fp8 on one H200 with 9,216 tokens published runs kept about 50; vLLM's rule gives 35.
    Source:
        TensorRT-LLM, KvCacheConfig.free_gpu_memory_fraction = 0.9 of what is free beside the weights
        (nvidia.github.io/TensorRT-LLM/examples/kvcacheconfig.html).

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> load = Load(64, 1024, 8192, precision="fp8", cache_bytes_per_value=1.0)
    >>> round(most_resident(find_model("llama-3.1-70b"), find_accelerator("h200"), load))
    40
    """
    held = device_weights_bytes(model, load) + activation_bytes(model, tensor_parallel=load.tensor_parallel)
    free, each = accelerator.memory_bytes - held, sequence_bytes(model, load)
    if free <= 0:
        return 0.0
    return USABLE_MEMORY_SHARE * free / each * load.data_parallel if each else math.inf


def closed_loop(
    passes: Passes,
    *,
    held: float,
    speculation: Speculation | None = None,
    requests_per_client: float = REQUESTS_PER_CLIENT,
) -> Point:
    """Return the replica under continuous batching while load.batch clients each keep one request in flight.

    Formula:
        TPOT = step(b) / tokens per pass + (b - 1) / output_tokens * stall: while a sequence writes its answer, each of
        the b - 1 others ends once, and a newcomer's prefill holds it up.
        TTFT = overhead + prefill * (1 + (b / groups - 1) / (2 r)) + step / 2 + wait: all clients start at once and
        send r requests each, so in one of r rounds a prompt waits for half of the others'.
        b = min(batch, held); wait = (batch - b) / b * seconds in service (Little's law: the others wait outside).

    Args:
        passes: Of the replica; their load says how many clients there are.
        held: Sequences that memory holds.
        speculation: None: one token a pass.
        requests_per_client: r.

    Returns:
        Means over the requests.

    Raises:
        NumberError: If the speculation's shares are none.

    Error:
        See the engine's record. Requests that arrive at random wait rho / (2 (1 - rho)) prefills in place of
        (b - 1) / (2 r), rho being the prefills' share of the time.
    Source:
        Agrawal et al. 2024, arXiv:2403.02310, section 3: prefills stall ongoing decodes; Little 1961,
        doi:10.1287/opre.9.3.383; r = 10: flymj/InferenceMAX@9e23e576, README.md, the client of the published runs.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> from llmdrill.estimate.serving_steps import passes
    >>> one = passes(find_model("llama-3.1-8b"), find_accelerator("h100"), Load(1, 1024, 128), find_serving("default"))
    >>> point = closed_loop(one, held=8)
    >>> point.tpot_s == point.step_s and point.wait_s == 0
    True
    """
    load = passes.load
    slots = max(load.batch - passes.constants.idle_slots, min(load.batch, 1.0))
    resident = min(slots, held) if held >= 1 else slots
    step = passes.step_s(resident)
    decode = step if speculation is None else _speculative_s(passes, resident, step, speculation)
    stall = passes.stall_s(resident)
    tpot = decode + max(resident - 1.0, 0.0) / load.output_tokens * stall
    prefill, groups = passes.prefill_s(), passes.replica.groups
    before = max(resident / groups - 1.0, 0.0) / (2.0 * requests_per_client)
    overhead = passes.first_token_overhead_s()
    first = overhead + prefill * (1.0 + before) + step / 2
    service = first + max(load.output_tokens - 1.0, 0.0) * tpot
    wait = (load.batch - resident) / resident * service
    return Point(resident, step, decode, prefill, stall, overhead, tpot, first, wait)


def static_batch(passes: Passes, *, held: float = math.inf, speculation: Speculation | None = None) -> Point:
    """Return the replica when load.batch prompts start together and all of them end before the next batch.

    Formula:
        TTFT = prefill of all prompts together; TPOT = step(batch) / tokens per pass. A static batch is run inside the
        engine: what a request takes outside it is not counted. A batch that memory does not hold at once runs in
        ceil(batch / held) waves; sequences of the k-th wait for k waves.

    Args:
        passes: Of the replica; their load says how large the batch is.
        held: Sequences that memory holds.
        speculation: None: one token a pass.

    Returns:
        What every request of the batch sees, none of them waiting for a batch to form.

    Raises:
        NumberError: If the speculation's shares are none.

    Error:
        Of 110 published rates of static batches (TensorRT-LLM 0.5 to 0.9) the median error is in the engine's record.
    Source:
        Yu et al. 2022, Orca, OSDI, section 2: request-level scheduling.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> from llmdrill.estimate.serving_steps import passes
    >>> load = Load(32, 1024, 128)
    >>> of = passes(find_model("llama-3.1-8b"), find_accelerator("h100"), load, find_serving("default"))
    >>> static_batch(of).ttft_s > 5 * closed_loop(of, held=64).ttft_s
    True
    """
    load = passes.load
    together = load.batch if held < 1 else min(load.batch, math.floor(held) if math.isfinite(held) else load.batch)
    step = passes.step_s(together)
    decode = step if speculation is None else _speculative_s(passes, together, step, speculation)
    prefill = passes.prefill_s(prompts=max(together / passes.replica.groups, 1.0))
    waves = math.ceil(load.batch / together)
    last = load.batch - (waves - 1) * together
    waited = together * (waves - 1) * (waves - 2) / 2 + last * (waves - 1)  # waves, summed over sequences
    wait = waited / load.batch * (prefill + max(load.output_tokens - 1.0, 0.0) * decode)
    return Point(together, step, decode, prefill, 0.0, 0.0, decode, prefill, wait, waves)


def most_output_tokens_per_s(passes: Passes, *, held: float, most_sequences: float = MOST_SEQUENCES) -> float:
    """Return the rate at which a replica writes while more requests wait than it can hold.

    Formula:
        b / (step(b) + b / output_tokens * stall), b = min(held, most_sequences): each step writes b tokens, and
        b / output_tokens of the sequences end and are replaced by newcomers whose prompts fill whole chunks.

    Args:
        passes: Of the replica; load.batch does not count.
        held: Sequences that memory holds.
        most_sequences: That the engine admits.

    Returns:
        Output tokens per second of the whole replica; 0 if it holds no sequence.

    Raises:
        Nothing.

    Error:
        See the band of ``throughput`` in the engine's record: nothing was fitted to such runs.
    Source:
        Conservation of sequences; prefill and decode share the device: Agrawal et al. 2024, arXiv:2403.02310.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> from llmdrill.estimate.serving_steps import passes
    >>> load = Load(1, 1000, 1000, precision="fp8", cache_bytes_per_value=1.0)
    >>> of = passes(find_model("llama-3.1-8b"), find_accelerator("h100"), load, find_serving("trtllm"))
    >>> 10_000 < most_output_tokens_per_s(of, held=500) < 20_000  # measured: 15,220
    True
    """
    if held < 1:
        return 0.0
    resident = min(held, most_sequences)
    return resident / (passes.step_s(resident) + resident / passes.load.output_tokens * passes.filled_stall_s(resident))


def _speculative_s(passes: Passes, resident: float, step_s: float, speculation: Speculation) -> float:
    verified = passes.step_s(resident, tokens_per_sequence=speculation.draft_tokens + 1.0)
    drafted = speculation.draft_tokens * speculation.cost_ratio * step_s
    return (verified + drafted) / speculation.tokens_per_pass
