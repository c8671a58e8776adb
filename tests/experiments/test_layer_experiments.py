"""`lab attention`, `norm`, `moe` and `ssm` as wholes: keys, predictions, sentences that follow from the figures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.experiments.attention import AttentionOptions, measure_attention  # noqa: E402
from llmdrill.experiments.attention import _positions_meaning as positions_meaning  # noqa: E402
from llmdrill.experiments.growth import crossing, fitted_exponent, why_no_exponent  # noqa: E402
from llmdrill.experiments.moe import MoeOptions, measure_moe  # noqa: E402
from llmdrill.experiments.moe import _routing_meaning as routing_meaning  # noqa: E402
from llmdrill.experiments.moe import _work_meaning as work_meaning  # noqa: E402
from llmdrill.experiments.moe_forms import Forms as ExpertForms  # noqa: E402
from llmdrill.experiments.norm import NormOptions, measure_norm  # noqa: E402
from llmdrill.experiments.norm import _training_meaning as training_meaning  # noqa: E402
from llmdrill.experiments.result import Experiment, experiment_json  # noqa: E402
from llmdrill.experiments.ssm import Forms, SsmOptions, measure_ssm  # noqa: E402
from llmdrill.experiments.ssm import _prompt_meaning as prompt_meaning  # noqa: E402
from llmdrill.lab.attention_positions import Extrapolation  # noqa: E402
from llmdrill.lab.clock import Timing  # noqa: E402
from llmdrill.lab.moe_run import Balance, ExpertShape, LayerReading, TrainedLayers  # noqa: E402
from llmdrill.lab.norm_run import Trained  # noqa: E402
from llmdrill.lab.ssm import SsmShape  # noqa: E402
from llmdrill.lab.ssm_run import LengthReading  # noqa: E402

pytestmark = pytest.mark.lab


def test_attention_sets_torch_beside_the_calculator() -> None:
    options = AttentionOptions(heads=2, head_dim=8, longest_tokens=128, steps=1, width=16, pieces=2, repeats=1)
    found = whole(measure_attention(options), tables={"example", "scaling", "growth", "positions"})
    assert found["example_difference_ratio"] < 1e-12
    assert found["full_peak_bytes"] == found["predicted"]["full_peak_bytes"]
    assert [row["length_bytes"] for row in found["positions"]] == [64, 80, 96, 128, 256, 512]
    assert found["full_exponent_ratio"] is None  # one length tells nothing of growth
    assert {"rope_inside_nats", "alibi_beyond_more_nats"} <= set(found["weights_matter"])


def test_norm_sets_gradients_beside_the_theorem() -> None:
    options = NormOptions(layers=2, width=16, steps=2, warm_up_steps=1, sequences=2, tokens=8, seeds=1, depths=(2, 4))
    found = whole(measure_norm(options), tables={"gradient_by_depth", "layers", "gradients_after_training", "loss"})
    assert found["predicted"]["pre_gradient_exponent_ratio"] == pytest.approx(-0.5)
    assert found["predicted"]["post_gradient_exponent_ratio"] == pytest.approx(0)
    assert [row["lemma_high"] for row in found["layers"]] == [2.5, 4.0]
    assert found["post_no_warm_up_nats"] > 0


def test_moe_counts_what_the_closed_forms_predict() -> None:
    options = MoeOptions(width=16, hidden=16, experts=4, most_tokens=4, steps=1, repeats=1)
    found = whole(measure_moe(options), tables={"time", "experts_read", "loads"})
    for name in ("experts_flops", "narrow_dense_flops", "wide_dense_flops", "one_token_read_bytes"):
        assert found[name] == found["predicted"][name]
    assert len(found["loads"]) == 2 * 4
    assert [row["predicted_share"] for row in found["experts_read"]] == [0.5, 0.75, 0.9375]
    assert found["experts_per_token"] == 2


def test_ssm_reads_the_bytes_that_the_closed_forms_predict() -> None:
    options = SsmOptions(width=16, state=4, heads=2, longest_tokens=256, longest_context_tokens=512, repeats=1)
    found = whole(measure_ssm(options), tables={"prompts", "decode"})
    assert found["forms_difference_ratio"] < 1e-5
    for name in ("state_bytes", "cache_bytes", "bytes_crossover_tokens"):
        assert found[name] == found["predicted"][name]
    assert found["notes"][0] == "random weights: latency and memory only"
    assert [row["cache_bytes"] for row in found["decode"]] == [row["cache_formula_bytes"] for row in found["decode"]]
    assert found["attention_exponent_ratio"] is None


@pytest.mark.parametrize(("sizes", "said"), [([], "unknown here"), ([1024], "unknown here"), ([1024, 2048], "")])
def test_a_power_that_two_lengths_do_not_give_is_unknown_for_a_reason(sizes: list[int], said: str) -> None:
    assert said in why_no_exponent(sizes, 1024)
    assert bool(why_no_exponent(sizes, 1024)) == (fitted_exponent(sizes, sizes) is None)


def whole(experiment: Experiment, *, tables: set[str]) -> dict[str, Any]:
    """Return the JSON of an experiment whose meaning, pictures and tables are all there."""
    found: dict[str, Any] = json.loads(json.dumps(experiment_json(experiment)))
    assert tables <= set(found)
    assert len(found["meaning"]) == 2
    assert all(sentence.endswith(".") for sentence in found["meaning"])
    assert experiment.pictures
    return found


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: measure_ssm(SsmOptions(width=16, heads=3)), "heads must divide the width"),
        (lambda: measure_ssm(SsmOptions(width=16, heads=2, longest_tokens=64)), "--longest must be at least 128"),
        (lambda: measure_attention(AttentionOptions(longest_tokens=64)), "--longest must be at least 128"),
        (lambda: measure_norm(NormOptions(width=12)), "must be a multiple"),
        (lambda: measure_moe(MoeOptions(experts=2, per_token=3)), "there are only 2 experts"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_runs(run: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run()


def test_exponents_and_crossings_are_read_off_power_laws() -> None:
    sizes = [128, 256, 512, 1024]
    assert fitted_exponent(sizes, [one**1.7 for one in sizes]) == pytest.approx(1.7)
    assert fitted_exponent([128], [1]) is None
    linear, square = [300.0 * one for one in sizes], [float(one**2) for one in sizes]
    assert crossing(sizes, linear, square) == pytest.approx(300)
    assert crossing(sizes, square, linear) is None
    assert crossing(sizes, linear, [2 * one for one in linear]) == 128


def test_the_sentence_on_positions_follows_the_losses() -> None:
    lengths = (64, 512)
    flat, lost = (Extrapolation("alibi", lengths, (2.0, end), 0.1, 8) for end in (2.01, 2.6))
    rope = replace(lost, positions="rope")
    assert positions_meaning((flat, rope)).endswith("more with RoPE (+0.60 nats), and not 0.05 nats more with ALiBi.")
    assert "no model 0.05 nats more" in positions_meaning((flat,))
    assert "all three kinds" in positions_meaning((lost, rope))


def trained(norm: str, warm_up_steps: int, nats: float) -> Trained:
    return Trained(norm, warm_up_steps, (nats,), nats, (1.0,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("post", "warm", "words"),
    [
        (3.2, 3.2, "learnt no more than byte frequencies (3.10) without one and learnt no more"),
        (3.2, 2.5, "byte frequencies (3.10) without one and reached 2.50 nats a byte with it."),
        (2.5, 3.2, "reached 2.50 nats a byte without one and learnt no more"),
        (float("nan"), 2.5, "byte frequencies (3.10) without one and reached 2.50 nats a byte with it."),
        (2.5, float("nan"), "byte frequencies (3.10) with it."),
        (2.7, 2.5, "with it, where a warm-up helped it."),
        (2.5, 2.7, "with it, where a warm-up cost it."),
        (2.51, 2.5, "with it, where a warm-up made no clear difference to it."),
    ],
)
def test_the_sentence_on_training_follows_the_losses(post: float, warm: float, words: str) -> None:
    runs = [trained("pre", 0, 2.3), trained("pre", 9, 2.3), trained("post", 0, post), trained("post", 9, warm)]
    assert words in training_meaning(runs, 3.1)


@pytest.mark.parametrize(
    ("experts_s", "words"),
    [
        ((1.0, 9.0), "at 8 tokens it reads 3.6 times the weights of the dense layer and takes 9 times its time"),
        ((9.0, 1.0), "at 1 token it reads 1 times the weights of the dense layer and takes 9 times its time"),
        ((0.5, 0.5), "it is never slower"),
    ],
)
def test_the_sentence_on_experts_follows_the_times(experts_s: tuple[float, float], words: str) -> None:
    readings = [
        LayerReading(layer, tokens, Timing((seconds,)), 1, read, None)  # type: ignore[arg-type]
        for tokens, took, weights in zip((1, 8), experts_s, (10.0, 36.0), strict=True)
        for layer, seconds, read in (("experts", took, weights), ("dense_same_flops", 1.0, 10.0))
    ]
    assert words in work_meaning(readings, ExpertForms(ExpertShape(width=8, hidden=8, experts=8, per_token=2)))


@pytest.mark.parametrize(
    ("loads", "nats", "words"),
    [
        ((0.5, 0.5), 2.0, ("loss evens the loads", "better than")),
        ((0.9, 0.1), 2.3, ("does not clearly even", "no better than")),
        ((1.0, 0.0), 2.19, ("does not clearly even", "about as good as")),
    ],
)
def test_the_sentence_on_routing_follows_loads_and_losses(
    loads: tuple[float, float], nats: float, words: tuple[str, str]
) -> None:
    balances = (Balance(0.0, ((0.9, 0.1),), (1,), (0.5,), 2.2), Balance(0.01, (loads,), (1,), (0.5,), nats))
    said = routing_meaning(TrainedLayers(balances, {"dense_same_flops": 2.2}, {}))
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("attention_s", "words"),
    [
        ((1.0, 8.0), "is the faster from about"),
        ((1.0, 2.0), "is not the faster at the longest measured (2 times the time of attention)"),
        ((9.0, 9.0), "is the faster at every length measured"),
    ],
)
def test_the_sentence_on_prompts_follows_the_times(attention_s: tuple[float, float], words: str) -> None:
    lengths = [
        LengthReading(tokens, Timing((state,)), Timing((attention,)), None, 1, 1)
        for tokens, state, attention in zip((1024, 4096), (2.0, 4.0), attention_s, strict=True)
    ]
    said = prompt_meaning(lengths, Forms(SsmShape()))
    assert words in said
    assert "at 4096 tokens it does 0.25 GFLOP/s" in said
