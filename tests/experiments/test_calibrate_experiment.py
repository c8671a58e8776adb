"""`lab calibrate`: a profile of real passes, kept and used as accelerator, and confronted with shapes left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("torch")

from llmdrill.catalog.local import stored_profile
from llmdrill.errors import UsageError
from llmdrill.experiments import calibrate as experiment
from llmdrill.experiments.calibrate import CalibrateOptions, measure_calibrate
from llmdrill.experiments.result import experiment_json
from llmdrill.lab import calibrate_shapes
from llmdrill.lab.calibrate import HeldOut, Pass, Probe
from llmdrill.lab.shapes import named_shape

pytestmark = pytest.mark.lab

TINY = named_shape("tiny")
DEEP = dataclasses.replace(TINY, layers=5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate with two tiny decoders and hold a third out; passes, clocks and tensors are real."""
    passes = (Pass("prefill", 16), Pass("prefill", 64), Pass("decode", 8))
    timed = tuple(Probe(name, shape, "torch", "fp32", passes) for name, shape in (("tiny", TINY), ("deep", DEEP)))
    asked = (HeldOut("middle", dataclasses.replace(TINY, layers=3), "torch", "fp32", 20, 4),)
    monkeypatch.setattr(calibrate_shapes, "SET_BYTES", (1 << 16, 1 << 20))
    monkeypatch.setattr(calibrate_shapes, "probes", lambda *, native: timed)  # noqa: ARG005 - torch alone
    monkeypatch.setattr(calibrate_shapes, "held_out", lambda *, native: asked)  # noqa: ARG005


def calibrated(**options: Any) -> dict[str, Any]:
    return experiment_json(measure_calibrate(CalibrateOptions(rounds=1, **options)))


def test_held_out_times_stand_beside_predictions_and_the_errors_follow_from_them() -> None:
    found = calibrated()
    assert [row["quantity"] for row in found["held_out"]] == ["ttft", "tpot"]
    errors = [row["predicted_ms"] / row["measured_ms"] - 1 for row in found["held_out"]]
    assert [row["error"] for row in found["held_out"]] == pytest.approx(errors, rel=0.01, abs=2e-3)
    assert found["mape"] == pytest.approx(sum(map(abs, errors)) / 2, rel=0.01, abs=2e-3)
    assert found["median_ape"] == pytest.approx(found["mape"])
    inside = [row["inside"] == "yes" for row in found["held_out"]]
    assert found["interval_coverage_share"] == sum(inside) / 2
    assert "random weights: latency and memory only" in found["notes"]
    assert found["round_spread_share"] == 0  # of a single round


def test_the_profile_is_kept_and_again_holds_the_kept_one_against_new_times() -> None:
    first = calibrated()
    kept = stored_profile()
    assert first["profile"] == kept.label
    assert first["kept"]
    again = calibrated(again=True)
    assert stored_profile() == kept
    assert (again["profile"], again["kept"]) == (kept.label, False)
    assert again["constants"] == first["constants"]
    assert again["rescaled_mape"] >= 0
    rows = again["held_out"]
    rescaled = [abs(row["predicted_ms"] / again["speed_ratio"] / row["measured_ms"] - 1) for row in rows]
    assert again["rescaled_mape"] == pytest.approx(sum(rescaled) / len(rescaled), rel=0.01)
    assert "speed_ratio" not in first


def test_a_quick_profile_is_not_kept() -> None:
    assert not calibrated(quick=True)["kept"]
    with pytest.raises(UsageError, match="run `llmdrill lab calibrate` first"):
        calibrated(again=True)


@pytest.mark.parametrize(
    ("error", "spread", "speed", "says"),
    [
        (0.05, 0.5, 0.2, "enough to compare designs"),
        (0.2, 0.05, None, "enough for a first choice"),
        (0.2, 0.3, None, "spread over 30% of its median, so the machine was busy"),
        (0.2, 0.05, 0.5, "ran at 0.50 times the speed they had then"),
        (0.2, 0.05, 1.05, "enough for a first choice"),
        (9.0, 0.0, None, "too far off to decide by"),
    ],
)
def test_what_a_calibration_allows_follows_its_errors_the_rounds_and_the_speed(
    error: float, spread: float, speed: float | None, says: str
) -> None:
    from llmdrill.estimate.explain import Explained
    from llmdrill.experiments.calibrate import Confronted
    from llmdrill.experiments.calibrate_shown import meaning_of

    predicted = Explained("tpot_s", 1 + error, "seconds", "", "", "")
    asked = HeldOut("middle", TINY, "torch", "fp32", 20, 4)
    first, second = meaning_of([Confronted(asked, "tpot", predicted, 0.5, 2.0, 1.0)], spread=spread, speed=speed)
    assert f"off by {100 * error:.3g}% in the mean" in first
    assert says in second
    assert f"the worst is TPOT of middle (+{100 * error:.0f}%)" in second


def test_the_spread_of_rounds_is_that_of_the_middle_time() -> None:
    from llmdrill.lab.calibrate import Answered, Calibration, Reading

    asked = HeldOut("middle", TINY, "torch", "fp32", 20, 4)
    readings = (Reading(Probe("a", TINY, "torch", "fp32", ()), Pass("decode", 1), (1.0, 1.0, 1.0)),)
    run = Calibration((), readings, (Answered(asked, (1.0, 2.0, 3.0), (2.0, 4.0, 6.0)),), 1.0, 1.0)
    assert run.spread_share == 0.5  # of 0, 0.5 and 0.5


def test_a_larger_set_that_reads_faster_lifts_the_smaller_ones() -> None:
    from llmdrill.lab.calibrate import Bandwidth

    seen = (Bandwidth(1, 50.0, 60.0), Bandwidth(2, 9.0, 11.0), Bandwidth(4, 10.0, 10.5))
    assert [tier.bytes_per_s for tier in experiment._tiers(seen)] == [50.0, 10.0, 10.0]
    assert [tier.best_bytes_per_s for tier in experiment._tiers(seen)] == [60.0, 11.0, 10.5]
