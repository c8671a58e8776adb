"""Training: papers' own numbers, published throughputs, laws, refusals."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UnknownNameError
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.training_compute import (
    BESIROGLU,
    HOFFMANN,
    SCALING_LAWS,
    attention_share,
    chinchilla_tokens,
    compute_optimal,
    device_hours,
    find_scaling_law,
    pipeline_bubble_share,
    training_flops,
    training_loss,
)
from llmdrill.estimate.training_memory import (
    OPTIMIZERS,
    activation_bytes,
    find_optimizer,
    logits_bytes,
    model_states,
)

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "measured" / "training_mfu.csv"
SIZES = st.floats(1e6, 1e13)
GPT_3 = {"layers": 96, "hidden": 12288, "heads": 96, "sequence_tokens": 2048}
MT_NLG = {"layers": 1, "hidden": 20480, "heads": 128, "sequence_tokens": 2048}


def test_chinchilla_s_70b_want_1_4_trillion_tokens_and_5_9e23_flop() -> None:
    tokens = chinchilla_tokens(parameters=70e9)
    assert tokens == 1.4e12
    assert training_flops(parameters=70e9, tokens=tokens) == pytest.approx(5.88e23)


def test_llama_3_405b_took_3_8e25_flop_as_its_paper_says() -> None:
    assert training_flops(parameters=405e9, tokens=15.6e12) == pytest.approx(3.8e25, rel=0.01)


def test_a_frozen_base_saves_a_third() -> None:
    full = training_flops(parameters=7e9, tokens=1e9)
    assert training_flops(parameters=7e9, tokens=1e9, trainable_parameters=0) == pytest.approx(full * 2 / 3)


def test_adapters_take_part_in_all_three_passes_and_the_frozen_base_in_two() -> None:
    passes = training_flops(parameters=8e9, tokens=1e9, trainable_parameters=2e8)
    assert passes == pytest.approx((2 * 8.2e9 + 2 * 8.2e9 + 2 * 2e8) * 1e9)


def test_the_refit_gives_back_the_rule_of_thumb_where_the_printed_fit_does_not() -> None:
    refit, printed = (compute_optimal(law, flops=5.76e23) for law in (BESIROGLU, HOFFMANN))
    assert 15 < refit.tokens / refit.parameters < 25
    assert printed.tokens / printed.parameters > 50
    assert BESIROGLU.beta / (BESIROGLU.alpha + BESIROGLU.beta) == pytest.approx(0.5126, abs=1e-4)


@given(flops=st.floats(1e18, 1e27), law=st.sampled_from(list(SCALING_LAWS.values())), off=st.floats(0.3, 3))
def test_no_other_split_of_the_budget_has_a_lower_loss(flops: float, law: object, off: float) -> None:
    best = compute_optimal(law, flops=flops)  # type: ignore[arg-type]
    size = best.parameters * off
    assert best.loss <= training_loss(law, parameters=size, tokens=flops / (6 * size)) * (1 + 1e-12)  # type: ignore[arg-type]
    assert 6 * best.parameters * best.tokens == pytest.approx(flops)


@given(size=SIZES, tokens=SIZES, factor=st.floats(1, 100))
def test_flops_are_linear_and_more_of_either_lowers_the_loss(size: float, tokens: float, factor: float) -> None:
    flops = training_flops(parameters=size, tokens=tokens)
    assert training_flops(parameters=factor * size, tokens=tokens) == pytest.approx(factor * flops)
    loss = training_loss(BESIROGLU, parameters=size, tokens=tokens)
    assert training_loss(BESIROGLU, parameters=size * factor, tokens=tokens) <= loss
    assert training_loss(BESIROGLU, parameters=size, tokens=tokens * factor) <= loss
    assert loss > BESIROGLU.entropy


# Layers and width: mosaicml/llm-foundry, scripts/train/yamls/pretrain/mpt-13b.yaml; those of 1B and 7B fit as exactly.
SHAPES = {"mpt-1b": (24, 2048), "mpt-7b": (32, 4096), "mpt-13b": (40, 5120)}
PEAKS = {"H100-SXM": 989.5e12, "A100-SXM-80GB": 312e12, "A100-SXM-40GB": 312e12}


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the measured data lie beside the repository, and are not there")
def test_49_published_throughputs_follow_from_their_mfu() -> None:
    runs: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with PUBLISHED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            keys = ("model", "gpu", "n_gpu", "precision", "input_len", "scenario")
            runs[tuple(row[key] for key in keys)][row["metric"]] = float(row["value"])
    assert len(runs) == 49
    for (model, gpu, _, precision, length, scenario), measured in runs.items():
        layers, width = SHAPES[model]
        size = int(re.findall(r"params (\d+)", scenario)[0])
        extra = attention_share(parameters=size, layers=layers, attention_width=width, sequence_tokens=int(length))
        flops = training_flops(parameters=size, tokens=measured["train_throughput_per_gpu"]) * (1 + extra)
        peak = PEAKS[gpu] * (2 if precision == "fp8" else 1)
        hours = device_hours(flops=flops, peak_flops_per_s=peak, mfu=measured["train_mfu"] / 100)
        assert hours * 3600 == pytest.approx(1, abs=0.001)  # of one second's tokens


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the measured data lie beside the repository, and are not there")
def test_the_distribution_of_mfu_that_is_told_is_that_of_the_file() -> None:
    found = defaultdict(list)
    with PUBLISHED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "train_mfu" and row["precision"] == "bf16":
                found[row["gpu"][:4]].append(float(row["value"]) / 100)
    told = {
        gpu: (round(min(mfu), 2), round(statistics.median(mfu), 2), round(max(mfu), 2)) for gpu, mfu in found.items()
    }
    assert told == {"H100": (0.26, 0.41, 0.46), "A100": (0.47, 0.52, 0.64)}
    assert sum(map(len, found.values())) == 46


def test_the_zero_paper_s_table_for_7_5b_over_64_devices() -> None:
    held = [model_states(parameters=7.5e9, zero_stage=stage, data_parallel=64).total_bytes for stage in range(4)]
    assert [round(one / 1e9, 1) for one in held] == [120, 31.4, 16.6, 1.9]


def test_gpt_2_of_1_5b_needs_24_gb_and_other_optimizers_less() -> None:
    assert model_states(parameters=1.5e9).total_bytes == 24e9
    assert {name: one.total_bytes for name, one in OPTIMIZERS.items()} == {
        "adamw": 16,
        "adamw-8bit": 10,
        "adamw-bf16": 8,
        "adamw-fp32": 16,
        "sgd-momentum": 12,
        "sgd": 8,
    }


@given(size=SIZES, copies=st.integers(1, 512), tensor=st.integers(1, 16), stages=st.integers(1, 16))
def test_what_all_devices_hold_is_never_less_than_the_model_and_exactly_it_when_all_is_split(
    size: float, copies: int, tensor: int, stages: int
) -> None:
    held = [
        model_states(
            parameters=size,
            zero_stage=stage,
            data_parallel=copies,
            tensor_parallel=tensor,
            pipeline_parallel=stages,
        ).total_bytes
        * (copies * tensor * stages)
        for stage in range(4)
    ]
    assert held == sorted(held, reverse=True)
    assert held[3] == pytest.approx(16 * size)
    assert held[0] == pytest.approx(16 * size * copies)


@pytest.mark.parametrize(("shape", "saved"), [(GPT_3, 0.70), (MT_NLG, 0.65)])
def test_selective_recomputation_saves_what_its_paper_says(shape: dict[str, int], saved: float) -> None:
    every = activation_bytes(**shape)
    assert 1 - activation_bytes(**shape, recomputation="selective") / every == pytest.approx(saved, abs=0.005)


def test_table_2_of_the_paper() -> None:
    s, b, h, t, scores = 2048, 4, 12288, 8, 80
    one = {**GPT_3, "layers": 1, "micro_batch": b}
    size = s * b * h
    assert activation_bytes(**one) == size * (34 + scores)
    assert activation_bytes(**one, tensor_parallel=t) == size * (10 + 24 / t + scores / t)
    assert activation_bytes(**one, tensor_parallel=t, sequence_parallel=True) == size * (34 / t + scores / t)
    assert activation_bytes(**one, tensor_parallel=t, recomputation="selective") == size * (10 + 24 / t)
    both = activation_bytes(**one, tensor_parallel=t, sequence_parallel=True, recomputation="selective")
    assert both == size * 34 / t
    assert activation_bytes(**one, tensor_parallel=t, recomputation="full") == size * 2
    split = activation_bytes(**one, tensor_parallel=t, recomputation="full", sequence_parallel=True)
    assert split == size * 2 / t


def test_a_pipeline_s_first_stage_holds_as_much_as_no_pipeline_unless_micro_batches_are_few() -> None:
    alone = activation_bytes(**GPT_3)
    assert activation_bytes(**GPT_3, pipeline_parallel=8) == alone
    assert activation_bytes(**GPT_3, pipeline_parallel=8, microbatches=2) == alone / 4


@given(stages=st.integers(1, 64), parts=st.integers(1, 1000))
def test_the_bubble_is_the_idle_part_of_a_drawn_schedule(stages: int, parts: int) -> None:
    slots = stages * (parts + stages - 1)  # every stage does `parts` units within parts + stages - 1 steps
    assert pipeline_bubble_share(stages=stages, microbatches=parts) == pytest.approx(1 - stages * parts / slots)


def test_logits_of_a_long_sequence_outweigh_a_small_model() -> None:
    assert logits_bytes(vocabulary=128_256, sequence_tokens=8192, micro_batch=2) == 2 * 4 * 128_256 * 8192


@pytest.mark.parametrize("mfu", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_an_mfu_that_cannot_be_is_refused(mfu: float) -> None:
    with pytest.raises(NumberError, match="mfu"):
        device_hours(flops=1e20, peak_flops_per_s=1e15, mfu=mfu)


def test_counts_and_names_that_make_no_sense_are_refused() -> None:
    with pytest.raises(NumberError, match="zero_stage"):
        model_states(parameters=1, zero_stage=4)
    with pytest.raises(NumberError, match="data_parallel"):
        model_states(parameters=1, data_parallel=0)
    with pytest.raises(NumberError, match="tokens"):
        training_flops(parameters=1, tokens=-1)
    with pytest.raises(NumberError, match="recomputation"):
        activation_bytes(**GPT_3, recomputation="some")  # type: ignore[arg-type]
    with pytest.raises(NumberError, match="stages"):
        pipeline_bubble_share(stages=0, microbatches=1)
    with pytest.raises(UnknownNameError, match="did you mean adamw"):
        find_optimizer("adam")
    with pytest.raises(UnknownNameError, match="did you mean hoffmann"):
        find_scaling_law("hofman")
