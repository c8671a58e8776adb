"""Measure a completion design on this machine: decoding at its sizes, real lines, a typing trace really answered."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.experiments.parameters import prompt_tokens, stages_of
from llmdrill.measurement import measurement_key
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from llmdrill.lab.completion_plan import SmallModelPlan
    from llmdrill.lab.decode_run import DecodingConfig
    from llmdrill.lab.typing_trace import TypingTrace
    from llmdrill.measurement import Measurement
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

SERVICE_TOTAL_MS: Final = 230.0  # where a scenario states a typing trace but not the service's latency


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
        repeats=int(number_setting(scenario, "repeats", 3)),
        cached_share=model.cached_share or 0.5,
    )


def typing_trace(scenario: Scenario, design: Design) -> TypingTrace | None:
    """Return the scenario's typing trace with the design's debounce, or None if the scenario states none.

    Raises:
        UsageError: If the scenario states one without its intervals.
    """
    from llmdrill.lab.typing_trace import TypingTrace

    if "keystrokes" not in scenario.evaluation.settings:
        return None
    debounce = next(iter(stages_of(design, "debounce")), None)
    return TypingTrace(
        keystrokes=int(number_setting(scenario, "keystrokes")),
        interval_p50_ms=number_setting(scenario, "interval_p50_ms"),
        interval_sigma=number_setting(scenario, "interval_sigma"),
        debounce_ms=MS_PER_S * debounce.wait if debounce is not None else 0.0,
    )


def completion_key(scenario: Scenario, design: Design, *, seed: int) -> str:
    """Return the key of a measurement of this design: models, prompt, completion, lines, typing trace, seed."""
    from llmdrill.lab.decode_run import decoding_key

    decoding = decoding_key(decoding_config(scenario, design), seed=seed)
    return measurement_key({"decoding": decoding, "small_model": small_model_plan(scenario, design).key(seed=seed)})


def small_model_plan(scenario: Scenario, design: Design) -> SmallModelPlan:
    """Return what the embedded model tries of a design: its prompt and output sizes, its way with keystrokes."""
    from llmdrill.lab.completion_plan import SmallModelPlan
    from llmdrill.lab.typing_trace import TypingPolicy

    model, trace = stages_of(design, "llm")[0], typing_trace(scenario, design)
    policy = None
    if trace is not None:
        cancel = any(stage.cancel for stage in stages_of(design, "debounce"))
        policy = TypingPolicy("design", trace, cancel=cancel, reuse=bool(model.cached_share))
    return SmallModelPlan(
        lines=int(number_setting(scenario, "lines", 0)),
        context_tokens=round(prompt_tokens(scenario, design)),
        max_new_tokens=max(2, round(model.max_output_tokens or scenario.workload.output_tokens.p95)),
        policy=policy,
        service_total_s=service_total_ms(scenario) / MS_PER_S,
    )


def service_total_ms(scenario: Scenario) -> float:
    """Return what a request that is left alone takes by the clock of the typing trace."""
    return number_setting(scenario, "service_total_ms", SERVICE_TOTAL_MS)


def number_setting(scenario: Scenario, name: str, default: float | None = None) -> float:
    """Return a setting of the scenario's run.

    Raises:
        UsageError: If it is no number, or absent and without a default.
    """
    value = scenario.evaluation.settings.get(name, default)
    try:
        return float("" if value is None else value)
    except ValueError as error:
        found = "it is absent" if value is None else f"it is '{value}'"
        raise UsageError(
            f"scenario {scenario.id}: evaluation.settings: {name} must be a number, but {found}"
        ) from error


def measure_completion(scenario: Scenario, design: Design, *, seed: int) -> Measurement:
    """Run the design's prompts through a real decoder on this machine, complete real lines, answer a typing trace."""
    from llmdrill.lab.decode_run import measure_decoding

    busy = _busy_note()
    measured = measure_decoding(decoding_config(scenario, design), seed=seed)
    from llmdrill.lab.completion_figures import measure_small_model  # needs torch, which the line above asks for

    small = measure_small_model(small_model_plan(scenario, design), seed=seed)
    return replace(
        measured,
        key=completion_key(scenario, design, seed=seed),
        figures=(*measured.figures, *small.figures),
        tables=(*measured.tables, *small.tables),
        notes=(*measured.notes, *small.notes, *busy),
    )


def predicted_waste_share(scenario: Scenario, design: Design, *, seed: int) -> float | None:
    """Return the share of requests that arithmetic lets the next key overtake, at the service latency stated."""
    import numpy as np

    from llmdrill.lab.typing_trace import replay_typing

    trace = typing_trace(scenario, design)
    if trace is None or "service_ttft_ms" not in scenario.evaluation.settings:
        return None
    ttft_ms, total_ms = number_setting(scenario, "service_ttft_ms"), service_total_ms(scenario)
    return replay_typing(trace, ttft_ms=ttft_ms, total_ms=total_ms, rng=np.random.default_rng(seed)).wasted_share


def _busy_note() -> tuple[str, ...]:
    """Say that other work is in the clocks, if the machine was busy before the run."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores:
        return ()
    return (f"the machine was busy (load {load:.1f} on {cores} processors): times are longer than on an idle one",)
