"""A model's architecture from its config.json: equal to public counts, honest about guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmdrill.catalog.architecture import LayerGroup, Quantization
from llmdrill.catalog.hugging_face.config import read_config
from llmdrill.estimate.kv_cache import kv_cache_bytes

DATA = Path(__file__).parents[3] / "shared" / "data" / "models" / "models.json"
FACTS = json.loads(DATA.read_text())["models"] if DATA.is_file() else []

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
MIXTRAL = {**SMOLLM2, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


def write(folder: Path, config: Any) -> Path:
    file = folder / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


def test_smollm2_has_its_published_134515008_parameters(tmp_path: Path) -> None:
    model = read_config(write(tmp_path, SMOLLM2))
    assert model.parameters == 134_515_008
    assert model.guessed == ()
    assert model.max_context_tokens == 8192
    assert model.feed_forward == 1536


@pytest.mark.skipif(not FACTS, reason="the shared model facts are not beside the repository")
@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f["name"])
def test_cache_and_parameters_equal_the_public_counts(tmp_path: Path, fact: dict[str, Any]) -> None:
    assert fact["kv_checked_against_transformers_cache"]
    model = read_config(write(tmp_path, fact["config"]))
    for context, expected in fact["kv_bytes_bf16_at_context"].items():
        assert kv_cache_bytes(model.attention, context_tokens=int(context)) == expected
    assert kv_cache_bytes(model.attention, context_tokens=1) == fact["kv_bytes_per_token_bf16_short_context"]
    # The file leaves out StableLM's use_qkv_bias, whose default is false: 147,456 biases less.
    missing = 147_456 if fact["config"]["model_type"] == "stablelm" else 0
    assert model.parameters == fact["total_params"] - missing
    assert model.active_parameters == fact["active_params_per_token"] - missing
    assert model.tied_embeddings == fact["tied_embeddings"]
    assert (model.experts.parameters if model.experts else 0) == fact["routed_expert_params"]


def test_a_folder_that_holds_a_config_is_read(tmp_path: Path) -> None:
    write(tmp_path, SMOLLM2)
    assert read_config(tmp_path).parameters == 134_515_008


@pytest.mark.parametrize("part", ["text_config", "llm_config", "language_config"])
def test_a_nested_language_model_is_read(tmp_path: Path, part: str) -> None:
    config = {"model_type": "mistral3", "hidden_size": 5, "vision_config": {"hidden_size": 1}, part: SMOLLM2}
    model = read_config(write(tmp_path, config))
    assert (model.attention, model.parameters) == (read_config(write(tmp_path, SMOLLM2)).attention, 134_515_008)


def test_layer_types_give_windows_and_layers_without_a_cache(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 10 + ["full_attention"] * 5 + ["linear_attention"] * 15
    model = read_config(write(tmp_path, {**SMOLLM2, "layer_types": kinds, "sliding_window": 512}))
    assert model.attention.layers == 15
    assert model.attention.windows == (LayerGroup(10, 512),)
    assert any("state" in guess for guess in model.guessed)  # of what kind the 15 are, the file does not say


@pytest.mark.parametrize(
    ("keys", "windowed"),
    [
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, 0),
        ({"model_type": "qwen2", "sliding_window": 4096}, 0),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 20}, 10),
        ({"model_type": "mistral", "sliding_window": None}, 0),
        ({"model_type": "mistral", "sliding_window": 0}, 0),
        ({"model_type": "mistral", "sliding_window": 4096}, 30),
        ({"model_type": "gemma2", "sliding_window": 4096}, 15),
        ({"model_type": "gemma3_text", "sliding_window": 4096, "sliding_window_pattern": 6}, 25),
        ({"model_type": "gemma3", "sliding_window": 4096}, 25),
        ({"model_type": "exaone4", "sliding_window": 4096, "sliding_window_pattern": "LLLG"}, 23),
        ({"model_type": "llama4_text", "attention_chunk_size": 8192, "intermediate_size_mlp": 9}, 23),
    ],
)
def test_windows_are_read_under_every_spelling(tmp_path: Path, keys: dict[str, Any], windowed: int) -> None:
    model = read_config(write(tmp_path, {**SMOLLM2, "head_dim": 64, **keys}))
    assert sum(group.layers for group in model.attention.windows) == windowed


@pytest.mark.parametrize(
    ("keys", "layers", "per_token"),
    [
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, 30, 2),
        ({"num_experts": 8, "num_experts_per_tok": 3}, 30, 3),
        ({"n_routed_experts": 8, "moe_topk": 4, "num_experts_per_tok": 4, "first_k_dense_replace": 3}, 27, 4),
        ({"moe_num_experts": 8, "num_experts_per_tok": 1, "num_local_experts": 8}, 30, 1),
        ({"num_local_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 4}, 7, 2),
        (
            {"num_local_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 1, "mlp_only_layers": [0, 1]},
            28,
            2,
        ),
        ({"num_local_experts": 8, "num_experts_per_tok": 2, "expert_layer_period": 2, "expert_layer_offset": 1}, 15, 2),
        ({"num_local_experts": 8, "num_experts_per_tok": 2, "mlp_layer_types": ["dense"] + ["sparse"] * 29}, 29, 2),
    ],
)
def test_experts_are_read_under_every_spelling(
    tmp_path: Path, keys: dict[str, Any], layers: int, per_token: int
) -> None:
    experts = read_config(write(tmp_path, {**SMOLLM2, "model_type": "mixtral", **keys})).experts
    assert experts is not None
    assert (experts.count, experts.layers, experts.per_token) == (8, layers, per_token)
    assert experts.parameters == layers * 8 * 3 * 576 * 1536


def test_one_expert_is_no_mixture(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, {**MIXTRAL, "num_local_experts": 1})).experts is None


def test_a_hybrid_is_read_from_its_pattern_or_its_list(tmp_path: Path) -> None:
    common = {
        "model_type": "nemotron_h",
        **{key: SMOLLM2[key] for key in ("hidden_size", "vocab_size", "intermediate_size")},
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "mamba_num_heads": 8,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
    }
    kinds = ["linear_attention", "mlp", "full_attention", "mlp", "linear_attention"]
    by_list = read_config(write(tmp_path, {**common, "layers_block_type": kinds}))
    by_pattern = read_config(write(tmp_path, {**common, "hybrid_override_pattern": "M-*-M"}))
    assert by_list.parameters == by_pattern.parameters
    assert by_list.state == by_pattern.state
    assert by_list.state is not None
    assert (by_list.layers, by_list.attention.layers, by_list.state.layers) == (5, 1, 2)
    assert by_list.state.recurrent_values == 8 * 64 * 128
    assert by_list.state.recurrent_bytes_per_value == 4.0  # its mamba_ssm_cache_dtype is float32 by default


def test_latent_attention_keeps_latent_and_rotary_key_and_knows_its_indexer(tmp_path: Path) -> None:
    keys = {
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "q_lora_rank": None,
    }
    shape = read_config(
        write(tmp_path, {**SMOLLM2, "model_type": "deepseek_v3", "num_local_experts": 1, **keys})
    ).attention
    assert (shape.kind, shape.latent_values, shape.rope_values, shape.head_dim) == ("MLA", 576, 64, 192)
    assert shape.index_values == 0
    indexed = {**keys, "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 32}
    shape = read_config(write(tmp_path, {**SMOLLM2, "model_type": "glm_moe_dsa", **indexed})).attention
    assert (shape.values_per_token, shape.index_values, shape.index_tokens, shape.index_heads) == (576, 128, 2048, 32)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, Quantization("gptq-4bit", 64)),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, Quantization("awq-4bit", 128)),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, Quantization("awq-4bit", 128)),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, Quantization("gptq-4bit", None)),
        ({"quant_method": "mxfp4"}, Quantization("mxfp4", experts_only=True)),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, Quantization("fp8-block")),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Quantization("nf4")),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            Quantization("nf4-double"),
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Quantization("int8")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, Quantization("nvfp4")),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, Quantization("fp8")),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
            },
            Quantization("nvfp4", None),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
            },
            Quantization("gptq-4bit", 32),
        ),
    ],
)
def test_a_quantised_checkpoint_says_how(tmp_path: Path, given: dict[str, Any], expected: Quantization) -> None:
    model = read_config(write(tmp_path, {**SMOLLM2, "quantization_config": given}))
    assert model.quantization == expected
    assert model.guessed == ()


@pytest.mark.parametrize("given", [{"quant_method": "novel"}, {"quant_method": "gptq", "bits": 5}, {"bits": []}])
def test_an_unknown_quantisation_is_told(tmp_path: Path, given: dict[str, Any]) -> None:
    model = read_config(write(tmp_path, {**SMOLLM2, "quantization_config": given}))
    assert model.quantization is None
    assert [guess.split(":")[0] for guess in model.guessed] == ["quantization_config"]


def test_an_unknown_architecture_says_what_was_guessed(tmp_path: Path) -> None:
    config = {key: value for key, value in SMOLLM2.items() if key not in {"num_key_value_heads", "tie_word_embeddings"}}
    model = read_config(write(tmp_path, {**config, "model_type": "novel"}))
    assert [guess.split(":")[0] for guess in model.guessed] == [
        "num_key_value_heads",
        "tie_word_embeddings",
        "parameters",
    ]
    assert "counted as if Llama's" in model.guessed[-1]
    assert model.parameters == read_config(write(tmp_path, {**config, "tie_word_embeddings": False})).parameters


def test_an_unknown_architecture_without_widths_is_not_counted(tmp_path: Path) -> None:
    config = {key: value for key, value in SMOLLM2.items() if key != "intermediate_size"}
    model = read_config(write(tmp_path, {**config, "model_type": "novel"}))
    assert model.parameters is None
    assert "not counted" in model.guessed[-1]


def test_a_key_left_out_of_a_known_architecture_is_transformers_default_and_told(tmp_path: Path) -> None:
    model = read_config(write(tmp_path, {"model_type": "llama", "vocab_size": 32064}))
    assert (model.layers, model.hidden, model.attention.heads) == (32, 4096, 32)
    assert "num_hidden_layers: not given, 32 is transformers' default of 'llama'" in model.guessed
