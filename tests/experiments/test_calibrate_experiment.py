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


def test_a_larger_set_that_reads_faster_lifts_the_smaller_ones() -> None:
    from llmdrill.lab.calibrate import Bandwidth

    seen = (Bandwidth(1, 50.0, 60.0), Bandwidth(2, 9.0, 11.0), Bandwidth(4, 10.0, 10.5))
    assert [tier.bytes_per_s for tier in experiment._tiers(seen)] == [50.0, 10.0, 10.0]
    assert [tier.best_bytes_per_s for tier in experiment._tiers(seen)] == [60.0, 11.0, 10.5]
