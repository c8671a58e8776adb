"""`llmdrill lab ann` and `lab position`: JSON that scripts rely on, and what they refuse."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from llmdrill.lab.model_files import EMBEDDED

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab


def test_ann_gives_recall_speed_and_bytes_of_every_way(call: Call) -> None:
    ran = call("lab", "ann", "--vectors", 256, "--queries", 20, "--k", 5, "--repeats", 1, "--json")
    assert ran.status == 0, ran.err
    found = ran.json
    assert found["schema"] == "llmdrill/lab-ann@1"
    assert found["fp32_bytes"] == found["predicted"]["fp32_bytes"] == 256 * 384 * 4
    assert found["int8_bytes"] == found["predicted"]["int8_bytes"] == 256 * 384 + 2 * 384 * 4
    assert found["binary_bytes"] == found["predicted"]["binary_bytes"] == 256 * 384 / 8
    assert found["binary_recall_share"] < found["binary_rescored_recall_share"] <= 1
    assert found["intrinsic_dimension"] < found["random_intrinsic_dimension"]
    assert {"exact_queries_per_s", "int8_batch_queries_per_s", "random_binary_rescored_recall_share"} <= set(found)
    rows = found["searches"]
    assert (rows[0]["way"], rows[0]["recall_share"], rows[0]["random_recall_share"]) == ("exact", 1, 1)
    assert [row["vectors"] for row in found["neighbourhoods"]] == ["texts", "random"]
    assert len(found["meaning"]) == 2
    if "hnsw_bytes" in found:
        assert found["hnsw_bytes"] == pytest.approx(found["predicted"]["hnsw_bytes"], rel=0.02)
        assert {"hnsw_build_s", "break_even_queries", "hnsw_question_recall_share"} <= set(found)


def test_position_gives_gains_by_depth_and_by_order(call: Call) -> None:
    options = ("--quick", "--context", 192, "--chunks", 2, "--few-chunks", 1)
    ran = call("lab", "position", *options, "--json", "--assert", "end_gain_nats > 0")
    assert ran.status == 0, ran.err
    found = ran.json
    assert found["schema"] == "llmdrill/lab-position@1"
    assert (found["model"], found["task"], found["contexts_tokens"], found["cases"]) == ("embedded", "code", [192], 4)
    assert [row["ending"] for row in found["by_depth"]] == 5 * ["call", "arguments", "constant"]
    assert found["spread"]["middle_minus_front_nats"][0] <= found["middle_minus_front_nats"]
    assert {"best_last_minus_best_first_nats", "edges_first_gain_nats", "retrieved_share"} <= set(found)
    assert any(note.startswith("question answering was skipped") for note in found["notes"])


def test_a_model_of_ones_own_answers_from_facts(call: Call, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "python-8m", tmp_path / "model")
    for name in ("tokenizer.tiktoken", "tiktoken.json"):
        shutil.copy(EMBEDDED / name, tmp_path / "model")
    options = ("--quick", "--context", 240, "--chunks", 2, "--few-chunks", 1)
    ran = call("lab", "position", "--model", tmp_path / "model", *options, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["task"], ran.json["material"]) == ("facts", "documents of the shipped corpus 'rag'")
    assert {row["ending"] for row in ran.json["by_depth"]} == {"answer"}
    assert not any("skipped" in note for note in ran.json["notes"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("ann", "--vectors", 10), "at least 256 and 20 say something"),
        (("ann", "--k", 900, "--vectors", 300), "--k 900: there are only 300 vectors"),
        (("ann", "--embedder", "/nowhere"), "/nowhere"),
        (("position", "--task", "facts"), "needs --model"),
        (("position", "--context", 2000), "a context of 2,000 tokens: this model was made for 1,024"),
        (("position", "--chunks", 90), "ask for at most --chunks"),
        (("position", "--model", "/nowhere"), "/nowhere: neither a model folder"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(call: Call, words: tuple[object, ...], why: str) -> None:
    ran = call("lab", *words)
    assert (ran.status, ran.out) == (2, "")
    assert why in ran.err
    assert len(ran.err.strip().splitlines()) == 1
