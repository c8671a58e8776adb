"""`llmdrill calc train`."""

from __future__ import annotations

import json

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN, EXIT_NO


def test_70b_parameters_want_1_4t_tokens() -> None:
    found = run_json("train", "--parameters", "70B")
    assert found["schema"] == "llmdrill/calc-train@1"
    assert found["chinchilla_tokens"] == found["training_tokens"] == 1.4e12
    assert found["training_flops"] == 5.88e23
    assert found["model_states_bytes"] == 70e9 * 16
    assert found["gpu_hours"] is None
    assert found["memory_bytes"] is None


def test_the_zero_paper_s_stages_stand_side_by_side() -> None:
    found = run_json("train", "--parameters", "7.5B", "--dp", "64", "--zero", "2")
    assert found["model_states_bytes"] / 1e9 == pytest.approx(16.6, abs=0.05)
    totals = [round(row["total_gb"], 1) for row in found["model_states_per_device"]]
    assert totals == [120, 31.4, 16.6, 1.9]


def test_time_and_rent_follow_from_the_mfu() -> None:
    words = ("train", "--parameters", "7B", "--tokens", "140B", "--on", "h100", "--dp", "64")
    found = run_json(*words, "--mfu", "40%", "--usd-per-hour", "$2")
    hours = 6 * 7e9 * 140e9 / (989e12 * 0.4 * 3600)
    assert found["gpu_hours"] == pytest.approx(hours, rel=0.001)
    assert found["training_s"] == pytest.approx(found["gpu_hours"] * 3600 / 64, rel=1e-5)
    assert found["usd_total"] == pytest.approx(2 * found["gpu_hours"], rel=1e-5)
    assumed = run_json(*words)
    assert any(note.startswith("assumed: MFU 0.4") for note in assumed["notes"])
    assert any(note.startswith("rent of") for note in assumed["notes"])


def test_a_budget_is_split_by_the_law_that_is_named() -> None:
    refit = run_json("train", "--parameters", "70B", "--budget", "5.76e23")
    printed = run_json("train", "--parameters", "70B", "--budget", "5.76e23", "--fit", "hoffmann")
    assert refit["compute_optimal_parameters"] == pytest.approx(7.22e10, rel=0.01)
    assert printed["compute_optimal_parameters"] < refit["compute_optimal_parameters"] / 2


def test_70b_in_full_needs_many_devices_and_parallelism_makes_it_fit() -> None:
    alone = run_json("train", "--model", "llama-2-70b", "--on", "h100")
    assert alone["fits"] is False
    split = run_json(
        *("train", "--model", "llama-2-70b", "--on", "h100"), *("--tp", "8", "--pp", "4", "--dp", "2", "--zero", "1")
    )
    assert split["fits"] is True
    assert split["devices"] == 64
    assert split["pipeline_bubble_share"] == pytest.approx(3 / 19, rel=1e-5)


QLORA = ("train", "--model", "llama-2-70b", "--method", "qlora")


def test_70b_qlora_fits_on_48_gb_and_lora_does_not() -> None:
    found = run_json(*QLORA, "--memory", "48GB")
    assert found["fits"] is True
    assert found["trainable_parameters"] == 16 * 80 * (2 * 16384 + 2 * 9216 + 3 * 36864)
    parts = (
        "weights_bytes",
        "adapter_bytes",
        "gradients_bytes",
        "optimizer_bytes",
        "activations_bytes",
        "logits_bytes",
    )
    assert sum(found[part] for part in parts) == pytest.approx(found["memory_bytes"], rel=1e-5)
    assert found["adapter_bytes"] + found["gradients_bytes"] + found["optimizer_bytes"] == pytest.approx(
        16 * found["trainable_parameters"], rel=1e-5
    )
    assert found["training_flops"] is None  # nothing tells how much data
    lora = run_json(*QLORA[:3], "--method", "lora", "--memory", "48GB")
    assert lora["fits"] is False
    assert lora["weights_bytes"] == 2 * lora["parameters"]


@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v3", "jamba-v0.1"])
def test_blocks_that_the_formula_does_not_cover_have_no_activations(model: str) -> None:
    found = run_json("train", "--model", model)
    assert found["activations_bytes"] is None
    assert found["memory_bytes"] is None
    assert any("not counted here" in note for note in found["notes"])


def test_a_mixture_of_experts_trains_its_active_parameters_and_holds_all() -> None:
    found = run_json("train", "--model", "mixtral-8x7b", "--tokens", "1T")
    assert found["training_flops"] == pytest.approx(6 * found["active_parameters"] * 1e12, rel=1e-5)
    assert found["model_states_bytes"] == pytest.approx(16 * found["parameters"], rel=1e-5)
    assert found["active_parameters"] < found["parameters"] / 3


def test_an_assertion_about_an_unknown_figure_fails() -> None:
    status, _, err = run(*QLORA, "--assert", "gpu_hours <= 100", "--assert", "memory_bytes <= 48GB")
    assert status == EXIT_NO
    assert "unknown" in err
    assert "memory_bytes" not in err


