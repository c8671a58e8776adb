"""What is no config.json: one clear line, whatever it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.hugging_face.config import read_config
from llmdrill.errors import ContentError

if TYPE_CHECKING:
    from pathlib import Path

LLAMA = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
}
BAD_NUMBERS = (-1, 0, 1.5, 1e400, float("nan"), "12", [], {}, True, 10**9, 10**40, "x" * 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def write(folder: Path, config: Any) -> Path:
    file = folder / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ([], "must hold a JSON object, the model's config, not a list"),
        ("null", "not null"),
        ('"text"', "not text"),
        ("3", "not a number"),
        ("{", "config.json:1:2: is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not a config.json"),
        ('{"hidden_size": ' + "9" * 10_000 + "}", "is not a config.json"),
        ({}, "has no 'hidden_size'"),
        ({"text_config": {}}, "has no 'hidden_size'"),
        ({**LLAMA, "num_attention_heads": 7, "num_key_value_heads": 7}, "no multiple of its 7 heads"),
        ({**LLAMA, "num_key_value_heads": 2}, "cannot share 2 key-value heads"),
        ({**LLAMA, "layer_types": ["full_attention"]}, "layer_types lists 1 layers"),
        ({**LLAMA, "layer_types": ["sliding_attention"] * 30}, "there is no sliding_window"),
        ({**LLAMA, "num_hidden_layers": 10_001}, "at most 10,000"),
        ({**LLAMA, "tie_word_embeddings": "yes"}, "must be true or false"),
        (
            {**LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 9},
            "cannot go to 9 of 8 experts",
        ),
        ({**LLAMA, "kv_lora_rank": 512}, "has no 'qk_rope_head_dim'"),
        (
            {**LLAMA, "model_type": "llama4_text", "interleave_moe_layer_step": 2, "intermediate_size_mlp": None},
            "has no 'intermediate_size_mlp'",
        ),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, config: Any, what: str) -> None:
    with pytest.raises(ContentError, match=what) as caught:
        read_config(write(tmp_path, config))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("bad", BAD_NUMBERS, ids=lambda bad: repr(bad)[:12])
@pytest.mark.parametrize(
    "key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size"]
)
def test_a_count_that_is_none_is_refused_by_name(tmp_path: Path, key: str, bad: Any) -> None:
    with pytest.raises(ContentError, match=r"must be a positive whole number|at most 10,000") as caught:
        read_config(write(tmp_path, {**LLAMA, key: bad}))
    assert key in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_a_huge_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    huge, binary, folder = tmp_path / "huge.json", tmp_path / "binary.json", tmp_path / "config.json"
    with huge.open("wb") as file:
        file.truncate(300_000_000)  # a sparse file: 300 MB that take no room
    binary.write_bytes(b"\xff\xfe\x00")
    folder.mkdir()
    for path, what in (
        (tmp_path, "config.json:1:1: is a folder"),
        (tmp_path / "no", "No such file"),
        (huge, "larger than 4 MB"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(ContentError, match=what):
            read_config(path)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(LLAMA).encode())
    assert read_config(file).layers == 30


@given(keys=st.dictionaries(st.sampled_from([*LLAMA, "layer_types", "quantization_config", "text_config"]), JSON))
def test_no_config_ever_ends_in_anything_but_a_record_or_a_content_error(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("config", numbered=True)
    try:
        read_config(write(folder, {**LLAMA, **keys}))
    except ContentError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - either end is right
