"""Published serving runs as the serving estimate sees them: a row of the file read, predicted, or why it cannot be."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmdrill.catalog.load import find_accelerator, find_model, find_serving
from llmdrill.errors import LlmdrillError, UnknownNameError
from llmdrill.estimate.queueing import resident_batch
from llmdrill.estimate.serving_load import Load
from llmdrill.estimate.serving_point import (
    MOST_SEQUENCES,
    closed_loop,
    most_output_tokens_per_s,
    most_resident,
    static_batch,
)
from llmdrill.estimate.serving_steps import Passes, floor_prefill_s, floor_step_s, passes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator, ServingConstants

NARROW = {"fp8", "fp4", "int8", "int4"}
# The client of the closed-loop runs with these three shapes draws each length evenly from 80 to 100 % of the nominal
# one: flymj/InferenceMAX@9e23e576 README.md, RANDOM_RANGE_RATIO 0.8 (copy of 2026-11-22).
DRAWN_SHAPES = {(1024.0, 1024.0), (1024.0, 8192.0), (8192.0, 1024.0)}
DRAWN_SHARE = 0.9
# Mean prompt tokens of MLPerf data sets: no source was read. Each is the length at which the estimate meets the median
# offline result of the model in serving.csv (fit_serving.py --mlperf): such rows test only how accelerators compare.
# GPT-J and Llama-3.1-8B state no output length either: 128 is taken, and the prompt absorbs the difference.
MLPERF_PROMPTS = {"llama-2-70b": 230.0, "llama-3.1-405b": 8500.0, "deepseek-r1": 2700.0, "mixtral-8x7b": 540.0}
MLPERF_SUMMARIES = {"gpt-j-6b": (2000.0, 128.0), "llama-3.1-8b": (1100.0, 128.0)}
# Longest time per token that the scenario allows: rocm.blogs.amd.com mlperf-inference5.1-repro (copy of 2026-11-22).
MLPERF_TPOT_S = {("llama-2-70b", "mlperf_interactive"): 0.040, ("llama-3.1-405b", "mlperf_server"): 0.175}

AT_MOST = "throughput at maximum load"
LIMITED = "throughput under a latency limit"
AT_LOAD = "throughput at a given load"


@dataclass(frozen=True, slots=True)
class Run:
    """One measured figure and what is known of how it came about."""

    row: dict[str, str]
    metric: str
    kind: str  # tpot, ttft, or one of the three throughputs
    measured: float  # seconds or tokens (requests) per second
    model: ModelRecord
    accelerator: Accelerator
    constants: ServingConstants
    engine: str
    load: Load
    replicas: float
    scenario: str  # closed, static, offline, offered, mlperf

    @property
    def models(self) -> str:
        return "dense" if self.model.experts is None else "moe"

    @property
    def pair(self) -> tuple[str, str]:
        return self.row["model"], self.row["gpu"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A run, its prediction, what the pure roofline says, and whether it visibly queued."""

    run: Run
    predicted: float
    roofline: float
    queued: bool = False

    @property
    def error(self) -> float:
        """Signed: positive where the prediction is too high."""
        return self.predicted / self.run.measured - 1.0

    @property
    def roofline_error(self) -> float:
        return self.roofline / self.run.measured - 1.0

    @property
    def in_band(self) -> bool:
        metric = self.run.kind if self.run.kind in {"tpot", "ttft"} else "throughput"
        band = self.run.constants.band(metric, mixture=self.run.models == "moe")
        return band.low <= self.run.measured / self.predicted <= band.high


class NotPredicted(Exception):  # noqa: N818 - no error: a row that the estimate does not cover
    """Why a row is not predicted."""


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file in the format of serving.csv; a missing column is a blank field."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        for row in csv.DictReader(file):
            yield {str(name): str(value or "").strip() for name, value in row.items()}


def read_run(row: dict[str, str]) -> Run:
    """Return what a row measured.

    Raises:
        NotPredicted: With the reason.
    """
    get = row.get
    model, accelerator = _named(find_model, get("model", "")), _named(find_accelerator, get("gpu", ""))
    if model.kind != "decoder":
        raise NotPredicted(f"model {model.name} writes no tokens")
    scenario, metric = _scenario(row), get("metric", "")
    measured = _number(row, "value")
    if measured is None or measured <= 0:
        raise NotPredicted("no positive value")
    kind = _kind(metric, scenario)
    if kind in {"tpot", "ttft"}:
        measured *= 1.0 if get("unit", "").strip() in {"s", "seconds"} else 1e-3
    load, replicas = _load(row, model, accelerator, scenario)
    engine, constants = _engine(row)
    return Run(row, metric, kind, measured, model, accelerator, constants, engine, load, replicas, scenario)


