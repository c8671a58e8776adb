"""The decoder against transformers, token by token, and what its loader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmdrill.errors import ModelFileError, UnknownNameError, UsageError
from llmdrill.lab.shapes import NAMED_SHAPES, shape_from_config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmdrill.lab.decoder import Sampling, generate, random_decoder  # noqa: E402
from llmdrill.lab.load_decoder import load_decoder  # noqa: E402

pytestmark = pytest.mark.lab

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "multi-head": ("Llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "grouped, untied": ("Llama", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "multi-query, wide heads": ("Llama", {"num_key_value_heads": 1, "head_dim": 24}),
    "Qwen2's biases": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "Qwen3's norms of queries and keys": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 24}),
    "Mistral without a window": ("Mistral", {"num_key_value_heads": 2, "sliding_window": None}),
    "Llama 3's stretched positions": ("Llama", {"num_key_value_heads": 2, "rope_parameters": LLAMA3}),
}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared research data are not here")
    return folder


def oracle(kind: str, **more: Any) -> Any:
    """Return a random tiny checkpoint of transformers, weights large enough that a wrong detail shows."""
    family, extra = KINDS[kind]
    figures = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = getattr(transformers, f"{family}Config")(
        **{**figures, "vocab_size": 160, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, **extra, **more},
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15 + (parameter.ndim == 1))
    return model


@pytest.fixture(params=KINDS, ids=lambda kind: kind.replace(" ", "-"))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    model = oracle(request.param)
    model.save_pretrained(tmp_path)
    return model, load_decoder(tmp_path)


def prompts(*lengths: int) -> list[list[int]]:
    rng = torch.Generator().manual_seed(1)
    return [torch.randint(0, 160, (length,), generator=rng).tolist() for length in lengths]


def theirs(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def test_logits_of_a_whole_text_equal_those_of_transformers(pair: tuple[Any, Any]) -> None:
    model, ours = pair
    (ids,) = prompts(100)
    torch.testing.assert_close(ours.logits(torch.tensor([ids]))[0], theirs(model, ids), atol=1e-4, rtol=1e-4)


def test_prompts_of_different_lengths_continued_token_by_token_equal_transformers(pair: tuple[Any, Any]) -> None:
    model, ours = pair
    rows = prompts(3, 40, 17)
    session = ours.start(sequences=3, capacity_tokens=50)
    logits = session.prefill(rows)
    for _ in range(8):
        for row, ids in enumerate(rows):
            torch.testing.assert_close(logits[row], theirs(model, ids)[-1], atol=1e-4, rtol=1e-4)
        chosen = logits.argmax(-1)
        rows = [[*ids, token] for ids, token in zip(rows, chosen.tolist(), strict=True)]
        logits = session.decode(chosen)
    assert session.cache.lengths.tolist() == [11, 48, 25]


def test_a_prompt_read_in_pieces_after_a_kept_prefix_equals_one_read_at_once(pair: tuple[Any, Any]) -> None:
    model, ours = pair
    first, second = prompts(30, 44)
    session = ours.start(sequences=1, capacity_tokens=80)
    session.prefill([first])
    session.cache.keep(20)
    logits = session.prefill([second[:9]])
    torch.testing.assert_close(logits[0], theirs(model, first[:20] + second[:9])[-1], atol=1e-4, rtol=1e-4)
    logits = session.prefill([second[9:]])
    torch.testing.assert_close(logits[0], theirs(model, first[:20] + second)[-1], atol=1e-4, rtol=1e-4)


def test_greedy_generation_equals_that_of_transformers(pair: tuple[Any, Any]) -> None:
    model, ours = pair
    (ids,) = prompts(12)
    expected = model.generate(
        torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert generate(ours, [ids], max_new_tokens=20) == (tuple(expected[0, 12:].tolist()),)


def test_bf16_stays_near_fp32(tmp_path: Path) -> None:
    oracle("grouped, untied").save_pretrained(tmp_path)
    ids = torch.tensor(prompts(50))
    exact, rounded = (load_decoder(tmp_path, precision=name).logits(ids).float() for name in ("fp32", "bf16"))
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=-1).min() > 0.995
    assert not torch.equal(exact, rounded)


def test_the_cache_takes_exactly_the_bytes_of_keys_and_values() -> None:
    shape = NAMED_SHAPES["tiny"]
    session = random_decoder(shape, seed=0).start(sequences=2, capacity_tokens=64)
    session.prefill([[1] * 10, [2] * 5])
    assert session.cache.allocated_bytes == 2 * 64 * shape.kv_bytes_per_token
    assert session.cache.used_bytes == 15 * shape.kv_bytes_per_token


@pytest.mark.parametrize("name", NAMED_SHAPES)
def test_a_shape_has_as_many_weights_as_transformers_counts(name: str) -> None:
    shape = NAMED_SHAPES[name]
    family = "Qwen2" if shape.qkv_bias else "Llama"
    config = getattr(transformers, f"{family}Config")(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters


def test_a_named_shape_equals_the_public_config(shared_data: Path) -> None:
    listed = {
        model["name"].lower(): model for model in json.loads((shared_data / "models/models.json").read_text())["models"]
    }
    model = listed["smollm2-135m"]
    config = model["config"] | {"rms_norm_eps": 1e-5, "rope_theta": 100_000.0}
    assert shape_from_config(config, file="models.json") == NAMED_SHAPES["smollm2-135m"]
    assert NAMED_SHAPES["smollm2-135m"].parameters == model["total_params"]


# --- sampling -----------------------------------------------------------------------------------------------------


def test_top_k_and_top_p_leave_what_they_should() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    torch.testing.assert_close(Sampling(1.0, top_k=2).probabilities(logits), torch.tensor([[0.625, 0.375, 0, 0]]))
    torch.testing.assert_close(Sampling(1.0, top_p=0.5).probabilities(logits), torch.tensor([[1.0, 0, 0, 0]]))
    torch.testing.assert_close(Sampling(1.0, top_p=0.6).probabilities(logits), torch.tensor([[0.625, 0.375, 0, 0]]))
    torch.testing.assert_close(Sampling(0.5).probabilities(logits)[0, 0], torch.tensor(0.25 / 0.365))


def test_the_same_seed_draws_the_same_tokens_and_another_does_not() -> None:
    model = random_decoder(NAMED_SHAPES["tiny"], seed=0)
    drawn = [
        generate(model, [[1, 2], [3]], max_new_tokens=30, sampling=Sampling(1.0, top_k=50), seed=seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stop_token_ends_its_own_sequence_only() -> None:
    model = random_decoder(NAMED_SHAPES["tiny"], seed=0)
    free = generate(model, [[1, 2], [3, 9]], max_new_tokens=12)
    stop = next(token for token in free[0] if token not in free[1])
    stopped = generate(model, [[1, 2], [3, 9]], max_new_tokens=12, stop_ids=frozenset({stop}))
    assert stopped == (free[0][: free[0].index(stop)], free[1])


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_k": 0}])
def test_sampling_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="sampling needs"):
        Sampling(**wrong)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    oracle("multi-head").save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, **figures: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | figures))


def refused(folder: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_decoder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sharded_checkpoint_equals_a_whole_one(tmp_path: Path) -> None:
    model = oracle("grouped, untied")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = torch.tensor(prompts(20))
    torch.testing.assert_close(
        load_decoder(tmp_path).logits(ids)[0], theirs(model, ids[0].tolist()), atol=1e-4, rtol=1e-4
    )


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    oracle("grouped, untied").save_pretrained(tmp_path, max_shard_size="40KB")
    max(tmp_path.glob("*.safetensors")).unlink()
    assert "not a complete safetensors file" in refused(tmp_path)


def test_a_pickle_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "a pickle can run code" in refused(checkpoint)


def test_truncated_weights_are_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "not a complete safetensors file" in refused(checkpoint)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"model_type": "mamba"}, "the architecture 'mamba' is not supported"),
        ({"hidden_act": "gelu"}, "the activation 'gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias is not supported"),
        ({"vocab_size": 161}, "'model.embed_tokens.weight' is (160, 64), but config.json implies (161, 64)"),
        ({"num_hidden_layers": 4}, "the weights lack 'model.layers.3"),
        ({"num_key_value_heads": 3}, "4 heads, 3 KV heads"),
        ({"hidden_size": "wide"}, "malformed figure"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "the rope scaling 'yarn' is not supported"),
    ],
)
def test_a_config_that_would_run_wrong_is_refused(checkpoint: Path, figures: dict[str, Any], words: str) -> None:
    change(checkpoint, **figures)
    assert words in refused(checkpoint)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "z": 160}}}))
    assert "has a token 160, but config.json says 160 tokens" in refused(checkpoint)


def test_a_sliding_window_bounds_the_context(checkpoint: Path) -> None:
    change(checkpoint, model_type="mistral", sliding_window=64)
    model = load_decoder(checkpoint)
    with pytest.raises(UsageError, match="1 to 64"):
        model.start(sequences=1, capacity_tokens=65)


def test_an_unknown_model_or_shape_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelFileError, match="nobody/nothing: neither a model folder"):
        load_decoder("nobody/nothing")
    with pytest.raises(UnknownNameError, match=r"unknown decoder shape 'smollm2-135' \(did you mean smollm2-135m"):
        load_decoder(shape="smollm2-135")


def test_a_hub_id_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    oracle("multi-head").save_pretrained(tmp_path / "hub/models--ours--tiny/snapshots/abc")
    assert load_decoder("ours/tiny").shape.kv_heads == 4


def test_a_full_cache_is_refused_before_anything_is_overwritten() -> None:
    session = random_decoder(NAMED_SHAPES["tiny"], seed=0).start(sequences=1, capacity_tokens=4)
    session.prefill([[1, 2, 3, 4]])
    with pytest.raises(UsageError, match="room for 4 tokens"):
        session.decode(torch.tensor([5]))
