"""The cross-encoder against transformers on a small random checkpoint, and the checkpoints it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llmdrill.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.lab

WORDS = [
    "the",
    "scanner",
    "printer",
    "battery",
    "warns",
    "of",
    "a",
    "cold",
    "start",
    "label",
    "jam",
    "code",
    "lasts",
    "ten",
    "weeks",
    "and",
    "then",
    "fails",
    "?",
]
QUERY = "the battery lasts ?"
TEXTS = (
    "a battery lasts ten weeks",
    "printer jam",
    "",
    "the scanner warns of a cold start and then the printer fails " * 4,
    "unknown words entirely",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as sequence classifiers are published, its weights random and its segments far apart."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("cross-encoder") / "tiny-judge"
    folder.mkdir()
    save_tokenizer(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 40}), encoding="utf-8")
    return folder


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


def reference_logits(folder: Path) -> np.ndarray:
    """Return what transformers gives, its own tokenizer building the pairs."""
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", sep_token="[SEP]", cls_token="[CLS]"  # noqa: S106
    )  # fmt: skip
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    pairs = tokenizer(
        [QUERY] * len(TEXTS), list(TEXTS), padding=True, truncation="only_second", max_length=40, return_tensors="pt",
        return_token_type_ids=True,
    )  # fmt: skip
    assert pairs["token_type_ids"].any()
    with torch.inference_mode():
        return np.asarray(model(**pairs).logits[:, 0].numpy())


def test_scores_equal_the_logits_of_transformers(checkpoint: Path) -> None:
    from llmdrill.lab.cross_encoder import load_cross_encoder

    judge = load_cross_encoder(checkpoint)
    ours, theirs = judge.scores(QUERY, TEXTS), reference_logits(checkpoint)
    assert np.ptp(theirs) > 0.05  # or equality would say little
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert (judge.name, judge.max_tokens) == ("tiny-judge", 40)


def test_a_text_is_judged_alike_alone_and_among_others(checkpoint: Path) -> None:
    from llmdrill.lab.cross_encoder import load_cross_encoder

    judge = load_cross_encoder(checkpoint)
    together = judge.scores(QUERY, TEXTS)
    assert [judge.scores(QUERY, [text])[0] for text in TEXTS] == pytest.approx(together, abs=1e-5)
    assert judge.scores(QUERY, []).shape == (0,)
    assert judge.scores("the " * 100, ["a"]).shape == (1,)  # a query that fills the model leaves no room, no error


def test_it_orders_candidates_as_a_reranker(checkpoint: Path) -> None:
    from llmdrill.lab.cross_encoder import load_cross_encoder
    from llmdrill.retrieval.rerank import best_first

    judge = load_cross_encoder(checkpoint)
    order = best_first(judge.scores(QUERY, TEXTS))
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert np.all(np.diff(judge.scores(QUERY, TEXTS)[list(order)]) <= 0)


def changed(checkpoint: Path, to: Path, **tensors: Any) -> Path:
    safetensors = pytest.importorskip("safetensors.torch")
    to.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (to / name).write_bytes((checkpoint / name).read_bytes())
    kept = safetensors.load_file(checkpoint / "model.safetensors") | tensors
    safetensors.save_file({name: one for name, one in kept.items() if one is not None}, to / "model.safetensors")
    return to


def test_what_is_no_reranker_is_refused_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    from llmdrill.lab.cross_encoder import load_cross_encoder

    three = changed(checkpoint, tmp_path / "three", **{"classifier.weight": torch.zeros(3, 32)})
    headless = changed(checkpoint, tmp_path / "headless", **{"classifier.weight": None})
    for folder, words in (
        (three, "has 3 labels"),
        (headless, "no cross-encoder"),
        (tmp_path / "nowhere", "neither a model folder"),
    ):
        with pytest.raises(ModelFileError, match=words) as caught:
            load_cross_encoder(folder)
        assert "\n" not in str(caught.value)