def _scenario(row: dict[str, str]) -> str:
    text, metric = row.get("scenario", "").lower(), row.get("metric", "")
    if metric.startswith("mlperf"):
        return "mlperf"
    for word, scenario in (("static", "static"), ("offline", "offline"), ("offered", "offered"), ("closed", "closed")):
        if word in text:
            return scenario
    if metric.endswith("max_load"):
        return "offline"
    return "closed" if row.get("batch_or_concurrency") else ""


def _kind(metric: str, scenario: str) -> str:
    if metric in {"tpot", "itl_mean", "tpot_mean", "itl"}:
        return "tpot"
    if metric in {"ttft", "ttft_mean"}:
        return "ttft"
    if metric in {"mlperf_server", "mlperf_interactive"}:
        return LIMITED
    if metric.endswith("max_load") or metric in {"mlperf_offline", "output_throughput_per_gpu"}:
        return AT_MOST
    if metric in {"request_throughput", "total_token_throughput", "output_throughput"}:
        return AT_MOST if scenario == "offline" else AT_LOAD
    raise NotPredicted(f"metric {metric or 'blank'}")


def _load(row: dict[str, str], model: ModelRecord, accelerator: Accelerator, scenario: str) -> tuple[Load, float]:
    inputs, outputs = _number(row, "input_len"), _number(row, "output_len")
    if scenario == "mlperf":
        inputs, outputs = _mlperf_lengths(row, inputs, outputs)
    if inputs is None or outputs is None:
        raise NotPredicted("no input or output length")
    if scenario == "closed" and (inputs, outputs) in DRAWN_SHAPES:
        inputs, outputs = inputs * DRAWN_SHARE, outputs * DRAWN_SHARE
    batch = _number(row, "batch_or_concurrency")
    if batch is None and scenario in {"closed", "static"}:
        raise NotPredicted("no batch or concurrency")
    if (_number(row, "pp") or 1.0) > 1:
        raise NotPredicted("pipeline parallel")
    if not scenario:
        raise NotPredicted(f"scenario {row.get('scenario') or 'blank'}")
    precision = _precision(row, accelerator, scenario)
    groups = int(_number(row, "attention_dp") or 1)
    devices = _number(row, "n_gpu")
    split = int(_number(row, "tp") or (devices or 1.0) / groups)
    replicas = (devices or split * groups) / (split * groups)
    load = Load(
        batch=(batch or 1.0) / (replicas if scenario == "closed" else 1.0),
        input_tokens=inputs,
        output_tokens=outputs,
        tensor_parallel=max(split, 1),
        precision=precision,
        cache_bytes_per_value=1.0 if precision in NARROW else 2.0,  # assumed: narrow checkpoints keep an fp8 cache
        data_parallel=groups,
        expert_parallel=max(min(int(_number(row, "moe_ep") or 1), split * groups), 1) if model.experts else 1,
    )
    return load, replicas


def _mlperf_lengths(
    row: dict[str, str], inputs: float | None, outputs: float | None
) -> tuple[float | None, float | None]:
    prompt, answer = MLPERF_SUMMARIES.get(row["model"], (MLPERF_PROMPTS.get(row["model"]), None))
    return inputs or prompt, outputs or answer


def _precision(row: dict[str, str], accelerator: Accelerator, scenario: str) -> str:
    stated = row.get("precision", "").lower() or "bf16"  # blank: the fastest runs fit 16-bit weights
    stated = {"nvfp4": "fp4", "mxfp4": "fp4", "w4a16": "int4", "half": "fp16", "w8a8": "int8"}.get(stated, stated)
    if scenario == "mlperf" and stated in {"fp16", "bf16"} and accelerator.fp8_flops_per_s:
        # The round-4.1 rows say fp16 of the source's field; yet one H200 (141 GB) serves Llama-2-70B (138 GB in fp16)
        # at 4,488 tokens/s, and the rates are those of the fp8 rows of round 5.1.
        return "fp8"
    return stated


def _engine(row: dict[str, str]) -> tuple[str, ServingConstants]:
    text = row.get("framework", "").lower()
    names = (("sglang", "sglang"), ("vllm", "vllm"), ("trt", "trtllm"), ("tensorrt", "trtllm"))
    engine = next((name for word, name in names if word in text), "default")
    # TensorRT-LLM 1.0 release candidates were run with a batch size of as many sequences as clients, and hold one less.
    version = re.match(r"1\.0\.\d+rc", row.get("framework_version", ""))
    limited = engine == "trtllm" and bool(version) and _scenario(row) == "closed"
    return engine, find_serving("trtllm-1.0rc" if limited else engine)


