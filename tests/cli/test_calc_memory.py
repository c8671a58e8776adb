"""`calc kv`, `calc memory` and `calc flops`: what scripts rely on, what fits, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from calc_cases import evaluated, run, run_json

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    return file


def test_numbers_alone_give_the_cache() -> None:
    words = ("kv", "--layers", "80", "--kv-heads", "8", "--head-dim", "128", "--context", "100000", "--dtype", "fp16")
    found = run_json(*words)
    assert found["schema"] == "llmdrill/calc-kv@1"
    assert found["kv_cache_bytes"] == 32_768_000_000
    assert found["kv_cache_bytes_per_token"] == 327_680
    assert run_json(*words[:-1], "int4")["kv_cache_bytes"] == 8_192_000_000


def test_a_config_and_the_folder_that_holds_it_give_cache_and_weights(config: Path) -> None:
    for path in (config, config.parent):
        assert run_json("kv", "--config", str(path), "--context", "1000")["kv_cache_bytes"] == 131_072_000
        found = run_json("memory", "--config", str(path))
        assert found["parameters"] == found["active_parameters"] == 8_030_261_248
        assert found["weights_bytes"] == 16_060_522_496
        by_model = run_json("memory", "--model", str(path))
        assert by_model["weights_bytes"] == found["weights_bytes"]


def test_an_unknown_architecture_says_what_was_guessed(config: Path) -> None:
    config.write_text(json.dumps({**CONFIG, "model_type": "novel"}))
    notes = run_json("memory", "--config", str(config))["notes"]
    assert any("counted as if Llama's" in note for note in notes)


def test_a_quantised_checkpoint_is_taken_as_released(config: Path) -> None:
    config.write_text(
        json.dumps({**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}})
    )
    found = run_json("memory", "--config", str(config))
    assert found["precision"] == "awq-4bit"
    assert found["weights_bytes"] == 5_727_854_592
    assert run_json("memory", "--config", str(config), "--precision", "bf16")["weights_bytes"] == 16_060_522_496


def test_parameters_alone_give_ideal_bits_or_a_precision() -> None:
    assert run_json("memory", "--params", "7B", "--bits", "4")["weights_bytes"] == 3.5e9
    assert run_json("memory", "--params", "7B", "--precision", "fp32")["weights_bytes"] == 28e9


def test_what_fits_beside_the_weights_is_a_length_and_a_number() -> None:
    found = run_json("kv", "--model", "llama-3.1-70b", "--on", "h100", "--tp", "4", "--context", "8000")
    assert found["weights_bytes"] == 2 * 70_553_706_496
    per_token = 327_680
    room = 4 * found["cache_room_bytes_per_device"]
    assert found["max_sequences"] == room // (8000 * per_token)
    assert 0 <= room - found["max_context_tokens"] * per_token < 16 * per_token + 1e5  # six digits of the room
    alone = run_json("kv", "--model", "llama-3.1-70b", "--on", "h100", "--tp", "4")
    assert alone["max_sequences"] is None
    assert alone["max_context_tokens"] == found["max_context_tokens"]


def test_memory_names_the_fewest_devices_and_whether_those_asked_for_are_enough() -> None:
    words = ("memory", "--model", "llama-3.1-70b", "--on", "h100", "--context", "8192", "--sequences", "16")
    found = run_json(*words)
    assert (found["devices_needed"], found["tensor_parallel"], found["fits"]) == (4, 4, True)
    two = run_json(*words, "--tp", "2")
    assert (two["devices_needed"], two["tensor_parallel"], two["fits"]) == (4, 2, False)
    assert run(*words, "--assert", "devices_needed <= 2")[0] == 1
    assert run(*words, "--assert", "weights_bytes < 142GB", "--assert", "devices_needed == 4")[0] == 0


def test_gb_and_gib_stand_side_by_side() -> None:
    _, out, _ = run("memory", "--model", "llama-3.1-8b")
    assert "16.1 GB (15 GiB) in bf16" in out
    _, out, _ = run("kv", "--model", "llama-3.1-70b", "--context", "100000")
    assert "32.8 GB (30.5 GiB)" in out


def test_state_and_indexer_stand_beside_the_cache() -> None:
    hybrid = run_json("kv", "--model", "jamba-v0.1", "--context", "1000", "--sequences", "2")
    assert hybrid["kv_cache_bytes"] == 2 * 1000 * 4 * 2 * 8 * 128 * 2
    assert hybrid["state_bytes"] == 2 * 28 * (3 * 8192 + 8192 * 16) * 2
    assert run_json("kv", "--model", "glm-5", "--context", "1000")["index_cache_bytes"] == 132 * 78 * 1000


def test_every_figure_explains_itself() -> None:
    for words in (
        ("kv", "--model", "gemma-3-27b", "--context", "8k", "--on", "h100"),
        ("memory", "--model", "qwen3-next-80b-a3b", "--context", "8k", "--on", "h200"),
        ("flops", "--model", "deepseek-v3", "--context", "4k", "--on", "h200", "--measured-tokens-per-s", "100"),
    ):
        found = run_json(*words, "--explain")
        for name, told in found["explained"].items():
            assert name in found
            assert all(told[part] for part in ("formula", "filled", "source"))


@pytest.mark.parametrize(
    "words",
    [
        ("kv", "--model", "gemma-3-27b", "--context", "8k", "--sequences", "3"),
        ("kv", "--model", "deepseek-v3", "--context", "8k", "--dtype", "q8_0", "--reserve", "16k"),
        ("kv", "--model", "glm-5", "--context", "8k"),
        ("kv", "--model", "jamba-v0.1", "--context", "8k", "--on", "h200"),
        ("memory", "--model", "llama-3.1-8b", "--precision", "awq-4bit", "--context", "4k", "--on", "h100"),
        ("memory", "--model", "llama-3.1-8b", "--precision", "nf4-double"),
        ("memory", "--model", "llama-3.1-8b", "--precision", "q4_k_m"),
        ("memory", "--model", "gpt-oss-120b", "--context", "4k"),
        ("memory", "--model", "qwen3-next-80b-a3b", "--precision", "fp8-block", "--context", "8k", "--on", "h200"),
        ("memory", "--params", "7B", "--precision", "int4"),
        ("memory", "--params", "7B", "--bits", "4.5"),
        ("flops", "--model", "deepseek-v3", "--batch", "4", "--on", "h200", "--measured-tokens-per-s", "100"),
        ("flops", "--model", "gemma-2-9b", "--context", "6k", "--measured-prefill-tokens-per-s", "9k", "--on", "l4"),
        ("flops", "--model", "nemotron-h-8b", "--context", "6k", "--batch", "4"),
        ("flops", "--model", "glm-5", "--context", "6k"),
    ],
)
def test_the_numbers_put_in_give_the_figure(words: tuple[str, ...]) -> None:
    found = run_json(*words, "--explain")
    for name, told in found["explained"].items():
        if name == "max_context_tokens":
            continue  # a search: it shows what fits and what would not
        filled = told["filled"].partition(" B of ")[0].replace(" (layers split × groups of layers)", "")
        said, _, result = filled.rpartition(" = ")
        assert evaluated(said or result) == pytest.approx(found[name], rel=2e-4)


def test_a_step_reads_the_head_of_a_gguf_file_and_of_a_mixture_the_experts_in_their_own_width() -> None:
    gguf = run_json("flops", "--model", "llama-3.1-8b", "--precision", "q4_k_m", "--context", "1")
    file_bytes = run_json("memory", "--model", "llama-3.1-8b", "--precision", "q4_k_m")["weights_bytes"]
    table = 128_256 * 4096 * 144 / 256  # the embedding is looked up, and stored in Q4_K
    assert gguf["step_bytes"] == pytest.approx(file_bytes - table + 131_072, rel=1e-5)
    mixture = run_json("flops", "--model", "gpt-oss-120b", "--context", "1")
    experts, rest = 114_701_598_720, 116_829_156_672 - 114_701_598_720 - 201_088 * 2880
    cache = run_json("kv", "--model", "gpt-oss-120b", "--context", "1")["kv_cache_bytes"]
    assert mixture["step_bytes"] == pytest.approx(experts * 4 / 128 * 17 / 32 + rest * 2 + cache, rel=1e-5)


def test_a_ridge_is_that_of_the_width_that_is_multiplied() -> None:
    for precision, rate in (("fp32", 989e12 / 2), ("bf16", 989e12), ("awq-4bit", 989e12), ("fp8", 1979e12)):
        found = run_json("flops", "--model", "llama-3.1-8b", "--on", "h100", "--precision", precision)
        assert found["ridge_flops_per_byte"] == pytest.approx(rate / 3.35e12, rel=2e-3)


def test_flops_give_intensity_ridge_and_utilisation() -> None:
    words = ("flops", "--model", "llama-3.1-70b", "--context", "8000", "--batch", "16", "--on", "h100", "--tp", "4")
    found = run_json(*words, "--measured-tokens-per-s", "500", "--measured-prefill-tokens-per-s", "10k")
    assert found["ridge_flops_per_byte"] == pytest.approx(295.224)
    step_bytes = 2 * (70_553_706_496 - 128_256 * 8192) + 16 * 8000 * 327_680
    assert found["step_bytes"] == pytest.approx(step_bytes, rel=1e-5)
    assert found["arithmetic_intensity_flops_per_byte"] == pytest.approx(found["step_flops"] / step_bytes, rel=1e-5)
    assert found["mbu_share"] == pytest.approx(step_bytes / (16 / 500) / (4 * 3.35e12), rel=1e-5)
    assert found["mfu_share"] == pytest.approx(found["decode_flops_per_token"] * 500 / (4 * 989e12), rel=1e-5)
    assert found["prefill_mfu_share"] == pytest.approx(found["prefill_flops_per_token"] * 1e4 / (4 * 989e12), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("kv", "--model", "llama-3.1-8b"), "--context is missing"),
        (("kv", "--layers", "2", "--context", "1"), "--kv-heads and --head-dim missing"),
        (("kv", "--model", "llama-3.1-8b", "--layers", "2", "--context", "1"), "one of the three"),
        (("kv", "--model", "lama-3.1-8b", "--context", "1"), "did you mean llama-3.1-8b"),
        (("kv", "--model", "minilm", "--context", "1"), "is an encoder"),
        (("kv", "--model", "llama-3.1-8b", "--context", "-1"), "must be above zero"),
        (("kv", "--model", "llama-3.1-8b", "--context", "nan"), "not a quantity"),
        (("kv", "--model", "llama-3.1-8b", "--context", "1e400"), "too large"),
        (("kv", "--model", "llama-3.1-8b", "--context", "1.5"), "whole number"),
        (("kv", "--model", "llama-3.1-8b", "--context", "1", "--dtype", "fp61"), "unknown cache type"),
        (("kv", "--model", "llama-3.1-8b", "--context", "9", "--reserve", "8"), "less than --context"),
        (("kv", "--model", "llama-3.1-8b", "--context", "9", "--block", "0"), "must be above zero"),
        (("kv", "--layers", "1", "--kv-heads", "1", "--head-dim", "1", "--on", "h100"), "needs the weights"),
        (("kv", "--model", "llama-3.1-8b", "--on", "h1000"), "did you mean"),
        (("kv", "--model", "llama-3.1-70b", "--on", "h100", "--tp", "3"), "cannot be split evenly"),
        (("kv", "--model", "llama-3.1-8b", "--on", "h100", "--usable", "150%"), "at most 1"),
        (("kv", "--model", "llama-3.1-8b", "--on", "h100", "--precision", "fp7"), "unknown weight format"),
        (("kv", "--model", "llama-3.1-8b", "--context", "1k", "--tp", "2"), "name it with --on"),
        (("memory", "--model", "llama-3.1-8b", "--precision", "q4_k_m", "--group", "64"), "leaves no choice"),
        (("memory", "--model", "llama-3.1-8b", "--sequences", "4"), "say how long each is"),
        (("memory", "--params", "7B", "--on", "h100"), "need the layers too"),
        (("flops", "--model", "llama-3.1-8b", "--tp", "2"), "say which with --on"),
        (("memory",), "which model"),
        (("memory", "--params", "7B", "--bits", "4", "--precision", "fp8"), "not both"),
        (("memory", "--params", "7B", "--precision", "fp7"), "unknown precision"),
        (("memory", "--model", "llama-3.1-8b", "--params", "7B"), "one of the three"),
        (("memory", "--model", "llama-3.1-8b", "--group", "0"), "must be above zero"),
        (("memory", "--model", "minilm", "--context", "5"), "is an encoder"),
        (("memory", "--model", "llama-3.1-8b", "--on", "h100", "--context", "1T"), "not even 512"),
        (("flops",), "which model"),
        (("flops", "--model", "minilm"), "writes no tokens"),
        (("flops", "--model", "llama-3.1-8b", "--measured-tokens-per-s", "5"), "say which with --on"),
        (("flops", "--model", "llama-3.1-8b", "--on", "h100", "--measured-tokens-per-s", "0"), "must be above zero"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(words: tuple[str, ...], what: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert what in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["kv", "memory", "flops"])
@pytest.mark.parametrize(
    "content", ["[]", "{", "", "null", '{"hidden_size": NaN}', '{"hidden_size": -1}', "\x00", "{}"]
)
def test_a_config_that_is_none_is_refused_by_every_calculator(config: Path, command: str, content: str) -> None:
    config.write_text(content)
    for path in (config, config.parent):
        status, out, err = run(command, "--config", str(path), "--context", "10")
        assert (status, out) == (2, "")
        assert str(config) in err
        assert len(err.strip().splitlines()) == 1


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.json"):
        status, _, err = run("memory", "--config", str(path))
        assert status == 2
        assert "No such file" in err
