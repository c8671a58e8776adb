"""`llmdrill lab embed`: JSON that scripts rely on, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmdrill.experiments.embed_shown import product_flops_per_token, text_flops
from llmdrill.lab.bert_shape import BertShape
from llmdrill.lab.embed import find_minilm

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = [pytest.mark.lab, pytest.mark.skipif(find_minilm() is None, reason="all-MiniLM-L6-v2 is not installed")]
MINILM = BertShape(layers=6, hidden=384, heads=12, intermediate=1536, vocab=30522, positions=512, norm_eps=1e-12)


def test_every_engine_length_batch_and_order_has_a_row(call: Call) -> None:
    ran = call("lab", "embed", "--quick", "--passages", 1, "--json")
    assert ran.status == 0, ran.err
    found = ran.json
    assert found["schema"] == "llmdrill/lab-embed@1"
    assert (found["embedder"], found["passages"], found["passage_tokens"]) == ("all-MiniLM-L6-v2", 1, 254)
    assert (found["by_engine"][0]["engine"], found["by_engine"][0]["precision"]) == (
        found["engine"],
        found["precision"],
    )
    assert {"torch"} <= {row["engine"] for row in found["by_engine"]}
    assert [row["tokens_per_text"] for row in found["by_length"]] == [8, 16, 32, 64, 128, 254]
    assert all(row["tokens"] == row["texts"] * row["tokens_per_text"] for row in found["by_length"])
    assert [row["batch_tokens"] for row in found["by_batch"]] == [64, 256, 512, 1024, 2048]
    assert [row["order"] for row in found["by_order"][:2]] == ["sorted", "come"]
    assert [row["engine"] for row in found["memory"]] == [found["engine"]]
    assert found["share_of_product_limit"] == pytest.approx(
        found["passages_per_s"] / found["predicted"]["passages_per_s"], rel=1e-3
    )
    assert found["predicted"]["flops_per_passage"] == text_flops(MINILM, tokens=256)
    assert len(found["meaning"]) == 2


def test_flops_are_two_a_parameter_of_a_matrix_and_attention_over_all_pairs() -> None:
    parameters_of_matrices = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert product_flops_per_token(MINILM) == 2 * parameters_of_matrices
    attention = text_flops(MINILM, tokens=256) - 256 * product_flops_per_token(MINILM)
    assert attention == 6 * 12 * 2 * (2 * 256 * 256 * 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "torch", "--precision", "int16"), "the torch engine has no int16 weights"),
        (("--engine", "native", "--precision", "bf16"), "not bf16: --engine torch has it"),
        (("--embedder", "nowhere"), "nowhere/config.json: cannot be read"),
        (("--passages", "10000"), "take fewer --passages"),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_line(
    call: Call, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    ran = call("lab", "embed", *options)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert "Traceback" not in ran.err
