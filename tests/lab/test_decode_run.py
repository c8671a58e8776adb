"""The decoding run: real clocks and real bytes, and the typing trace that is replayed on them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.decode_run import DecodingConfig, Generation, decoding_key, measure_decoding
from llmdrill.lab.shapes import NAMED_SHAPES
from llmdrill.lab.typing_trace import TypingTrace, replay_typing

if TYPE_CHECKING:
    from llmdrill.measurement import Measurement

CONFIG = DecodingConfig(prompt_tokens=60, output_tokens=5, sequences=2, shape="tiny", repeats=3)


def value(measurement: Measurement, name: str) -> float:
    figure = measurement.figure(name)
    assert figure is not None, name
    assert figure.value is not None, name
    return figure.value


@pytest.fixture(scope="module")
def measured() -> Measurement:
    pytest.importorskip("torch")
    return measure_decoding(CONFIG, seed=1)


@pytest.mark.lab
def test_the_cache_holds_two_vectors_a_token_layer_and_kv_head(measured: Measurement) -> None:
    shape = NAMED_SHAPES["tiny"]
    tokens = 2 * (60 + 5 - 1)
    assert value(measured, "kv_cache_bytes") == tokens * 2 * shape.layers * shape.kv_heads * shape.head_dim * 4
    assert value(measured, "kv_cache_allocated_bytes") == value(measured, "kv_cache_bytes")


@pytest.mark.lab
def test_the_figures_agree_with_the_table_of_repeats(measured: Measurement) -> None:
    rows = np.array(measured.tables[0].rows, dtype=float)
    assert rows.shape == (3, 5)
    ttft, tpot, total = rows[:, 1], rows[:, 2], rows[:, 3]
    assert np.median(ttft) == pytest.approx(value(measured, "ttft_p50_ms"), abs=1e-3)
    assert ttft + 4 * tpot == pytest.approx(total, abs=0.01)
    assert value(measured, "tokens_per_s") == pytest.approx(2 * 5 / (np.median(total) / 1000), rel=1e-2)
    assert value(measured, "ttft_p95_ms") >= value(measured, "ttft_p50_ms")


@pytest.mark.lab
def test_random_weights_and_the_static_batch_are_stated(measured: Measurement) -> None:
    assert measured.notes[0] == "random weights: latency and memory only"
    assert "static batch" in measured.notes[1]
    assert dict(measured.machine.versions)["torch"]


@pytest.mark.lab
def test_clocks_are_read_around_prefill_and_around_all_steps() -> None:
    pytest.importorskip("torch")
    ticks = itertools.count()  # one "second" a reading: start, first token, end
    run = measure_decoding(CONFIG, seed=1, now=lambda: float(next(ticks)))
    assert value(run, "ttft_p50_ms") == 1000
    assert value(run, "total_p50_ms") == 2000
    assert value(run, "tpot_p50_ms") == 250


@pytest.mark.lab
def test_the_cached_prefix_is_kept_and_the_rest_of_the_prompt_is_read() -> None:
    pytest.importorskip("torch")
    from llmdrill.lab.decode_run import _time_cached_prefill
    from llmdrill.lab.decoder import random_decoder

    prompts = [list(range(40)), list(range(50, 90))]
    session = random_decoder(NAMED_SHAPES["tiny"], seed=0).start(sequences=2, capacity_tokens=60)
    session.prefill(prompts)
    before = session.cache.keys_values.clone()
    ticks = iter([10.0, 12.5])
    assert _time_cached_prefill(session, prompts, 30, lambda: next(ticks)) == 2.5
    assert session.cache.lengths.tolist() == [40, 40]
    assert np.abs((session.cache.keys_values - before).numpy()).max() < 1e-5


@pytest.mark.lab
def test_a_prompt_that_is_mostly_cached_starts_sooner() -> None:
    pytest.importorskip("torch")
    config = DecodingConfig(prompt_tokens=1500, output_tokens=2, shape="tiny", repeats=5, cached_share=0.95)
    assert value(measure_decoding(config, seed=0), "ttft_cached_ratio") < 0.7


@pytest.mark.lab
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process's memory")
def test_a_fresh_process_grows_by_the_weights_and_the_cache() -> None:
    pytest.importorskip("torch")
    code = """
from llmdrill.lab import shapes
from llmdrill.lab.decode_run import DecodingConfig, measure_decoding
wide = shapes.DecoderShape(layers=2, hidden=64, heads=16, kv_heads=16, head_dim=256, intermediate=64, vocab=400_000,
                           rope_theta=1e4, norm_eps=1e-5, tied=True, max_positions=512)
