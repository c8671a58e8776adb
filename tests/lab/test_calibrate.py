"""Timing probes: every pass of every round with a clock of our own, real decoders, and memory that is really read."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

torch = pytest.importorskip("torch")

from llmdrill.catalog.architecture import AttentionShape  # noqa: E402
from llmdrill.catalog.local import CACHE_BYTES  # noqa: E402
from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.kv_cache import kv_cache_bytes  # noqa: E402
from llmdrill.lab.bandwidth import PEAK_ROWS, Reader, peak_flops, read_bandwidth  # noqa: E402
from llmdrill.lab.calibrate import HeldOut, Pass, Probe, calibrate, probe_decoder  # noqa: E402
from llmdrill.lab.calibrate_shapes import held_out, probes  # noqa: E402
from llmdrill.lab.native.binding import native_status  # noqa: E402
from llmdrill.lab.native.engine import NativeDecoder  # noqa: E402
from llmdrill.lab.shapes import named_shape  # noqa: E402

pytestmark = pytest.mark.lab

TINY = named_shape("tiny")
PASSES = (Pass("prefill", 5), Pass("decode", 7), Pass("decode", 3, sequences=2))


def test_every_pass_and_request_is_read_once_a_round_after_the_warm_up() -> None:
    ticks = itertools.count()
    asked = HeldOut("b", TINY, "torch", "bf16", 6, 5)
    found = calibrate(
        (Probe("a", TINY, "torch", "fp32", PASSES),),
        (asked,),
        rounds=3,
        set_bytes=(8192,),
        now=lambda: float(next(ticks)),
    )
    assert [one.timed for one in found.readings] == list(PASSES)
    assert {len(one.seconds) for one in found.readings} == {3}
    assert {one.seconds for one in found.readings} == {(1.0, 1.0, 1.0)}  # one tick from before to after a pass
    (answered,) = found.answered
    assert (answered.ttft_s, answered.tpot_s) == ((1.0,) * 3, (0.25,) * 3)  # one tick each: TTFT, and four more tokens
    assert found.bandwidths[0].bytes_per_s == found.bandwidths[0].best_bytes_per_s == 8192


def test_short_passes_are_read_several_times_and_the_mean_of_one_is_kept() -> None:
    ticks = itertools.count()
    found = calibrate(
        (Probe("a", TINY, "torch", "fp32", PASSES[:1]),), (), rounds=1, set_bytes=(), now=lambda: next(ticks) * 0.001
    )
    assert found.readings[0].median_s == pytest.approx(0.001)


def test_probes_layers_are_equal_in_value_and_lie_apart_in_memory() -> None:
    decoder = probe_decoder(dataclasses.replace(TINY, layers=3), engine="torch", precision="fp32", seed=1)
    first, *others = decoder.weights.layers
    assert len({layer.down.data_ptr() for layer in decoder.weights.layers}) == 3
    assert all(torch.equal(first.qkv, layer.qkv) for layer in others)
    assert decoder.random_weights


@pytest.mark.parametrize(("engine", "precision"), [("torch", "fp32"), ("torch", "bf16"), ("native", "int8")])
def test_caches_take_the_bytes_that_estimates_on_this_machine_count(engine: str, precision: str) -> None:
    decoder = probe_decoder(TINY, engine=engine, precision=precision, seed=0)  # type: ignore[arg-type]
    cache = decoder.start(sequences=3, capacity_tokens=32).cache
    shape = AttentionShape(layers=TINY.layers, kv_heads=TINY.kv_heads, head_dim=TINY.head_dim)
    value_bytes = CACHE_BYTES[precision]
    assert cache.keys_values.nbytes == kv_cache_bytes(
        shape, context_tokens=32, sequences=3, bytes_per_value=value_bytes
    )


def test_a_native_probe_says_what_the_torch_one_says() -> None:
    if native_status().library is None:
        pytest.skip("no compiler")
    plain, native = (probe_decoder(TINY, engine=engine, precision="fp32", seed=1) for engine in ("torch", "native"))
    assert isinstance(native, NativeDecoder)
    steps = []
    for decoder in (plain, native):
        session = decoder.start(sequences=1, capacity_tokens=8)
        session.prefill([[1, 2, 3]])
        steps.append(session.decode(torch.tensor([4])))
    assert torch.allclose(*steps, atol=1e-4)


def test_no_held_out_shape_is_a_probe_and_both_fit_their_context() -> None:
    timed, asked = probes(native=True), held_out(native=True)
    assert not {one.shape for one in timed} & {one.shape for one in asked}
    assert {(one.engine, one.precision) for one in timed} >= {(one.engine, one.precision) for one in asked}
    for one in asked:
        assert one.prompt_tokens + one.output_tokens <= one.shape.max_positions
    rows = {one.tokens for probe in timed for one in probe.passes if one.kind == "prefill"}
    assert {1, 2, 4, 8, 16, 32, 64, 128, 256, 512} <= rows


def test_without_a_compiler_torch_alone_is_probed() -> None:
    everything: list[Probe | HeldOut] = [*probes(native=False), *held_out(native=False)]
    assert {one.engine for one in everything} == {"torch"}
    assert "int8" not in {one.precision for one in everything}


def test_bandwidth_is_bytes_over_the_clock_and_the_peak_is_flop_over_it() -> None:
    ticks = itertools.count()
    assert read_bandwidth(size_bytes=1 << 20, repeats=3, now=lambda: float(next(ticks))) == 1 << 20
    assert peak_flops(repeats=1, now=lambda: float(next(ticks))) == 2 * PEAK_ROWS**3
    assert Reader(size_bytes=10_000).size_bytes == 8192
    with pytest.raises(UsageError, match="at least 4096"):
        Reader(size_bytes=100)
