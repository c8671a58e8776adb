"""LoRA and QLoRA: published counts, real matrices' shapes, laws, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_model
from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.lora import (
    Matrix,
    lora_matrices,
    lora_parameters,
    nf4_base_bytes,
    nf4_bits_per_parameter,
    plain_parameters,
)

LLAMA_2_7B, LLAMA_2_70B = find_model("llama-2-7b"), find_model("llama-2-70b")


def test_gpt_3_at_rank_4_on_two_matrices_trains_18m_parameters() -> None:
    matrices = [Matrix(target, 12288, 12288, 96) for target in "qv"]
    assert lora_parameters(matrices, rank=4) == 18_874_368
    assert lora_parameters(matrices[:1], rank=8) == 18_874_368  # table 5 of LoRA: the same budget


def test_llama_2_7b_trains_what_peft_prints() -> None:
    # huggingface/peft's print_trainable_parameters: 4,194,304 for rank 8 on q_proj and v_proj
    assert lora_parameters(lora_matrices(LLAMA_2_7B, targets=["q", "v"]), rank=8) == 4_194_304


def test_the_matrices_are_those_of_the_model() -> None:
    matrices = lora_matrices(LLAMA_2_70B)
    weights = sum(one.inputs * one.outputs * one.layers for one in matrices)
    norms = (2 * LLAMA_2_70B.layers + 1) * LLAMA_2_70B.hidden
    assert weights + 2 * LLAMA_2_70B.vocab_size * LLAMA_2_70B.hidden + norms == LLAMA_2_70B.parameters


@given(rank=st.integers(1, 256), factor=st.integers(1, 8))
def test_parameters_are_linear_in_the_rank_and_add_up_over_targets(rank: int, factor: int) -> None:
    every = lora_matrices(LLAMA_2_7B)
    assert lora_parameters(every, rank=rank * factor) == factor * lora_parameters(every, rank=rank)
    one_by_one = (lora_parameters(lora_matrices(LLAMA_2_7B, targets=[one.target]), rank=rank) for one in every)
    assert sum(one_by_one) == lora_parameters(every, rank=rank)


def test_grouped_queries_make_narrow_keys_and_values() -> None:
    k = next(one for one in lora_matrices(LLAMA_2_70B) if one.target == "k")
    assert (k.inputs, k.outputs) == (8192, 1024)


def test_nf4_takes_4_127_bits_and_double_quantisation_saves_3_gb_of_65b() -> None:
    single, double = nf4_bits_per_parameter(double_quantization=False), nf4_bits_per_parameter()
    assert double == pytest.approx(4.127, abs=0.0005)
    assert (single - double) * 65e9 / 8 / 1e9 == pytest.approx(3, abs=0.05)


def test_embeddings_head_and_norms_stay_in_16_bits() -> None:
    plain = plain_parameters(LLAMA_2_70B)
    assert plain is not None
    assert plain == 2 * 32000 * 8192 + 161 * 8192
    size = nf4_base_bytes(parameters=LLAMA_2_70B.parameters or 0, plain_parameters=plain)
    assert size / 1e9 == pytest.approx(36.4, abs=0.1)


@pytest.mark.parametrize("name", ["gpt2", "opt-13b", "falcon-7b", "pythia-12b"])
def test_a_plain_mlp_has_no_gate(name: str) -> None:
    assert [one.target for one in lora_matrices(find_model(name))] == ["q", "k", "v", "o", "up", "down"]
    with pytest.raises(UsageError, match="no gate"):
        lora_matrices(find_model(name), targets=["gate"])


@pytest.mark.parametrize("name", ["qwen2.5-7b", "gemma-2-9b", "qwen3-8b", "phi-3-mini", "mistral-7b-v0.3"])
def test_the_matrices_of_a_gated_model_are_all_its_linear_parameters(name: str) -> None:
    model = find_model(name)
    matrices = lora_matrices(model)
    assert [one.target for one in matrices] == ["q", "k", "v", "o", "gate", "up", "down"]
    assert sum(one.inputs * one.outputs * one.layers for one in matrices) == model.linear_parameters


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean gate"):
        lora_matrices(LLAMA_2_7B, targets=["gates"])
    with pytest.raises(UsageError, match="experts"):
        lora_matrices(find_model("mixtral-8x7b"))
    with pytest.raises(UsageError, match="plain attention"):
        lora_matrices(find_model("deepseek-v3"))
    with pytest.raises(UsageError, match="--intermediate"):
        lora_matrices(replace(LLAMA_2_7B, feed_forward=None))
    with pytest.raises(NumberError, match="rank"):
        lora_parameters(lora_matrices(LLAMA_2_7B), rank=0)
