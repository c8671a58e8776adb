"""`lab batching`: every engine and batch is there, predictions follow from bytes and lengths, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.batching import ratio_in_order  # noqa: E402
from llmdrill.experiments.batching import Ceiling, _queue_meaning, _steps_meaning, measure_batching  # noqa: E402
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


def test_every_figure_says_what_it_is_and_every_prediction_how_it_came_about(found: Experiment) -> None:
    for one in found.findings:
        assert one.note, one.name
        assert bool(one.formula) == (one.predicted is not None), one.name
    assert experiment_json(found)["spread"] == {}  # of one round


@pytest.mark.parametrize(
    ("gain", "says"),
    [
        (4.4, "a step of all took no longer than a step of one"),
        (3.6, "a step of all took 1.11 times as long as a step of one, because the weights are read once for all"),
        (2.0, "not 4 times: a step of all took 2 times as long as a step of one, because each adds arithmetic"),
    ],
)
def test_what_batching_gains_is_explained_by_how_much_longer_a_step_took(gain: float, says: str) -> None:
    runner = SimpleNamespace(name="any")
    steps = SimpleNamespace(
        slots=4, fastest=runner, best_gain=runner, tokens_per_s=lambda *_: 100.0, gains=lambda _: [gain]
    )
    assert says in _steps_meaning(steps)  # type: ignore[arg-type] # the parts that it reads


@pytest.mark.parametrize(
    ("ratio", "says"),
    [(1.5, "the queue was done 1.5 times as fast (2 times if prompts were free"), (0.9, "one by one took 25% of it")],
)
def test_what_continuous_batching_gains_is_told_by_the_clock(ratio: float, says: str) -> None:
    ran = (SimpleNamespace(wasted_slots_share=0.5, prefill_s=1.0, seconds=4.0),)
    run = SimpleNamespace(static=ran, continuous=ran)
    told = _queue_meaning(SimpleNamespace(ratios=[ratio], run=run, predicted_ratio=2.0))  # type: ignore[arg-type]
    assert says in told


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
