"""The open models of the catalogue: equal to the configs they were read from, and to the models that these build."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmdrill.catalog import load
from llmdrill.catalog.hugging_face.config import read_config
from llmdrill.catalog.hugging_face.families import FAMILIES
from llmdrill.estimate.kv_cache import kv_cache_bytes

CONFIGS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "model_configs.json").read_text())
DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not beside the repository")
SENTENCE_LIMIT = {"all-minilm-l6-v2": 256}  # its tokenizer cuts there, half of what its positions allow
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-32b": 32_763_876_352,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma-3-27b": 27_009_002_240,
    "deepseek-v2-lite": 15_706_484_224,
    "gpt-oss-20b": 20_914_757_184,
    "nemotron-h-8b": 8_100_852_736,
}
TINY_HYBRIDS = (
    {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "vocab_size": 64},
    {
        "model_type": "mamba2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
        "n_groups": 2,
        "vocab_size": 64,
        "chunk_size": 8,
    },
    {
        "model_type": "jamba",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "intermediate_size": 32,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "vocab_size": 64,
    },
    {
        "model_type": "qwen3_next",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "vocab_size": 64,
        "intermediate_size": 32,
    },
)


QWEN35 = CONFIGS["qwen3.5-397b-a17b"]
# As their own files say it: nested, flat under another name, quantised, in an older spelling.
PUBLISHED_FILES: dict[str, dict[str, Any]] = {
    "qwen3.5-397b-a17b": {
        "model_type": "qwen3_5_moe",
        "text_config": {key: value for key, value in QWEN35.items() if key != "tie_word_embeddings"},
        "tie_word_embeddings": False,
        "vision_config": {"depth": 27, "hidden_size": 1152, "num_heads": 16},
    },
    "llama-4-maverick": {
        "model_type": "llama4",
        "text_config": CONFIGS["llama-4-maverick"],
        "vision_config": {"hidden_size": 1408, "num_hidden_layers": 34},
    },
    "kimi-k2.5": {**CONFIGS["kimi-k2.5"], "model_type": "kimi_k25", "vision_config": {"vt_hidden_size": 1152}},
    "gpt-oss-120b": {
        **CONFIGS["gpt-oss-120b"],
        "experts_per_token": 4,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
    },
    "phi-2": {
        "model_type": "phi-msft",
        "n_embd": 2560,
        "n_head": 32,
        "n_head_kv": None,
        "n_inner": None,
        "n_layer": 32,
        "n_positions": 2048,
        "tie_word_embeddings": False,
        "vocab_size": 51200,
    },
}


def read(folder: Path, config: dict[str, Any]) -> Any:
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    return read_config(file)


def build(config: dict[str, Any], device: str, *, encoder: bool = False) -> Any:
    """Return the model that transformers makes of a config, without weights on the device ``meta``."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    mapping = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    keys = {key: value for key, value in config.items() if key != "model_type"}
    kind = transformers.AutoModel if encoder else transformers.AutoModelForCausalLM
    with torch.device(device):
        return kind.from_config(mapping[config["model_type"]](**keys))


def parameters_of(model: Any) -> int:
    return sum(one.numel() for one in {id(one): one for one in model.parameters()}.values())


def test_at_least_60_models_are_there_each_with_a_source() -> None:
    models = load.load_models()
    assert len(models) >= 60
    assert {model.name for model in models} == set(CONFIGS)
    assert all(len(model.source) > 20 and model.date for model in models)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_record_is_what_the_reader_makes_of_its_config(tmp_path: Path, name: str) -> None:
    record, made = load.find_model(name), read(tmp_path, CONFIGS[name])
    assert made.guessed == ()
    made = replace(
        made,
        name=record.name,
        source=record.source,
        date=record.date,
        aliases=record.aliases,
        quantization=record.quantization,
        max_context_tokens=SENTENCE_LIMIT.get(name, made.max_context_tokens),
    )
    assert made == record


@pytest.mark.parametrize(("name", "config"), PUBLISHED_FILES.items())
def test_a_file_as_its_authors_wrote_it_gives_the_same_record(tmp_path: Path, name: str, config: Any) -> None:
    record, made = load.find_model(name), read(tmp_path, config)
    assert made.guessed == ()
    assert (made.parameters, made.active_parameters) == (record.parameters, record.active_parameters)
    assert (made.attention, made.state, made.experts) == (record.attention, record.state, record.experts)
    assert made.quantization == record.quantization


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_equal_the_published_total(name: str, parameters: int) -> None:
    assert load.find_model(name).parameters == parameters


@needs_data
def test_cache_and_parameters_of_every_public_model_equal_the_catalogue() -> None:
    for fact in json.loads((DATA / "models" / "models.json").read_text())["models"]:
        model = load.find_model(fact["name"])
        assert model.parameters == fact["total_params"]
        assert model.active_parameters == fact["active_params_per_token"]
        for context, expected in fact["kv_bytes_bf16_at_context"].items():
            assert kv_cache_bytes(model.attention, context_tokens=int(context)) == expected
        assert kv_cache_bytes(model.attention, context_tokens=1) == fact["kv_bytes_per_token_bf16_short_context"]


@pytest.mark.parametrize(
    "name",
    [
        "mistral-7b",
        "qwen3.5",
        "kimi-k2.5",
        "glm-5",
        "llama-4-scout",
        "llama-4-maverick",
        "falcon-180b",
        "mixtral-8x22b",
    ],
)
def test_models_go_by_the_names_people_measure_them_under(name: str) -> None:
    assert load.find_model(name).parameters


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted({config["model_type"] for config in CONFIGS.values()}))
def test_parameters_equal_the_model_that_transformers_builds(model_type: str) -> None:
    for name, config in CONFIGS.items():
        if config["model_type"] == model_type:
            record = load.find_model(name)
            assert record.parameters == parameters_of(build(config, "meta", encoder=record.kind == "encoder"))


def test_every_family_but_one_is_proved_by_a_model_of_the_catalogue() -> None:
    assert set(FAMILIES) - {config["model_type"] for config in CONFIGS.values()} == {"nemotron", "qwen3_5_text"}


@pytest.mark.lab
@pytest.mark.parametrize("config", TINY_HYBRIDS, ids=lambda config: config["model_type"])
def test_state_and_cache_equal_those_that_a_real_forward_pass_leaves(tmp_path: Path, config: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    record, model, tokens = read(tmp_path, config), build(config, "cpu"), 24
    assert record.parameters == parameters_of(model)
    with torch.no_grad():
        output = model(torch.zeros((1, tokens), dtype=torch.long), use_cache=True)
    cache = getattr(output, "past_key_values", None) or output.cache_params
    sizes = dict.fromkeys(("conv_states", "recurrent_states", "keys", "values"), 0)
    for layer in cache.layers:
        for kind in sizes:
            held = getattr(layer, kind, None)
            held = held.values() if isinstance(held, dict) else [held]
            sizes[kind] += sum(one.numel() for one in held if isinstance(one, torch.Tensor))
    state, kernel = record.state, record.state.conv_kernel
    assert sizes["conv_states"] == state.layers * state.conv_values * kernel // (kernel - 1)  # it keeps one column more
    assert sizes["recurrent_states"] == state.layers * state.recurrent_values
    assert sizes["keys"] + sizes["values"] == kv_cache_bytes(record.attention, context_tokens=tokens, bytes_per_value=1)
