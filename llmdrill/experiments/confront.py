"""One number of the estimate against a real run: predicted, measured, error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.parameters import context_tokens, passages_kept, stages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.measurement import Measurement
    from llmdrill.system.design import Design
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.scenario import Scenario
    from llmdrill.units import Dimension

BYTES_FP32: Final = 4.0


@dataclass(frozen=True, slots=True)
class Confrontation:
    """A prediction beside what a run on this machine saw.

    Attributes:
        what: The quantity, in words.
        predicted: By a closed form; never read from the run.
        measured: By the run; never read from the estimate.
        dimension: How both are shown.
        formula: The closed form, with the numbers put in.
        meaning: What the error teaches.
    """

    what: str
    predicted: float
    measured: float
    dimension: Dimension
    formula: str
    meaning: str

    @property
    def error_share(self) -> float | None:
        """Return (predicted − measured) / measured; None if nothing was measured."""
        return (self.predicted - self.measured) / self.measured if self.measured else None


def confront(
    scenario: Scenario, design: Design, estimate: Estimate, measurement: Measurement, *, embed_query_s: float | None
) -> tuple[Confrontation, ...]:
    """Return the predictions of a design that its scenario's run can be held against.

    Args:
        scenario: Decides which.
        design: Whose stages the predictions come from.
        estimate: Of that design.
        measurement: Of that design.
        embed_query_s: Median time to embed one question on this machine; None if it was not taken.
    """
    match scenario.evaluation.kind:
        case "retrieval":
            return tuple(_retrieval(design, estimate, measurement, embed_query_s))
        case "decoding":
            return (*_decoding(scenario, design, measurement), *_typing(scenario, design, measurement))
        case "classification":
            return tuple(_classification(design, measurement))


def _retrieval(
    design: Design, estimate: Estimate, measurement: Measurement, embed_query_s: float | None
) -> Iterator[Confrontation]:
    sent = measurement.figure("sent_tokens")
    chunking = next(iter(stages_of(design, "chunking")), None)
    if sent is not None and sent.value and chunking is not None:
        k = passages_kept(design)
        yield Confrontation(
            "retrieved tokens in a prompt",
            context_tokens(design),
            sent.value,
            "count",
            f"k x chunk size = {k} x {chunking.size_tokens}",
            "Chunks end where paragraphs and documents end, so the formula is an upper bound, and so is its cost.",
        )
    embedding = next((stage for stage in estimate.stages if stage.kind == "embedding"), None)
    if embedding is not None and embedding.p50_s and embed_query_s:
        yield Confrontation(
            "time to embed one question",
            embedding.p50_s,
            embed_query_s,
            "seconds",
            f"median of the stage '{embedding.name}' ({embedding.basis})",
            "Here all-MiniLM-L6-v2 has your processor to itself; in production it shares it, behind a network hop.",
        )


def _decoding(scenario: Scenario, design: Design, measurement: Measurement) -> Iterator[Confrontation]:
    from llmdrill.catalog.architecture import AttentionShape
    from llmdrill.estimate.kv_cache import kv_cache_bytes
    from llmdrill.experiments.decoding_run import decoding_config
    from llmdrill.lab.shapes import named_shape

    used, config = measurement.figure("kv_cache_bytes"), decoding_config(scenario, design)
    if used is None or used.value is None or config.shape is None:
        return
    shape = named_shape(config.shape)
    tokens = config.prompt_tokens + config.output_tokens - 1
    attention = AttentionShape(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim)
    yield Confrontation(
        "key-value cache of one sequence",
        kv_cache_bytes(attention, context_tokens=tokens, bytes_per_value=BYTES_FP32),
        used.value,
        "bytes",
        "2 x layers x kv_heads x head_dim x bytes_per_value x tokens = "
        f"2 x {shape.layers} x {shape.kv_heads} x {shape.head_dim} x {BYTES_FP32:g} x {tokens}",
        "The measured bytes were read from the tensors that held the keys and values of this run (fp32, so 4 bytes).",
    )


def _typing(scenario: Scenario, design: Design, measurement: Measurement) -> Iterator[Confrontation]:
    from llmdrill.experiments.decoding_run import number_setting, predicted_waste_share, service_total_ms

    measured = measurement.figure("wasted_share")
    predicted = predicted_waste_share(scenario, design, seed=measurement.seed)
    if measured is None or not measured.value or predicted is None:
        return
    ttft_ms, total_ms = number_setting(scenario, "service_ttft_ms"), service_total_ms(scenario)
    yield Confrontation(
        "requests that the next key overtakes",
        predicted,
        measured.value,
        "share",
        f"replay of the same intervals: TTFT {ttft_ms:g} ms, total {total_ms:g} ms",
        "The formula breaks a request off at any moment and lets none wait; the engine finishes a step, lines differ in"
        " length, and what is not cancelled holds up the next.",
    )


def _classification(design: Design, measurement: Measurement) -> Iterator[Confrontation]:
    measured = measurement.figure("escalated_share")
    classifier = next(iter(stages_of(design, "classifier")), None)
    if measured is None or not measured.value or classifier is None:
        return
    yield Confrontation(
        "share the classifier passes on",
        classifier.passes,
        measured.value,
        "share",
        f"'passes' of the stage in the design = {classifier.passes:g}",
        "Everything behind the classifier is paid for by this share; a design that guesses it guesses its cost.",
    )
