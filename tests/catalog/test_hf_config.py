"""A model's architecture from its config.json: equal to public counts, honest about guesses, clear when it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmdrill.catalog.architecture import LayerGroup
from llmdrill.catalog.hf_config import LLAMA_LIKE, read_config
from llmdrill.errors import ContentError
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


def write(folder: Path, config: Any) -> Path:
    file = folder / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


def test_smollm2_has_its_published_134515008_parameters(tmp_path: Path) -> None:
    model = read_config(write(tmp_path, SMOLLM2))
    assert model.parameters == 134_515_008
    assert model.guessed == ()
    assert model.max_context_tokens == 8192


@pytest.mark.skipif(not FACTS, reason="the shared model facts are not beside the repository")
@pytest.mark.parametrize(
    "fact",
    [fact for fact in FACTS if "hidden_size" in fact["config"] or "n_embd" in fact["config"]],
    ids=lambda f: f["name"],
)
def test_cache_and_parameters_equal_the_public_counts(tmp_path: Path, fact: dict[str, Any]) -> None:
    assert fact["kv_checked_against_transformers_cache"]
    model = read_config(write(tmp_path, fact["config"]))
    for context, expected in fact["kv_bytes_bf16_at_context"].items():
        assert kv_cache_bytes(model.attention, context_tokens=int(context)) == expected
    counted = fact["config"]["model_type"] in LLAMA_LIKE
    assert model.parameters == (fact["total_params"] if counted else None)
    assert counted != any("parameters" in guess for guess in model.guessed)


def test_a_nested_text_config_is_read(tmp_path: Path) -> None:
    config = {"model_type": "mistral3", "vision_config": {"hidden_size": 1}, "text_config": SMOLLM2}
    assert read_config(write(tmp_path, config)).attention == read_config(write(tmp_path, SMOLLM2)).attention


def test_layer_types_give_windows_and_layers_without_a_cache(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 10 + ["full_attention"] * 5 + ["linear_attention"] * 15
    model = read_config(write(tmp_path, {**SMOLLM2, "layer_types": kinds, "sliding_window": 512}))
    assert model.attention.layers == 15
    assert model.attention.windows == (LayerGroup(10, 512),)


def test_use_sliding_window_false_means_no_window(tmp_path: Path) -> None:
    config = {**SMOLLM2, "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}
    assert read_config(write(tmp_path, config)).attention.windows == ()


def test_an_unknown_architecture_says_what_was_guessed(tmp_path: Path) -> None:
    config = {key: value for key, value in SMOLLM2.items() if key not in {"num_key_value_heads", "tie_word_embeddings"}}
    model = read_config(write(tmp_path, {**config, "model_type": "novel"}))
    assert model.parameters is None
    assert [guess.split(":")[0] for guess in model.guessed] == [
        "num_key_value_heads",
        "tie_word_embeddings",
        "parameters",
    ]


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ([], "must hold a JSON object"),
        ("{", "config.json:1:2: is not JSON"),
        ("[" * 100_000, "is not a config.json"),
        ({}, "has no 'hidden_size'"),
        ({**SMOLLM2, "num_hidden_layers": -1}, "num_hidden_layers must be a positive whole number, got -1"),
        ({**SMOLLM2, "num_hidden_layers": True}, "must be a positive whole number"),
        ({**SMOLLM2, "num_hidden_layers": 1e400}, "must be a positive whole number"),
        ({**SMOLLM2, "num_attention_heads": 7, "num_key_value_heads": 7}, "no multiple of its 7 heads"),
        ({**SMOLLM2, "num_key_value_heads": 2}, "cannot share 2 key-value heads"),
        ({**SMOLLM2, "layer_types": ["full_attention"]}, "layer_types lists 1 layers"),
        ({**SMOLLM2, "tie_word_embeddings": "yes"}, "must be true or false"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, config: Any, what: str) -> None:
    with pytest.raises(ContentError, match=what) as caught:
        read_config(write(tmp_path, config))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_a_missing_a_huge_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    huge, binary = tmp_path / "huge.json", tmp_path / "binary.json"
    huge.write_bytes(b" " * 4_000_001)
    binary.write_bytes(b"\xff\xfe\x00")
    for path, what in (
        (tmp_path, "is a folder"),
        (tmp_path / "no", "No such file"),
        (huge, "larger"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(ContentError, match=what):
            read_config(path)
