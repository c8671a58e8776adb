"""Weights as checkpoints store them, activations, placement: published file sizes, laws, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_accelerator, find_model, load_models
from llmdrill.errors import UsageError
from llmdrill.estimate import gguf
from llmdrill.estimate.fit import fit_on, released_bytes
from llmdrill.estimate.gguf import BLOCKS, FILE_TYPES, gguf_bytes
from llmdrill.estimate.memory import activation_bytes, ideal_weights_bytes
from llmdrill.estimate.placement import Demand, fewest_devices, place
from llmdrill.estimate.quantization import ALL_FORMATS, FORMATS, checkpoint_bytes, find_format
from llmdrill.estimate.state import state_bytes

# ggml-org/llama.cpp@311c2c9f, tools/quantize/README.md: bits per weight of Llama-3.1-8B
LLAMA_8B_BITS = {
    "iq4_xs": 4.4597,
    "iq4_nl": 4.6818,
    "q2_k": 3.1593,
    "q3_k_s": 3.6429,
    "q3_k_l": 4.2979,
    "q4_k_s": 4.6672,
    "q4_k_m": 4.8944,
    "q5_k_s": 5.5704,
    "q5_k_m": 5.7036,
    "q6_k": 6.5633,
    "q8_0": 8.5008,
    "f16": 16.0005,
}
# huggingface.co/tensorblock/llama-2-7b-GGUF, README.md: files in GB, tokenizer and metadata included
LLAMA_2_7B_GB = {
    "q2_k": 2.533,
    "q3_k_s": 2.948,
    "q3_k_m": 3.298,
    "q3_k_l": 3.597,
    "q4_0": 3.826,
    "q4_k_s": 3.857,
    "q4_k_m": 4.081,
    "q5_0": 4.652,
    "q5_k_s": 4.652,
    "q5_k_m": 4.783,
}


@pytest.mark.parametrize(("file_type", "bits"), LLAMA_8B_BITS.items())
def test_gguf_files_of_llama_3_1_8b_have_the_bits_that_llama_cpp_publishes(file_type: str, bits: float) -> None:
    model = find_model("llama-3.1-8b")
    assert gguf_bytes(model, file_type=file_type) * 8 / 8_030_261_248 == pytest.approx(bits, abs=1e-4)


@pytest.mark.parametrize(("file_type", "size_gb"), LLAMA_2_7B_GB.items())
def test_gguf_files_of_llama_2_7b_have_their_published_size(file_type: str, size_gb: float) -> None:
    assert checkpoint_bytes(find_model("llama-2-7b"), weight_format=file_type) == pytest.approx(size_gb * 1e9, rel=5e-4)


@pytest.mark.parametrize(("model", "size_gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_gpt_oss_has_its_published_size(model: str, size_gib: float) -> None:
    name, size = released_bytes(find_model(model), None)
    assert name == "mxfp4"
    assert size / 2**30 == pytest.approx(size_gib, rel=2e-3)


def test_seven_billion_parameters_take_28_gb_in_32_bits_and_3_5_gb_in_ideal_4() -> None:
    assert ideal_weights_bytes(parameters=7e9, bits=32) == 28e9
    assert ideal_weights_bytes(parameters=7e9, bits=4) == 3.5e9


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("fp16", 16),
        ("fp8", 8),
        ("gptq-4bit", 4.15625),
        ("awq-4bit", 4.15625),
        ("nf4", 4.5),
        ("nf4-double", 4.127),
        ("mxfp4", 4.25),
        ("nvfp4", 4.5),
    ],
)
def test_a_quantised_weight_has_its_bits_with_its_part_of_the_scales(name: str, bits: float) -> None:
    assert find_format(name).bytes_per_weight() * 8 == pytest.approx(bits, abs=1e-4)


def test_smaller_groups_cost_more() -> None:
    layout = find_format("gptq-4bit")
    sizes = [layout.bytes_per_weight(group) for group in (1024, 128, 64, 32)]
    assert sizes == sorted(sizes)
    assert layout.bytes_per_weight(64) * 8 == 4 + 20 / 64


@pytest.mark.parametrize("model", [model for model in load_models() if model.kind == "decoder"], ids=lambda m: m.name)
def test_no_checkpoint_is_smaller_than_its_ideal_or_larger_than_its_16_bits(model: object) -> None:
    from llmdrill.catalog.architecture import ModelRecord

    assert isinstance(model, ModelRecord)
    assert model.parameters is not None
    whole = 2.0 * model.parameters
    for name in ("awq-4bit", "nf4", "mxfp4", "nvfp4", "q4_k_m", "q8_0", "fp8"):
        bits = 8 if name in {"q8_0", "fp8"} else 4
        size = checkpoint_bytes(model, weight_format=name)
        assert ideal_weights_bytes(parameters=model.parameters, bits=bits) < size < whole * 1.001


def test_a_tied_head_is_stored_once() -> None:
    tied, untied = find_model("llama-3.2-1b"), find_model("llama-3.1-8b")
    assert tied.head_parameters == 0
    assert untied.head_parameters == 128_256 * 4096
    assert checkpoint_bytes(untied, weight_format="bf16") == 16_060_522_496


def test_every_block_and_every_format_is_spelled_in_lower_case_and_known() -> None:
    assert set(FILE_TYPES.values()) <= set(BLOCKS)
    assert all(name == name.lower() for name in ALL_FORMATS)
    assert set(FORMATS) <= set(ALL_FORMATS)


@pytest.mark.parametrize(
    ("name", "message"), [("q4_k_xl", "did you mean q4_k"), ("awq", "did you mean awq"), ("", "unknown weight format")]
)
def test_an_unknown_format_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checkpoint_bytes(find_model("llama-3.1-8b"), weight_format=name)


def test_a_dense_model_has_no_experts_to_quantise() -> None:
    with pytest.raises(UsageError, match="no experts"):
        checkpoint_bytes(find_model("llama-3.1-8b"), weight_format="mxfp4", experts_only=True)


def test_activations_follow_the_published_factors_and_never_vanish() -> None:
    dense, sparse = find_model("llama-3.1-8b"), find_model("mixtral-8x7b")
    assert activation_bytes(dense) == 2 * 8192 * 4096 * 11
    assert activation_bytes(sparse, tensor_parallel=2) == 2 * 8192 * 4096 * 13
    assert activation_bytes(dense, tensor_parallel=3) == activation_bytes(dense, tensor_parallel=2)
    assert activation_bytes(dense, batched_tokens=1) == 70 * 2**20


@given(devices=st.sampled_from([1, 2, 4, 8]), sequences=st.integers(0, 200), context=st.integers(1, 50_000))
def test_splitting_never_makes_a_device_hold_more(devices: int, sequences: int, context: int) -> None:
    model = find_model("llama-3.1-70b")
    demand = Demand(weights_bytes=141e9, context_tokens=context, sequences=sequences)
    alone, split = place(model, demand), place(model, demand, tensor_parallel=devices)
    assert split.total_bytes <= alone.total_bytes
    assert split.total_bytes * devices >= 141e9
    assert alone.fits is None


@given(sequences=st.integers(0, 2000))
def test_the_fewest_devices_hold_all_and_one_step_fewer_does_not(sequences: int) -> None:
    model, demand = find_model("llama-3.1-70b"), Demand(141e9, 8192, sequences)
    placed = fewest_devices(model, demand, memory_bytes=80e9)
    assert placed is not None
    assert placed.fits
    fewer = [devices for devices in (1, 2, 4, 8) if devices < placed.devices]
    assert not any(place(model, demand, memory_bytes=80e9, tensor_parallel=devices).fits for devices in fewer)


def test_the_mixes_widen_the_first_and_last_eighth_and_every_third_layer_between() -> None:
    wide = [layer for layer in range(32) if gguf._more_bits(gguf._Tensor("down", layer, 32, 1, 1))]
    assert wide == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_every_device_holds_the_whole_latent_cache_and_its_part_of_a_state() -> None:
    latent, demand = find_model("deepseek-v3"), Demand(weights_bytes=0.0, context_tokens=1000, sequences=2)
    assert place(latent, demand, tensor_parallel=8).cache_bytes == 2 * 1000 * 61 * 576 * 2
    hybrid = find_model("nemotron-h-8b")
    split = place(hybrid, demand, tensor_parallel=4, pipeline_parallel=2)
    assert split.devices == 8
    assert split.state_bytes == state_bytes(hybrid.state, sequences=2) / 8
    assert split.cache_bytes == 2 * 1000 * 4 * 2 * 8 * 128 * 2 / 8


def test_what_no_number_of_devices_holds_is_none() -> None:
    assert fewest_devices(find_model("llama-3.1-8b"), Demand(1e18), memory_bytes=80e9) is None


def test_layers_are_not_split_into_more_groups_than_there_are() -> None:
    with pytest.raises(UsageError, match="32 layers cannot be split into 33 groups"):
        place(find_model("llama-3.1-8b"), Demand(16e9), pipeline_parallel=33)


def test_a_latent_cache_gains_nothing_from_more_devices_but_the_weights_do() -> None:
    model, h200 = find_model("deepseek-v3"), find_accelerator("h200")
    eight = {
        one.name: one.value for one in fit_on(model, accelerator=h200, tensor_parallel=8, weight_format="fp8").figures
    }
    sixteen = fit_on(model, accelerator=h200, tensor_parallel=16, weight_format="fp8")
    room = {one.name: one.value for one in sixteen.figures}["cache_room_bytes_per_device"]
    assert room > eight["cache_room_bytes_per_device"]
    assert sixteen.copies == 16


def test_weights_that_do_not_fit_leave_no_context_and_no_sequence() -> None:
    fit = fit_on(find_model("llama-3.1-405b"), accelerator=find_accelerator("h100"), context_tokens=1000)
    assert fit.max_context_tokens == fit.max_sequences == 0
    assert (fit.placement.cache_room_bytes or 0) < 0


def test_a_pure_state_model_is_bounded_in_sequences_and_not_in_context() -> None:
    fit = fit_on(find_model("mamba-2.8b"), accelerator=find_accelerator("h100"), context_tokens=1000)
    assert fit.max_context_tokens is None
    assert (fit.max_sequences or 0) > 1000


@pytest.mark.parametrize(
    ("file_type", "gigabytes"),
    [("q8_0", 74.98), ("q6_k", 57.89), ("q5_k_m", 49.95), ("q4_k_m", 42.52), ("q4_k_s", 40.35)],
)
def test_files_of_a_70b_model_have_their_published_sizes(file_type: str, gigabytes: float) -> None:
    """Bartowski's table of Llama-3.1-70B, as ozeki.chat/p_8590-understanding-ai-model-files.html shows it."""
    size = gguf_bytes(find_model("llama-3.1-70b"), file_type=file_type)
    assert size == pytest.approx(gigabytes * 1e9, rel=2e-3)
