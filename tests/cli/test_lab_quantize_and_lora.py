"""`llmdrill lab quantize` and `llmdrill lab lora` as they are called, on a tiny checkpoint with random weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from llmdrill.lab.model_files import embedded_file  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab

LAYERS, HIDDEN, INNER, VOCAB, KV_ROWS = 2, 32, 64, 4096, 16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Llama-family folder as training writes one: fp32, with the embedded tokenizer's ranks."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = torch.Generator().manual_seed(0)
    matrices = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV_ROWS, HIDDEN)}
    matrices |= {"self_attn.v_proj": (KV_ROWS, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN)}
    matrices |= {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
    names: dict[str, Any] = {"embed_tokens": (VOCAB, HIDDEN), "norm": (HIDDEN,)}
    for at in range(LAYERS):
        names |= {f"layers.{at}.{name}": size for name, size in matrices.items()}
        names |= {f"layers.{at}.{name}": (HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
    tensors = {f"model.{name}.weight": torch.randn(size, generator=rng) for name, size in names.items()}
    safetensors.save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "intermediate_size": INNER}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5}
    config |= {"tie_word_embeddings": True, "max_position_embeddings": 256}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.tiktoken").write_bytes(embedded_file("tokenizer.tiktoken"))
    return folder


def test_quantize_sets_bytes_beside_the_closed_form_and_loss_beside_fp32(call: Call, checkpoint: Path) -> None:
    found = call("lab", "quantize", "--model", checkpoint, "--quick", "--groups", "8,32", "--json").json
    parameters = VOCAB * HIDDEN + LAYERS * (HIDDEN * (2 * HIDDEN + 2 * KV_ROWS + 3 * INNER) + 2 * HIDDEN) + HIDDEN
    assert found["fp32_bytes"] == found["predicted"]["fp32_bytes"] == 4 * parameters
    assert found["int4_bytes"] == found["predicted"]["int4_bytes"]
    assert found["int8_bytes"] > found["predicted"]["int8_bytes"] == parameters  # the scales are not in the formula
    ways = {row["weights"]: row for row in found["ways_to_store_the_weights"]}
    assert ways["fp32"]["loss_nats"] == 0
    assert ways["int8 rows"]["loss_nats"] != 0  # these weights were never int8, so rounding changes them
    assert {"int4 g32", "int4 g32 zero", "int4 g32 zero GPTQ"} <= set(ways)
    assert {row["matrix"] for row in found["one_matrix_at_a_time"]} == {
        "embedding",
        *(f"{layer}.{name}" for layer in range(LAYERS) for name in ("qkv", "out", "gate_up", "down")),
    }
    assert all(row["divergence_nats"] > 0 for row in found["one_matrix_at_a_time"])
    assert len(found["meaning"]) == 2
    assert "int8_bytes" not in found["weights_matter"]
    assert "int8_loss_nats" in found["weights_matter"]


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(call: Call, checkpoint: Path) -> None:
    def losses(seed: int) -> list[float]:
        found = call("lab", "quantize", "--model", checkpoint, "--quick", "--json", "--seed", seed).json
        return [row["perplexity"] for row in found["ways_to_store_the_weights"] if "inputs" not in row["weights"]]

    assert losses(0) == pytest.approx(losses(0), rel=1e-6)
    assert losses(0) != pytest.approx(losses(1), rel=1e-3)


def test_lora_counts_what_trains_and_merges_without_a_difference(call: Call, checkpoint: Path) -> None:
    call_ = ("lab", "lora", "--model", checkpoint, "--steps", 2, "--batch-windows", 1, "--window-tokens", 32)
    sizes = ("--test-windows", 2, "--prompt-tokens", 32, "--ranks", "1,4", "--rate", 0.02)
    found = call(*call_, *sizes, "--json").json
    per_rank = LAYERS * ((HIDDEN + HIDDEN) * 2 + (HIDDEN + KV_ROWS) * 2 + (HIDDEN + INNER) * 3)
    assert found["lora_trained_parameters"] == found["predicted"]["lora_trained_parameters"] == 4 * per_rank
    assert found["lora_gradient_bytes"] == found["predicted"]["lora_gradient_bytes"]
    tensors = LAYERS * 7 * 2
    assert found["lora_optimizer_bytes"] == found["predicted"]["lora_optimizer_bytes"] + 4 * tensors
    assert found["full_gradient_bytes"] == found["predicted"]["full_gradient_bytes"]
    assert 0 <= found["merge_difference_logits"] < 0.01  # logits of these weights are in the tens
    ways = {row["way"]: row for row in found["ways_to_adapt"]}
    assert list(ways) == ["rank 1", "rank 4", "full", "before", "prompt", "prompt in the old style"]
    assert ways["rank 4"]["new_style_change_nats"] == pytest.approx(-found["lora_learned_nats"], abs=1e-4)
    assert ways["full"]["old_style_change_nats"] == pytest.approx(found["full_forgot_nats"], abs=1e-4)
    assert ways["prompt"]["old_style_nats"] is None
    assert ways["rank 4"]["new_style_change_nats"] != 0
    assert found["train_files"] > found["test_files"] > 0
    assert "  def readAll(fileName):" in found["lines"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quantize", "--groups", "32,x"), "--groups 32,x: whole numbers from 2"),
        (("quantize", "--groups", ""), "--groups : whole numbers"),
        (("quantize", "--groups", "1"), "whole numbers from 2"),
        (("quantize", "--window-tokens", "5000"), "this model has 256"),
        (("lora", "--ranks", "0"), "--ranks 0: whole numbers from 1"),
        (("lora", "--ranks", "17"), "rank 17: adapters of this model have 1 to 16"),
        (("lora", "--prompt-tokens", "250"), "prompts of 250 and windows of 256 tokens: this model has 256"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    call: Call, checkpoint: Path, words: tuple[str, ...], message: str
) -> None:
    extra = ("--window-tokens", 32, "--prompt-tokens", 32) if "--ranks" in words else ()
    found = call("lab", words[0], "--model", checkpoint, *words[1:], *extra)
    assert found.status == 2
    assert message in " ".join(found.err.split())
    assert found.out == ""


def test_a_folder_that_is_not_there_is_refused(call: Call) -> None:
    for name in ("quantize", "lora"):
        found = call("lab", name, "--model", "no/such/folder/at-all")
        assert (found.status, found.out) == (2, "")
        assert "Traceback" not in found.err
