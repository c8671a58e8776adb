"""Predicting this machine: terms counted by hand, constants recovered from made-up times, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, ModelRecord
from llmdrill.catalog.load import find_model
from llmdrill.catalog.local import EngineCosts, LocalAccelerator, MachineProfile, Tier, keep_profile, local_accelerator
from llmdrill.catalog.serving_constants import Band
from llmdrill.errors import UsageError
from llmdrill.estimate.local_fit import TimedPass, band_of, fit_costs, left_out_ratios, predicted_s
from llmdrill.estimate.local_serving import LocalPass, pass_s, pass_terms
from llmdrill.estimate.quantization import checkpoint_bytes
from llmdrill.estimate.serving import serving_estimate
from llmdrill.measurement import Machine

TIERS = (Tier(1e6, 80e9, 80e9), Tier(1e8, 15e9, 15e9))
BANDS = tuple(Band(metric, "dense", 0.8, 1.25, 0.05, 9) for metric in ("tpot", "ttft", "throughput"))
PROFILE = MachineProfile(
    "2026-11-22T10:00:00+00:00", Machine("c", 2, 2, 16 * 10**9, "L", ()), TIERS, 1e11, 1e11, (), BANDS, 1
)
STEP = {"decode_pass": 1e-4, "decode_layer": 1e-5, "weights": 1.2, "cache": 1.1, "rows_1": 1e-11, "rows_8": 5e-11}
READ = {"prefill_pass": 1e-4, "prefill_layer": 2e-4, "outputs": 1e-9, "prefill_pairs": 1e-10, "rows_256": 4e-9}


def model(layers: int, hidden: int, heads: int, kv_heads: int, vocab: int = 1000) -> ModelRecord:
    """Return a small dense decoder."""
    attention = AttentionShape(layers=layers, kv_heads=kv_heads, head_dim=hidden // heads, heads=heads)
    size = find_model("smollm2-135m")
    return dataclasses.replace(
        size, name="small", layers=layers, hidden=hidden, attention=attention, feed_forward=3 * hidden, vocab_size=vocab
    )


def costs(engine: str, precision: str, of: dict[str, float]) -> EngineCosts:
    return EngineCosts(engine, precision, tuple(of), tuple(of.values()), 9)


def calibrated() -> LocalAccelerator:
    known = (costs("torch", "fp32", READ), costs("native", "int8", STEP))
    keep_profile(dataclasses.replace(PROFILE, costs=known))
    return local_accelerator()


def test_terms_of_a_step_are_what_one_counts_by_hand() -> None:
    small = model(2, 64, 4, 2)
    terms = pass_terms(small, LocalPass("decode", 10), engine="native", precision="fp32", profile=PROFILE)
    layer = 64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 192  # query, key, value; out; gate, up, down
    assert terms["rows_1"] == 2 * layer + 1000 * 64
    read = 4 * (2 * layer + 64_000)
    cache = 10 * 2 * 2 * 2 * 16 * 4
    assert terms["weights"] == pytest.approx(read / PROFILE.bandwidth_bytes_per_s(read + cache))
    assert terms["cache"] == pytest.approx(cache / PROFILE.bandwidth_bytes_per_s(read + cache))
    assert terms["outputs"] == 2 * (64 + 64 + 64 + 2 * 192 + 64) + 1000
    assert terms["decode_pairs"] == 10 * 2 * 64


@given(rows=st.integers(1, 2048))
def test_a_prompt_multiplies_every_layer_weight_once_a_row_and_the_head_once(rows: int) -> None:
    small = model(2, 64, 4, 2, vocab=1)
    terms = pass_terms(small, LocalPass("prefill", rows), engine="torch", precision="fp32", profile=PROFILE)
    by_rows = {int(name.removeprefix("rows_")): each for name, each in terms.items() if name.startswith("rows_")}
    counted = sum(count * weights for count, weights in by_rows.items())
    layer = 64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 192
    assert counted == pytest.approx(rows * 2 * layer + 64)  # as times that grow with the rows would be interpolated


@given(
    pass_s_=st.floats(1e-6, 1e-3),
    layer_s=st.floats(1e-6, 1e-3),
    weights=st.floats(0.5, 3),
    weight_s=st.floats(0, 1e-10),
)
def test_constants_that_made_the_times_are_found_again_and_predict_a_shape_left_out(
    pass_s_: float, layer_s: float, weights: float, weight_s: float
) -> None:
    made = costs(
        "native", "int8", {"decode_pass": pass_s_, "decode_layer": layer_s, "weights": weights, "rows_1": weight_s}
    )
    shapes = [
        model(2, 64, 4, 2),
        model(24, 64, 4, 2),
        model(4, 512, 8, 2),
        model(8, 1024, 16, 16),
        model(1, 64, 4, 1, 50_000),
    ]
    steps = [LocalPass("decode", context) for context in (0, 100)]

    def timed(shape: ModelRecord, one: LocalPass, name: str) -> TimedPass:
        seconds = pass_s(shape, one, costs=made, profile=PROFILE).value
        return TimedPass(name, shape, one, "native", "int8", seconds)

    seen = [timed(shape, one, str(number)) for number, shape in enumerate(shapes) for one in steps]
    found = fit_costs(seen, PROFILE)
    assert min(found.constants) >= 0
    unseen = timed(model(12, 384, 6, 2, 4096), LocalPass("decode", 50), "unseen")
    assert predicted_s(unseen, found, PROFILE) == pytest.approx(unseen.seconds, rel=0.02)


def test_leaving_a_probe_out_uses_times_of_the_others_alone() -> None:
    small, large = model(2, 64, 4, 2), model(4, 512, 8, 2)
    one = LocalPass("decode", 0)
    pair = [TimedPass("a", small, one, "native", "int8", 0.001), TimedPass("b", large, one, "native", "int8", 0.1)]
    (_, first), (_, second) = left_out_ratios(pair, PROFILE)
    assert first == pytest.approx(0.001 / predicted_s(pair[0], fit_costs(pair[1:], PROFILE), PROFILE))
    assert second == pytest.approx(0.1 / predicted_s(pair[1], fit_costs(pair[:1], PROFILE), PROFILE))


@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=60))
def test_a_band_holds_at_least_four_fifths_of_what_it_was_made_of(ratios: list[float]) -> None:
    band = band_of("tpot", ratios)
    inside = sum(band.low * 0.999999 <= ratio <= band.high * 1.000001 for ratio in ratios)
    assert inside >= 0.8 * len(ratios)
    assert band.low * band.high == pytest.approx(1.0)


def test_one_client_on_this_machine_has_the_step_and_the_prefill_of_the_profile() -> None:
    shape, device = find_model("smollm2-135m"), calibrated()
    found = serving_estimate(
        shape, device, batch=1, input_tokens=256, output_tokens=32, precision="int8", batching="static"
    )
    step = pass_s(shape, LocalPass("decode", 272), costs=costs("native", "int8", STEP), profile=device.profile)
    read = pass_s(shape, LocalPass("prefill", 256), costs=costs("torch", "fp32", READ), profile=device.profile)
    assert found.tpot_s.value_s == pytest.approx(step.value)
    assert found.ttft_s.value_s == pytest.approx(read.value)
    assert found.tpot_s.low_s == pytest.approx(max(0.8 * step.value, found.tpot_s.floor_s))
    assert "lab calibrate" in found.constants.source


@given(st.integers(1, 400), st.integers(0, 400))
def test_a_prompt_read_in_two_pieces_sees_the_pairs_of_one(first: int, second: int) -> None:
    pieces = LocalPass("prefill", first), LocalPass("prefill", second, held_tokens=first)
    assert sum(one.pairs for one in pieces) == LocalPass("prefill", first + second).pairs
    assert pieces[1].cached_tokens == first


def test_a_hit_on_a_prefix_saves_reading_it_but_not_seeing_it() -> None:
    shape, device = find_model("smollm2-135m"), calibrated()
    asked = {"batch": 1, "output_tokens": 8, "precision": "int8", "batching": "static"}
    whole, hit, rest = (
        serving_estimate(shape, device, **asked, **prompt).prefill_s  # type: ignore[arg-type] # as the cases say
        for prompt in ({"input_tokens": 512}, {"input_tokens": 512, "prefix_share": 7 / 8}, {"input_tokens": 64})
    )
    seen = READ["prefill_pairs"] * 64 * 448 * 30 * 576
    assert hit == pytest.approx(rest + seen)
    assert rest < hit < whole


@given(st.floats(1e5, 1e9), st.floats(1.0, 3.0))
def test_a_floor_reads_as_fast_as_the_fastest_of_both_measured_sizes_around_a_set(size: float, more: float) -> None:
    tiers = (Tier(1e6, 80e9, 90e9), Tier(1e7, 30e9, 60e9), Tier(1e8, 15e9, 15e9))
    profile = dataclasses.replace(PROFILE, tiers=tiers)
    best = profile.best_bandwidth_bytes_per_s(size)
    assert best >= profile.bandwidth_bytes_per_s(size) * 0.999999
    assert 15e9 * 0.999999 <= profile.best_bandwidth_bytes_per_s(size * more) <= best * 1.000001 <= 90e9 * 1.00001
    assert [profile.best_bandwidth_bytes_per_s(tier.set_bytes) for tier in tiers] == [90e9, 60e9, 15e9]
    keep_profile(profile)
    assert local_accelerator().bandwidth_at(size) == best


def test_more_clients_make_a_step_longer_and_a_newcomers_prefill_stalls_them() -> None:
    shape, device = find_model("smollm2-135m"), calibrated()
    few, many = (
        serving_estimate(shape, device, batch=batch, input_tokens=64, output_tokens=32, precision="int8")
        for batch in (1, 8)
    )
    assert many.step_s > few.step_s
    assert many.tpot_s.value_s == pytest.approx(many.step_s + 7 / 32 * many.prefill_s)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("gpt-oss-120b", {}, "dense decoders with full attention, and 'gpt-oss-120b' is none"),
        ("llama-3.2-1b", {"tensor_parallel": 2}, "one machine: nothing can be split over 2"),
        ("llama-3.2-1b", {"precision": "fp8"}, "measured in fp32, int8, not in fp8"),
        ("llama-3.2-1b", {"engine": "vllm"}, "leave out the engine 'vllm'"),
    ],
)
def test_what_the_profile_says_nothing_of_is_refused(name: str, changed: dict[str, object], words: str) -> None:
    asked = {"batch": 1, "input_tokens": 64, "output_tokens": 8, "precision": "int8"} | changed
    with pytest.raises(UsageError, match=words):
        serving_estimate(find_model(name), calibrated(), **asked)  # type: ignore[arg-type] # as the cases say


def test_a_sum_is_shown_part_by_part_and_adds_up() -> None:
    shown = pass_s(model(2, 64, 4, 2), LocalPass("decode", 10), costs=costs("native", "int8", STEP), profile=PROFILE)
    parts, total = shown.filled.split(" = ")
    named = [float(part.split()[-2]) for part in parts.split(" + ")]
    assert math.isclose(sum(named), float(total.split()[0]), rel_tol=0.02)
    assert np.isclose(shown.value * 1e3, float(total.split()[0]), rtol=0.01)


@pytest.mark.parametrize(("precision", "engine", "bytes_each"), [("int8", "native", 4), ("fp32", "torch", 0)])
def test_memory_counts_the_weights_that_prompts_are_read_with_beside_those_that_decode(
    precision: str, engine: str, bytes_each: float
) -> None:
    known = (costs("torch", "fp32", READ), costs(engine, precision, STEP))[: 1 + (engine == "native")]
    keep_profile(dataclasses.replace(PROFILE, costs=known))
    here, small = local_accelerator(), find_model("smollm2-135m")
    found = serving_estimate(small, here, batch=1, input_tokens=10, output_tokens=10, precision=precision)
    alone = checkpoint_bytes(small, weight_format=precision)
    assert here.prompt_bytes_per_weight(precision) == bytes_each
    assert found.weights_bytes == pytest.approx(alone + bytes_each * (small.parameters or 0))