def _named(find: Callable[[str], Any], name: str) -> Any:  # noqa: ANN401 - a model or an accelerator
    try:
        return find(name)
    except UnknownNameError as unknown:
        raise NotPredicted(f"no {unknown.kind} {unknown.name or 'blank'} in the catalogue") from unknown


def _number(row: dict[str, str], name: str) -> float | None:
    try:
        value = float(row.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


# --- prediction -----------------------------------------------------------------------------------------------------


def compare(run: Run, constants: ServingConstants | None = None) -> Compared:
    """Return a run beside its prediction, with the engine's own constants or those given.

    Raises:
        NotPredicted: With the reason.
    """
    engine = constants or run.constants
    try:
        if run.scenario == "mlperf":
            return _mlperf(run, engine)
        held = most_resident(run.model, run.accelerator, run.load)
        of = passes(run.model, run.accelerator, run.load, engine)
        return {"closed": _closed, "static": _static, "offline": _offline, "offered": _offered}[run.scenario](
            run, of, held
        )
    except LlmdrillError as error:
        raise NotPredicted(str(error)) from error


def _closed(run: Run, of: Passes, held: float) -> Compared:
    point, load = closed_loop(of, held=held), run.load
    queued = load.batch > held >= 1 or run.measured > max(1.0, 2.0 * load.batch * point.prefill_s)
    if run.kind == "tpot":
        floor = floor_step_s(run.model, run.accelerator, replace(load, batch=point.resident))
        return Compared(run, point.tpot_s, floor)
    floor = floor_prefill_s(run.model, run.accelerator, load)
    if run.kind == "ttft":
        return Compared(run, point.ttft_s, floor, queued=queued)
    total = point.ttft_s + (load.output_tokens - 1) * point.tpot_s
    ideal = floor + load.output_tokens * floor_step_s(run.model, run.accelerator, load)
    return Compared(run, *(run.replicas * load.batch * _per_request(run) / time for time in (total, ideal)))


def _per_request(run: Run) -> float:
    """Return what a request adds to the metric: itself, its output, or all its tokens."""
    if run.metric == "request_throughput":
        return 1.0
    return run.load.output_tokens + (run.load.input_tokens if run.metric == "total_token_throughput" else 0.0)


def _static(run: Run, of: Passes, _held: float) -> Compared:
    load = run.load
    point = static_batch(of)
    floor = load.batch * floor_prefill_s(run.model, run.accelerator, load)
    if run.kind == "ttft":
        return Compared(run, point.ttft_s, floor)
    if run.kind == "tpot":
        return Compared(run, point.tpot_s, floor_step_s(run.model, run.accelerator, load))
    total = point.ttft_s + (load.output_tokens - 1) * point.tpot_s
    ideal = floor + load.output_tokens * floor_step_s(run.model, run.accelerator, load)
    each = load.devices if run.metric.endswith("per_gpu") else 1.0
    return Compared(run, *(load.batch * _per_request(run) / time / each for time in (total, ideal)))


def _offline(run: Run, of: Passes, held: float) -> Compared:
    if held < 1:
        raise NotPredicted("does not fit by the estimate's count of memory")
    rate = most_output_tokens_per_s(of, held=held)
    share = _per_request(run) / run.load.output_tokens
    return Compared(run, *(run.replicas * share * each for each in (rate, _ideal_rate(run, run.load, held))))


def _ideal_rate(run: Run, load: Load, held: float) -> float:
    batch = min(held, MOST_SEQUENCES)
    step = floor_step_s(run.model, run.accelerator, replace(load, batch=batch))
    return batch / (step + batch / load.output_tokens * floor_prefill_s(run.model, run.accelerator, load))


def _offered(run: Run, of: Passes, held: float) -> Compared:
    text = run.row["scenario"]
    rate = re.search(r"QPS=([\d.]+|INF)", text, re.IGNORECASE)
    requests = re.search(r"([\d,]+) requests", text)
    if rate is None or held < 1:
        raise NotPredicted("offered load not stated" if rate is None else "does not fit by the estimate")
    count = float(requests.group(1).replace(",", "")) if requests else math.inf
    if rate.group(1).upper() == "INF":
        return _burst(run, of, min(held, count), count)
    arrivals = float(rate.group(1)) / run.replicas
    return _poisson(run, of, held, arrivals, count)


def _poisson(run: Run, of: Passes, held: float, arrivals: float, count: float) -> Compared:
    load = run.load
    prefill, overhead = of.prefill_s(), of.first_token_overhead_s()
    busy = min(arrivals * prefill, 0.95)

    def first_s(batch: float) -> float:
        return overhead + prefill * (1.0 + busy / (2.0 * (1.0 - busy))) + of.step_s(batch) / 2

    def tpot_s(batch: float) -> float:
        return of.step_s(batch) + (batch - 1.0) / load.output_tokens * of.stall_s(batch)

    def service_s(others: float) -> float:
        return first_s(others + 1.0) + (load.output_tokens - 1.0) * tpot_s(others + 1.0)

    others = resident_batch(service_s, arrivals_per_s=arrivals, max_batch=min(held, count))
    if others is None:
        return _burst(run, of, min(held, count), count)
    if run.kind == "tpot":
        return Compared(run, tpot_s(others + 1.0), floor_step_s(run.model, run.accelerator, load))
    if run.kind == "ttft":
        return Compared(run, first_s(others + 1.0), floor_prefill_s(run.model, run.accelerator, load))
    span = count / arrivals + service_s(others) if math.isfinite(count) else 1.0
    done = (count / span if math.isfinite(count) else arrivals) * run.replicas * _per_request(run)
    return Compared(run, done, run.replicas * arrivals * _per_request(run))


def _burst(run: Run, of: Passes, resident: float, count: float) -> Compared:
    """Compare with all requests sent at once: their prompts fill whole chunks, then they decode together."""
    load = run.load
    batch = min(resident, MOST_SEQUENCES)
    prefills = batch * of.filled_stall_s(batch)
    decode = (load.output_tokens - 1.0) * of.step_s(batch)
    rounds = max(count / batch, 1.0) if math.isfinite(count) else 1.0
    if run.kind == "ttft":
        first = prefills / 2 + (rounds - 1.0) / 2 * (prefills + decode)
        floor = batch * floor_prefill_s(run.model, run.accelerator, load) / 2
        return Compared(run, of.first_token_overhead_s() + first, floor, queued=True)
    if run.kind == "tpot":
        held_up = prefills / 2 / max(load.output_tokens - 1.0, 1.0)
        return Compared(run, of.step_s(batch) + held_up, floor_step_s(run.model, run.accelerator, load))
    rate = batch / (prefills + decode) * _per_request(run) * run.replicas
    ideal = _ideal_rate(run, load, batch) / load.output_tokens * _per_request(run) * run.replicas
    return Compared(run, rate, ideal)


def _mlperf(run: Run, engine: ServingConstants) -> Compared:
    """Compare a whole system, split into replicas of the size that does most."""
    limit = MLPERF_TPOT_S.get((run.row["model"], run.metric))
    if run.metric == "mlperf_interactive" and limit is None:
        raise NotPredicted("latency limit of this MLPerf scenario not known")
    devices = int(_number(run.row, "n_gpu") or 1)
    best, ideal = 0.0, 0.0
    for load in _splits(run, devices):
        held = most_resident(run.model, run.accelerator, load)
        if held < 1:
            continue
        of = passes(run.model, run.accelerator, load, engine)
        best = max(best, devices / load.devices * _limited(of, held, limit))
        ideal = max(ideal, devices / load.devices * _ideal_rate(run, load, held))
    if not best:
        raise NotPredicted("does not fit by the estimate's count of memory")
    return Compared(run, best, ideal)


def _splits(run: Run, devices: int) -> Iterator[Load]:
    """Yield the ways to split a system into replicas: tensor parallel, or groups that share out the sequences."""
    for size in (1, 2, 4, 8):
        if size <= devices and devices % size == 0:
            yield replace(run.load, tensor_parallel=size)
            if run.model.experts is not None and size > 1:
                yield replace(run.load, tensor_parallel=1, data_parallel=size, expert_parallel=size)


def _limited(of: Passes, held: float, limit_s: float | None) -> float:
    """Return the most output tokens per second at which a token takes no longer than the limit."""
    if limit_s is None:
        return most_output_tokens_per_s(of, held=held)
    outputs = of.load.output_tokens
    low, high = 0.0, min(held, MOST_SEQUENCES)
    for _ in range(30):
        batch = (low + high) / 2
        slow = of.step_s(batch) + batch / outputs * of.filled_stall_s(batch) > limit_s
        low, high = (low, batch) if slow else (batch, high)
    return most_output_tokens_per_s(of, held=held, most_sequences=max(low, 1.0))
