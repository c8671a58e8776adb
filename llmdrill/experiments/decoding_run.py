"""Measure a completion design's decoding on this machine, and replay a typing trace against its debounce."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from llmdrill.experiments.parameters import prompt_tokens, stages_of
from llmdrill.measurement import Figure, measurement_key

if TYPE_CHECKING:
    from llmdrill.lab.decode_run import DecodingConfig
    from llmdrill.lab.typing_trace import TypingTrace
    from llmdrill.measurement import Measurement
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

TYPING_NOTE = (
    "wasted_share replays a stated synthetic typing trace at the service latency the scenario states, not at this"
    " machine's: it judges debounce, not the processor"
)


def decoding_config(scenario: Scenario, design: Design) -> DecodingConfig:
    """Return what to run: the design's median prompt and completion through the scenario's model shape."""
    from llmdrill.lab.decode_run import DecodingConfig

    settings = scenario.evaluation.settings
    model = stages_of(design, "llm")[0]
    output = min(scenario.workload.output_tokens.p50, model.max_output_tokens or float("inf"))
    return DecodingConfig(
        prompt_tokens=round(prompt_tokens(scenario, design)),
        output_tokens=max(2, round(output)),
        shape=str(settings["shape"]) if "shape" in settings else None,
        model=str(settings["model"]) if "model" in settings else None,
        repeats=int(settings.get("repeats", 3)),
        cached_share=model.cached_share or 0.5,
    )


def typing_trace(scenario: Scenario, design: Design) -> TypingTrace | None:
    """Return the scenario's typing trace with the design's debounce, or None if the scenario states none."""
    from llmdrill.lab.typing_trace import TypingTrace

    settings = scenario.evaluation.settings
    if "keystrokes" not in settings:
        return None
    debounce = next(iter(stages_of(design, "debounce")), None)
    return TypingTrace(
        keystrokes=int(settings["keystrokes"]),
        interval_p50_ms=float(settings["interval_p50_ms"]),
        interval_sigma=float(settings["interval_sigma"]),
        debounce_ms=1000 * debounce.wait if debounce is not None else 0.0,
    )


def completion_key(scenario: Scenario, design: Design, *, seed: int) -> str:
    """Return the key of a measurement of this design: model, prompt, completion, typing trace, seed."""
    from llmdrill.lab.decode_run import decoding_key

    trace = typing_trace(scenario, design)
    settings = dict(scenario.evaluation.settings)
    decoding = decoding_key(decoding_config(scenario, design), seed=seed)
    return measurement_key({"decoding": decoding, "typing": asdict(trace) if trace else None, "settings": settings})


def measure_completion(scenario: Scenario, design: Design, *, seed: int) -> Measurement:
    """Run the design's prompts through a real decoder on this machine, and replay the typing trace."""
    from llmdrill.lab.decode_run import measure_decoding

    busy = _busy_note()
    measured = measure_decoding(decoding_config(scenario, design), seed=seed)
    typed = _typing_figures(scenario, design, seed=seed)
    notes = (*measured.notes, *((TYPING_NOTE,) if typed else ()), *busy)
    key = completion_key(scenario, design, seed=seed)
    return replace(measured, key=key, figures=(*measured.figures, *typed), notes=notes)


def _typing_figures(scenario: Scenario, design: Design, *, seed: int) -> tuple[Figure, ...]:
    import numpy as np

    from llmdrill.lab.typing_trace import replay_typing

    trace, settings = typing_trace(scenario, design), scenario.evaluation.settings
    if trace is None:
        return ()
    ttft_ms, total_ms = float(settings["service_ttft_ms"]), float(settings["service_total_ms"])
    seen = replay_typing(trace, ttft_ms=ttft_ms, total_ms=total_ms, rng=np.random.default_rng(seed))
    note = f"{trace.keystrokes} keystrokes replayed at TTFT {ttft_ms:g} ms, whole answer {total_ms:g} ms"
    engine = seen.wasted_share if _never_cancels(design) else seen.wasted_compute_share
    return (
        Figure("wasted_share", seen.wasted_share, n=seen.sent, note=f"of requests sent, overtaken by a key; {note}"),
        Figure("typing_requests_per_keystroke", seen.sent / trace.keystrokes, n=trace.keystrokes, note=note),
        Figure("typing_engine_waste_share", engine, n=seen.sent, note="of the engine's time; all of it without cancel"),
    )


def _busy_note() -> tuple[str, ...]:
    """Say that other work is in the clocks, if the machine was busy before the run."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores:
        return ()
    return (f"the machine was busy (load {load:.1f} on {cores} processors): times are longer than on an idle one",)


def _never_cancels(design: Design) -> bool:
    return not any(stage.cancel for stage in stages_of(design, "debounce"))
