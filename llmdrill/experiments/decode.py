"""`llmdrill lab decode`: the cycle of generation token by token, then timed beside what two ceilings predict."""

from __future__ import annotations

import textwrap
import time
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import mbu_share, mfu_share
from llmdrill.experiments.floors import Floors
from llmdrill.experiments.prompt_flops import prompt_flops
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_bytes, format_quantity, format_seconds, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.lab.cycle_run import DecodeOptions, DecodeRun

BOUND_BY_MEMORY_SHARE: Final = 0.6  # of MBU: from here on reading is most of a step
DOUBTFUL_SHARE: Final = 1.1  # of MBU: nothing reads so much faster than plain reading
UNSTEADY: Final = 1.25  # times the lower quartile of the bandwidth, its upper one: from here on a share of it is rough
CHEAPER: Final = 1.5  # times a decoded token takes a token of the prompt
TEXT_WIDTH: Final = 76
NO_BREAK: Final = "\u00a0"


def measure_decode(
    options: DecodeOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Run the cycle, and set what was timed beside bytes over bandwidth and FLOPs over peak.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError, UsageError: As ``run_decode`` says.

    Error:
        Predictions are floors: dispatch and the waiting of threads are not in them, and the smaller the model the
        larger their share.
    Source:
        As ``time_rounds`` and ``TimedRequest`` say; MBU: Databricks 2023, LLM Inference Performance Engineering.
    """
    from llmdrill.lab.cycle_run import run_decode
    from llmdrill.lab.machine import this_machine

    started = now()
    run, machine = run_decode(options, seed=seed, say=say, now=now), this_machine()
    findings = tuple(_findings(run, floors_of(run)))
    return Experiment(
        name="decode",
        title="One token at a time: what a step costs, and what bounds it",
        inputs=_inputs(run),
        findings=findings,
        tables=(_cycle_table(run),),
        pictures=(_picture(run),),
        meaning=_meaning(run, used_share=next(one.measured or 0 for one in findings if one.name == "mbu_share")),
        machine=machine,
        protocol=Protocol(seed, options.warm_up, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(run)),
        lines=tuple(_lines(run)),
    )


def floors_of(run: DecodeRun) -> Floors:
    """Return what closed forms say of the model, under the ceilings that were measured beside it."""
    rounds = run.rounds
    ceilings = median(rounds.bandwidth_bytes_per_s), median(rounds.peak_flops_per_s)
    return Floors(record_of(run.decoder.shape), run.precision, run.prompt_precision, *ceilings)


def _findings(run: DecodeRun, floors: Floors) -> Iterator[Finding]:
    from llmdrill.lab.cycle_run import TOKENIZE_REPEATS

    age = "the age of this process when the first token was there: Python, imports, loading; torch reads the prompt"
    yield Finding("first_token_s", run.first_token_s, n=1, note=age)
    if run.prompt.tokenizer is not None:
        note = "the prompt cut into tokens, median; TTFT holds it"
        yield Finding("tokenize_ms", run.tokenize_s * MS_PER_S, n=TOKENIZE_REPEATS, note=note)
    yield from _request_findings(run, floors)
    yield from _test_findings(run, floors)
    yield from _bound_findings(run, floors)


def _request_findings(run: DecodeRun, floors: Floors) -> Iterator[Finding]:
    requests, read = run.rounds.requests, len(run.prompt_ids)
    context = read + run.options.output_tokens // 2
    flops, peak = prompt_flops(floors.record, tokens=read), floors.peak_flops_per_s
    floor_s, step_s = floors.prefill_s(tokens=read), floors.step_s(context_tokens=context)
    size, bandwidth = floors.step_bytes(context_tokens=context), floors.bandwidth_bytes_per_s
    yield over_rounds(
        "ttft_ms",
        [one.ttft_s * MS_PER_S for one in requests],
        predicted=floor_s * MS_PER_S,
        formula=f"FLOP of {read} tokens / peak = {flops:.4g} / {peak:.4g} = {format_seconds(floor_s)}",
        note="tokenizing, prefill and choice; no network, no queue",
    )
    yield over_rounds(
        "tpot_ms",
        [one.tpot_s * MS_PER_S for one in requests],
        predicted=step_s * MS_PER_S,
        formula=f"step_bytes / bandwidth = {size:.4g} / {bandwidth:.4g} = {format_seconds(step_s)}",
        note="(end-to-end - TTFT) / (output tokens - 1)",
    )
    gaps = [gap * MS_PER_S for one in requests for gap in one.gaps_s]
    for share in (50, 90, 99):
        note = "every gap between two tokens of an answer, of all rounds together"
        yield Finding(f"itl_p{share}_ms", float(np.percentile(gaps, share)), n=len(gaps), note=note)


def _test_findings(run: DecodeRun, floors: Floors) -> Iterator[Finding]:
    read, written = run.options.prompt_test_tokens, run.options.generation_test_tokens
    prompt_s, step_s = floors.prefill_s(tokens=read), floors.step_s(context_tokens=written / 2)
    yield over_rounds(
        f"pp{read}_tokens_per_s",
        [read / seconds for seconds in run.rounds.prompt_test_s],
        predicted=read / prompt_s,
        formula=f"tokens / (FLOP / peak) = {read} / ({prompt_flops(floors.record, tokens=read):.4g} /"
        f" {floors.peak_flops_per_s:.4g}) = {figure(read / prompt_s)}",
        note="llama-bench's pp: random tokens, empty cache",
    )
    yield over_rounds(
        f"tg{written}_tokens_per_s",
        [written / seconds for seconds in run.rounds.generation_test_s],
        predicted=1 / step_s,
        formula=f"bandwidth / step_bytes at {figure(written / 2)} tokens = {floors.bandwidth_bytes_per_s:.4g} /"
        f" {floors.step_bytes(context_tokens=written / 2):.4g} = {figure(1 / step_s)}",
        note="llama-bench's tg: one token at a time from an empty cache",
    )


def _bound_findings(run: DecodeRun, floors: Floors) -> Iterator[Finding]:
    """Yield what bounds a step and a prompt, and how near both come; each share is taken within its own round."""
    rounds, context = run.rounds, len(run.prompt_ids) + run.options.output_tokens // 2
    pairs = zip(rounds.requests, rounds.bandwidth_bytes_per_s, strict=True)
    used = [
        mbu_share(bytes_per_step=run.step_bytes, step_s=request.tpot_s, bandwidth_bytes_per_s=bandwidth)
        for request, bandwidth in pairs
    ]
    read = run.options.prompt_test_tokens
    flops_per_token = prompt_flops(floors.record, tokens=read) / read
    tests = zip(rounds.prompt_test_s, rounds.peak_flops_per_s, strict=True)
    busy = [
        mfu_share(flops_per_token=flops_per_token, tokens_per_s=read / seconds, peak_flops_per_s=peak)
        for seconds, peak in tests
    ]
    yield Finding(
        "step_bytes",
        float(run.step_bytes),
        predicted=floors.step_bytes(context_tokens=context),
        formula=floors.step_bytes_filled(context_tokens=context),
        n=1,
        note="of the tensors a step reads; the formula leaves out norms, scales and padding",
    )
    plain = "plain reading of as many bytes as a step reads, in the same rounds"
    yield over_rounds("bandwidth_bytes_per_s", rounds.bandwidth_bytes_per_s, note=plain)
    yield over_rounds("mbu_share", used, note="step_bytes / TPOT / bandwidth")
    yield over_rounds(
        "peak_flops_per_s", rounds.peak_flops_per_s, note=f"a large {run.prompt_precision} matrix product"
    )
    yield over_rounds("mfu_share", busy, note=f"FLOP of pp{read} / its time / peak")


def _cycle_table(run: DecodeRun) -> Table:
    from llmdrill.lab.cycle_run import piece

    def shown(token: int, probability: float) -> tuple[str, float]:
        return f"{token} {piece(run.prompt.tokenizer, token)}".rstrip(), float(f"{probability:.3g}")

    rows = tuple(
        (
            number,
            *shown(step.chosen_id, step.probability),
            *shown(step.runner_up_id, step.runner_up_probability),
            round(step.seconds * MS_PER_S, 3),
        )
        for number, step in enumerate(run.cycle, start=1)
    )
    note = f"step 1 reads the {len(run.prompt_ids)} tokens of the prompt, every other the one token chosen before it"
    columns = ("step", "chosen", "probability", "runner_up", "its_probability", "ms")
    return Table("cycle", columns, rows, note)


def _lines(run: DecodeRun) -> Iterator[str]:
    """Show how the prompt was cut, and how the model goes on."""
    from llmdrill.lab.cycle_run import piece

    prompt, tokenizer = run.prompt, run.prompt.tokenizer
    if prompt.text is None or tokenizer is None:
        return
    yield f"The prompt, {len(prompt.text.encode())} bytes, is cut into {len(run.prompt_ids)} tokens:"
    whole = (piece(tokenizer, token).replace(" ", NO_BREAK) for token in run.prompt_ids)  # lines break between pieces
    for line in textwrap.wrap(" ".join(whole), TEXT_WIDTH, break_on_hyphens=False):
        yield f"  {line.replace(NO_BREAK, ' ')}"
    chosen = [step.chosen_id for step in run.cycle if step.chosen_id != tokenizer.end_of_text_id]
    yield f"After {len(run.cycle)} steps the text reads:"
    yield from (f"  {line}" for line in (prompt.text + tokenizer.decode(chosen)).splitlines())


def _picture(run: DecodeRun) -> Picture:
    each = zip(*(one.gaps_s for one in run.rounds.requests), strict=True)
    medians = tuple(median(gaps) * MS_PER_S for gaps in each)
    places = tuple(float(place) for place in range(2, len(medians) + 2))
    return Picture("Time between tokens", "output token", "ms, median of the rounds", (Series("ITL", places, medians),))


def _meaning(run: DecodeRun, *, used_share: float) -> tuple[str, str]:
    rounds, read = run.rounds, run.options.prompt_test_tokens
    tpot_s = median(one.tpot_s for one in rounds.requests)
    step = f"A decode step reads {format_bytes(run.step_bytes)} and took {format_seconds(tpot_s)}"
    pace = f"{step}, {format_share(used_share)} of the pace of plain reading"
    quarters = np.percentile(rounds.bandwidth_bytes_per_s, (0, 25, 75, 100))
    if quarters[2] > UNSTEADY * quarters[1]:
        slowest, fastest = (format_quantity(float(rate), "bytes_per_second") for rate in (quarters[0], quarters[3]))
        wide = f"plain reading itself ran at {slowest} to {fastest} from round to round"
        first = f"{pace}; but {wide}, so take that share for a rough one, and run it again when the machine is idle."
    elif used_share > DOUBTFUL_SHARE:
        first = f"{pace}: more than can be, so something else took the machine's time; run it again when it is idle."
    elif used_share >= BOUND_BY_MEMORY_SHARE:
        first = f"{pace}: memory bounds it, so fewer bytes a weight would make it faster."
    else:
        rest = format_share(1 - used_share)
        first = (
            f"{pace}: {rest} of the step is not reading but arithmetic, dispatch and threads waiting for each other."
        )
    token_s = median(rounds.prompt_test_s) / read
    ratio = tpot_s / token_s
    pace = f"A token of a prompt took {format_seconds(token_s)}, a token of the answer {ratio:.3g} times that"
    if ratio >= CHEAPER:
        return first, f"{pace}, because one pass over the weights serves all {read} tokens of a prompt at once."
    return first, f"{pace}: reading {read} tokens at once gains little here."


def _inputs(run: DecodeRun) -> dict[str, object]:
    options, engine = run.options, "torch" if run.torch_because else "native"
    return {
        "model": options.model or options.shape or "embedded",
        "engine": engine,
        "instruction_set": getattr(run.decoder, "path", None),
        "precision": run.precision,
        "prompt_precision": run.prompt_precision,
        "prompt": run.prompt.text,
        "prompt_ids": list(run.prompt_ids),
        "prompt_tokens": len(run.prompt_ids),
        "output_tokens": options.output_tokens,
    }


def _notes(run: DecodeRun) -> Iterator[str]:
    if run.decoder.random_weights:
        yield f"{RANDOM_WEIGHTS_NOTE}, so no text is shown"
    if run.torch_because:
        yield f"decoded by torch: {run.torch_because}"
    yield (
        "low and high are the fastest and the slowest round; a round runs the request, both tests, the reading and the"
        " matrix product in turn; percentiles of ITL pool the gaps of all rounds"
    )
    yield "predictions are floors: bytes over bandwidth, FLOP over peak; what a step costs beyond them is not reading"
