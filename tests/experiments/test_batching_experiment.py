"""`lab batching`: every engine and batch is there, predictions follow from bytes and lengths, refusals."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.batching import ratio_in_order  # noqa: E402
from llmdrill.experiments.batching import Ceiling, measure_batching  # noqa: E402
from llmdrill.experiments.result import Experiment, experiment_json  # noqa: E402
from llmdrill.lab.batching_run import BatchingOptions, Lengths, draw_queue  # noqa: E402
from llmdrill.lab.decoder import random_decoder  # noqa: E402
from llmdrill.lab.shapes import named_shape  # noqa: E402

pytestmark = pytest.mark.lab

SMALL: dict[str, Any] = {
    "shape": "tiny",
    "batches": (1, 2, 3),
    "context_tokens": 4,
    "slots": 3,
    "requests": 7,
    "prompts": Lengths(p50=4, p95=8, least=2, most=10),
    "outputs": Lengths(p50=4, p95=12, least=2, most=16),
    "warm_up": 0,
    "repeats": 1,
}


@pytest.fixture(scope="module")
def found() -> Experiment:
    return measure_batching(BatchingOptions(**SMALL))


def test_every_engine_and_precision_has_every_batch(found: Experiment) -> None:
    rows = experiment_json(found)["batches"]
    engines = {(row["engine"], row["precision"]) for row in rows}
    assert {("torch", "fp32"), ("torch", "bf16")} <= engines
    assert [row["batch"] for row in rows] == [1, 2, 3] * len(engines)
    for row in rows:
        assert row["tokens_per_s"] == pytest.approx(row["batch"] / row["tpot_ms"] * 1000, rel=0.1)


def test_predictions_of_the_queue_are_those_of_its_lengths(found: Experiment) -> None:
    options = BatchingOptions(**SMALL)
    requests, _ = draw_queue(random_decoder(named_shape("tiny"), seed=0), options, seed=0)
    outputs = [one.output_tokens for one in requests]
    ratio, wasted = found.finding("continuous_over_static_ratio"), found.finding("static_wasted_slots_share")
    assert ratio is not None
    assert wasted is not None
    assert ratio.predicted == ratio_in_order(outputs, batch=3)
    assert wasted.measured == pytest.approx(wasted.predicted)


def test_all_schedules_answer_alike(found: Experiment) -> None:
    if not str(found.inputs["queue_engine"]).startswith("native"):
        pytest.skip("torch multiplies one row otherwise than several")
    for name in ("static_same_as_alone_share", "continuous_same_as_alone_share"):
        one = found.finding(name)
        assert one is not None
        assert (one.measured, one.weights_matter) == (1, True)


def test_a_step_takes_the_longer_of_reading_and_multiplying() -> None:
    assert Ceiling(read_bytes=10.0, flops=4.0, bandwidth_bytes_per_s=2.0, peak_flops_per_s=1.0).seconds == 5
    assert Ceiling(read_bytes=10.0, flops=9.0, bandwidth_bytes_per_s=2.0, peak_flops_per_s=1.0).seconds == 9
    unknown = Ceiling(read_bytes=10.0, flops=None, bandwidth_bytes_per_s=2.0, peak_flops_per_s=1.0)
    assert (unknown.seconds, unknown.filled) == (5, "10 / 2")


def test_json_bears_what_scripts_read(found: Experiment) -> None:
    shown = experiment_json(found)
    assert shown["schema"] == "llmdrill/lab-batching@1"
    assert shown["continuous_over_static_ratio"] > 0
    assert [row["schedule"] for row in shown["queue"]] == ["static", "continuous", "alone"]
    assert len(shown["meaning"]) == 2
    assert "random weights: latency and memory only" in shown["notes"]


def test_lengths_keep_to_their_ends_and_their_median() -> None:
    import numpy as np

    drawn = Lengths(p50=50, p95=200, least=10, most=300).draw(2000, np.random.default_rng(0))
    assert (min(drawn), max(drawn)) == (10, 300)
    assert float(np.median(drawn)) == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize(("changed", "words"), [({"slots": 1}, "two slots"), ({"requests": 2}, "a request for each")])
def test_a_queue_that_cannot_be_served_so_is_refused(changed: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BatchingOptions(**SMALL | changed)


def test_a_context_longer_than_the_models_is_refused() -> None:
    with pytest.raises(UsageError, match="tokens of context: this model has"):
        measure_batching(BatchingOptions(**SMALL | {"context_tokens": 100_000}))