shapes.NAMED_SHAPES["wide"] = wide
config = DecodingConfig(prompt_tokens=255, output_tokens=2, sequences=16, shape="wide", warm_up=0, repeats=1)
run = measure_decoding(config, seed=0)
values = [run.figure(name).value for name in ("weights_rss_bytes", "generation_rss_bytes", "kv_cache_allocated_bytes")]
print(*values, wide.parameters * 4, 16 * 256 * wide.kv_bytes_per_token)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    weights_rss, generation_rss, cache, weights, expected_cache = map(float, done.stdout.split())
    assert cache == expected_cache > 250e6
    assert weights_rss == pytest.approx(weights, rel=0.1)
    assert cache * 0.95 < generation_rss < cache * 1.6


@pytest.mark.lab
def test_a_prompt_longer_than_the_context_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="this model has 1 to 2048"):
        measure_decoding(DecodingConfig(prompt_tokens=2048, output_tokens=2, shape="tiny"), seed=0)


@pytest.mark.parametrize(
    "wrong",
    [{"output_tokens": 1}, {"prompt_tokens": 1}, {"sequences": 0}, {"repeats": 0}, {"cached_share": 1.0}],
)
def test_a_config_that_measures_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DecodingConfig(**{"prompt_tokens": 8, "output_tokens": 4, "shape": "tiny", **wrong})


def test_the_key_changes_with_every_parameter() -> None:
    more: list[dict[str, Any]] = [
        {"sequences": 3},
        {"precision": "bf16"},
        {"shape": None},
        {"shape": "smollm2-135m"},
        {"output_tokens": 6},
    ]
    base: dict[str, Any] = {"prompt_tokens": 60, "output_tokens": 5, "sequences": 2, "shape": "tiny", "repeats": 3}
    keys = [decoding_key(CONFIG, seed=1), decoding_key(CONFIG, seed=2)]
    keys += [decoding_key(DecodingConfig(**(base | extra)), seed=1) for extra in more]
    assert len(set(keys)) == len(keys)
    assert decoding_key(DecodingConfig(**base), seed=1) == keys[0]


def test_time_per_output_token_leaves_out_the_first() -> None:
    assert Generation(ttft_s=0.2, total_s=1.0, output_tokens=9).tpot_s == pytest.approx(0.1)


# --- typing -------------------------------------------------------------------------------------------------------

traces = st.builds(
    TypingTrace,
    keystrokes=st.integers(1, 200),
    interval_p50_ms=st.floats(20, 500),
    interval_sigma=st.floats(0, 1.5),
    debounce_ms=st.floats(0, 500),
)


@given(traces, st.floats(1, 500), st.floats(0, 500), st.integers(0, 5))
def test_every_request_ends_one_way_and_the_last_one_is_answered(
    trace: TypingTrace,
    ttft_ms: float,
    decode_ms: float,
    seed: int,
) -> None:
    seen = replay_typing(trace, ttft_ms=ttft_ms, total_ms=ttft_ms + decode_ms, rng=np.random.default_rng(seed))
    assert 1 <= seen.sent <= trace.keystrokes
    assert seen.cancelled_before_first_token + seen.cancelled_later <= seen.sent - 1
    assert seen.wasted_compute_share is not None
    assert 0 <= seen.wasted_compute_share < 1


@given(traces, st.integers(0, 5))
def test_a_longer_debounce_never_sends_more(trace: TypingTrace, seed: int) -> None:
    longer = TypingTrace(trace.keystrokes, trace.interval_p50_ms, trace.interval_sigma, trace.debounce_ms + 40)
    sent = [
        replay_typing(each, ttft_ms=100, total_ms=300, rng=np.random.default_rng(seed)).sent for each in (trace, longer)
    ]
    assert sent[1] <= sent[0]


def test_a_debounce_over_every_pause_sends_one_request_and_wastes_nothing() -> None:
    trace = TypingTrace(keystrokes=50, interval_p50_ms=100, interval_sigma=0, debounce_ms=101)
    seen = replay_typing(trace, ttft_ms=50, total_ms=80, rng=np.random.default_rng(0))
    assert (seen.sent, seen.cancelled_before_first_token, seen.wasted_compute_share) == (1, 0, 0.0)


def test_time_spent_on_cancelled_requests_is_counted_until_they_are_cancelled() -> None:
    trace = TypingTrace(keystrokes=3, interval_p50_ms=100, interval_sigma=0, debounce_ms=40)
    seen = replay_typing(trace, ttft_ms=50, total_ms=180, rng=np.random.default_rng(0))
    assert (seen.sent, seen.cancelled_before_first_token, seen.cancelled_later) == (3, 0, 2)
    assert seen.wasted_compute_share == pytest.approx(120 / 300)  # twice 60 ms, then 180 ms for the one that is kept
    assert seen.wasted_share == pytest.approx(2 / 3)


def test_a_typing_trace_with_a_negative_figure_is_refused() -> None:
    with pytest.raises(UsageError, match="typing trace"):
        TypingTrace(keystrokes=5, interval_p50_ms=100, interval_sigma=-1, debounce_ms=0)
