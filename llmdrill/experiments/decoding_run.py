"""Measure a completion design's decoding on this machine: its prompt size, its completion length, its debounce."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.parameters import prompt_tokens, stages_of
from llmdrill.measurement import Figure

if TYPE_CHECKING:
    from llmdrill.lab.decode_run import DecodingConfig
    from llmdrill.measurement import Measurement
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

# Requirement's metric → figure of the run, and what turns one into the other.
_METRICS: Final = (
    ("measured_ttft_p95_s", "ttft_p95_ms", 1e-3),
    ("measured_tpot_p50_s", "tpot_p50_ms", 1e-3),
    ("measured_total_p95_s", "total_p95_ms", 1e-3),
    ("wasted_share", "typing_wasted_compute_share", 1.0),
)


def decoding_config(scenario: Scenario, design: Design) -> DecodingConfig:
    """Return what to run: the design's median prompt and completion, the scenario's model shape and typing trace."""
    from llmdrill.lab.decode_run import DecodingConfig
    from llmdrill.lab.typing_trace import TypingTrace

    settings = scenario.evaluation.settings
    model = stages_of(design, "llm")[0]
    output = min(scenario.workload.output_tokens.p50, model.max_output_tokens or float("inf"))
    debounce = next(iter(stages_of(design, "debounce")), None)
    trace = TypingTrace(
        keystrokes=int(settings.get("keystrokes", 2000)),
        interval_p50_ms=float(settings.get("interval_p50_ms", 180)),
        interval_sigma=float(settings.get("interval_sigma", 0.8)),
        debounce_ms=1000 * debounce.wait if debounce is not None else 0.0,
    )
    return DecodingConfig(
        prompt_tokens=round(prompt_tokens(scenario, design)),
        output_tokens=max(2, round(output)),
        shape=str(settings["shape"]) if "shape" in settings else None,
        model=str(settings["model"]) if "model" in settings else None,
        repeats=int(settings.get("repeats", 5)),
        cached_share=model.cached_share or 0.5,
        typing=trace,
    )


def measure_completion(scenario: Scenario, design: Design, *, seed: int) -> Measurement:
    """Run the design's prompts through a real decoder, and add the figures that requirements name."""
    from llmdrill.lab.decode_run import measure_decoding

    measured = measure_decoding(decoding_config(scenario, design), seed=seed)
    named = [_renamed(measured, metric, figure, factor) for metric, figure, factor in _METRICS]
    return replace(measured, figures=(*(figure for figure in named if figure), *measured.figures))


def _renamed(measured: Measurement, metric: str, name: str, factor: float) -> Figure | None:
    figure = measured.figure(name)
    if figure is None:
        return None
    value, low, high = (None if part is None else part * factor for part in (figure.value, figure.low, figure.high))
    return Figure(metric, value, low, high, figure.n, figure.note)
