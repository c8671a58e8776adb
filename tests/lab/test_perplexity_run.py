"""Scoring passages: a model of known perplexity, sums, bands of context, and compressors on the same bytes."""

from __future__ import annotations

import gzip
import json
import lzma
import math
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
safetensors = pytest.importorskip("safetensors.torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.lab.byte_letters import byte_of_letter  # noqa: E402
from llmdrill.lab.perplexity_run import Passage, held_out_passages, score_passages  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab

TEXT = "def naïve(x):\n    return x  # né\n"


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose model holds all 256 tokens equally likely, a token being a byte."""
    folder = tmp_path_factory.mktemp("uniform")
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config |= {"intermediate_size": 4, "vocab_size": 256, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}), encoding="utf-8")
    at = "model.layers.0."
    sizes = {f"{at}self_attn.{name}_proj.weight": (8, 8) for name in "qkvo"}
    sizes |= {f"{at}mlp.{name}_proj.weight": (4, 8) for name in ("gate", "up")} | {f"{at}mlp.down_proj.weight": (8, 4)}
    sizes |= dict.fromkeys((f"{at}input_layernorm.weight", f"{at}post_attention_layernorm.weight"), (8,))
    sizes |= {"model.norm.weight": (8,), "model.embed_tokens.weight": (256, 8)}
    safetensors.save_file({name: torch.zeros(size) for name, size in sizes.items()}, folder / "model.safetensors")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=byte_of_letter(), merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_model_that_knows_nothing_is_as_unsure_as_it_has_tokens(uniform: Path) -> None:
    run = score_passages([Passage("a", TEXT), Passage("b", "x" * 200)], model=str(uniform))
    size = len(TEXT.encode()) + 200 - 2  # the first byte of a text has nothing before it
    assert (run.total.tokens, run.total.bytes) == (size, size)
    assert run.total.perplexity == pytest.approx(256)
    assert run.total.bits_per_byte == pytest.approx(8)
    assert [one.score.sums.tokens for one in run.passages] == [len(TEXT.encode()) - 1, 199]
    assert [band.nats_per_token for band in run.bands] == pytest.approx([math.log(256)] * len(run.bands))


def test_windows_default_to_half_overlapping_ones_of_the_models_context(uniform: Path) -> None:
    run = score_passages([Passage("a", TEXT)], model=str(uniform))
    assert (run.context_tokens, run.stride_tokens, run.starts) == (64, 32, False)


def test_compressors_get_the_same_bytes_as_one_file(uniform: Path) -> None:
    run = score_passages([Passage("a", TEXT), Passage("b", TEXT)], model=str(uniform))
    data = (TEXT + TEXT).encode()
    assert run.text_bytes == len(data)
    assert gzip.decompress(gzip.compress(data, 9)) == data
    assert run.gzip_bytes == len(gzip.compress(data, 9))
    assert run.xz_bytes == len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def test_bands_of_context_hold_every_token_of_a_text_within_one_window_once() -> None:
    run = score_passages([Passage("a", TEXT * 8)], context_tokens=512)
    assert sum(band.tokens for band in run.bands) == run.total.tokens
    assert sum(band.tokens * band.nats_per_token for band in run.bands) == pytest.approx(run.total.nats, rel=1e-6)
    assert [(band.least_seen, band.most_seen) for band in run.bands][:2] == [(1, 16), (17, 64)]


def test_the_embedded_model_predicts_the_first_token_of_a_text_too() -> None:
    run = score_passages([Passage("a", TEXT)])
    assert run.starts
    assert run.total.bytes == len(TEXT.encode())


def test_a_text_of_one_token_without_a_start_has_nothing_to_predict(uniform: Path) -> None:
    with pytest.raises(UsageError, match="no token to predict"):
        score_passages([Passage("a", "x")], model=str(uniform))


@pytest.mark.parametrize(("context", "stride"), [(65, None), (16, 17), (16, 0)])
def test_windows_that_do_not_fit_are_refused(uniform: Path, context: int, stride: int | None) -> None:
    with pytest.raises(UsageError, match="1 to 64"):
        score_passages([Passage("a", TEXT)], model=str(uniform), context_tokens=context, stride_tokens=stride)


def test_a_sample_of_held_out_modules_is_bounded_and_the_same_for_a_seed() -> None:
    one, same = (held_out_passages(most_bytes=100_000, seed=4) for _ in range(2))
    whole = held_out_passages(most_bytes=None, seed=4)
    assert one == same
    assert set(one) < set(whole)
    assert sum(len(passage.text.encode()) for passage in one) <= 100_000