def test_every_figure_has_a_formula_with_its_numbers_and_a_source() -> None:
    found = run_json(*QLORA, "--tokens", "10M", "--on", "l40s", "--explain")
    for name, derivation in found["explained"].items():
        assert all(derivation.values()), name
    assert "4.12695" in found["explained"]["weights_bytes"]["filled"]
    assert "(4 × parameters + 6 × trainable_parameters)" in found["explained"]["training_flops"]["formula"]


def test_long_sequences_say_what_attention_adds() -> None:
    found = run_json("train", "--model", "llama-3.1-8b", "--seq", "32k", "--on", "h100")
    assert found["attention_share"] == pytest.approx(12 * 32 * 4096 * 32000 / (6 * 8_030_261_248), rel=1e-5)
    assert any("attention adds" in note for note in found["notes"])


def test_json_is_one_object_in_markdown_too_the_figures_stand() -> None:
    _, out, _ = run("train", "--parameters", "1B", "--format", "markdown")
    assert "| `training_flops` |" in out
    _, out, _ = run("train", "--parameters", "1B", "--json")
    assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--model", "llama-2-7b", "--parameters", "7B"),
        ("--parameters", "0"),
        ("--parameters", "-7B"),
        ("--parameters", "1e400"),
        ("--parameters", "many"),
        ("--parameters", "7B", "--active", "8B"),
        ("--parameters", "7B", "--tokens", "nan"),
        ("--parameters", "7B", "--budget", "0"),
        ("--parameters", "7B", "--budget", "1e40"),
        ("--parameters", "7B", "--zero", "4"),
        ("--parameters", "7B", "--dp", "0"),
        ("--parameters", "7B", "--tp", "1.5"),
        ("--parameters", "7B", "--mfu", "120%"),
        ("--parameters", "7B", "--mfu", "0"),
        ("--parameters", "7B", "--on", "h1000"),
        ("--parameters", "7B", "--fit", "kaplan"),
        ("--parameters", "7B", "--optimizer", "lion"),
        ("--parameters", "7B", "--method", "lora"),
        ("--parameters", "7B", "--targets", "q"),
        ("--parameters", "7B", "--memory", "big"),
        ("--parameters", "7B", "--usd-per-hour", "-1"),
        ("--model", "llama-2-7b", "--method", "lora", "--targets", "w"),
        ("--model", "llama-2-7b", "--method", "lora", "--rank", "0"),
        ("--model", "deepseek-v3", "--method", "lora"),
        ("--model", "llama-2-7b", "--seq", "0"),
        ("--model", "no-such-model"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("train", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


def test_latent_attention_multiplies_values_that_are_narrower_than_keys() -> None:
    found = run_json("train", "--model", "deepseek-v3", "--seq", "4096")
    per_token = 6 * 128 * (192 + 128) * 61 * 4096  # scores over 192 values of a head, sums over 128
    assert found["attention_share"] == pytest.approx(per_token / (6 * found["active_parameters"]), rel=1e-5)


def test_a_sliding_window_bounds_what_attention_adds() -> None:
    found = run_json("train", "--model", "gemma-3-27b", "--seq", "32768")
    seen = 10 * 32768 + 52 * 1024  # one layer in six sees the whole sequence
    assert found["attention_share"] == pytest.approx(12 * 32 * 128 * seen / (6 * found["active_parameters"]), rel=1e-5)


def test_a_pipeline_s_first_stage_and_its_last_are_not_one_device() -> None:
    words = ("train", "--model", "llama-3.1-8b", "--pp", "4", "--seq", "8192")
    found = run_json(*words)
    last = found["activations_bytes"] / 4 + found["logits_bytes"]
    fullest = max(found["activations_bytes"], last)
    assert found["memory_bytes"] == pytest.approx(found["model_states_bytes"] + fullest, rel=1e-5)
    kept = run_json(*words, "--recompute", "none")
    assert kept["activations_bytes"] > kept["logits_bytes"]
    assert kept["memory_bytes"] == pytest.approx(kept["model_states_bytes"] + kept["activations_bytes"], rel=1e-5)


def test_attention_adds_more_to_the_passes_of_a_frozen_model() -> None:
    words = ("train", "--model", "llama-3.1-8b", "--seq", "32768", "--on", "h100", "--tokens", "1M")
    full, frozen = (
        next(note for note in run_json(*words, *method)["notes"] if note.startswith("attention adds"))
        for method in ((), ("--method", "lora", "--rank", "1"))
    )
    assert full.startswith("attention adds 107% to 6ND")
    assert frozen.startswith("attention adds 160% to the frozen model's operations")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--pp", "33"), "32 layers"),
        (("--method", "lora", "--budget", "1e24"), "--method full"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(words: tuple[str, ...], why: str) -> None:
    status, out, err = run("train", "--model", "llama-3.1-8b", *words)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert why in err


def test_memory_says_for_what_step_it_is() -> None:
    notes = run_json("train", "--model", "llama-3.1-8b", "--seq", "8192", "--micro-batch", "2")["notes"]
    assert any(note.startswith("memory is that of 2 sequences of 8,192 tokens at once") for note in notes)
