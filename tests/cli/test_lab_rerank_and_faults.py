"""`llmdrill lab rerank` and `lab faults` as they are called: output, and one line for what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

if TYPE_CHECKING:
    from conftest import Call

pytestmark = pytest.mark.lab
RAG = Path(__file__).resolve().parents[2] / "scenarios" / "rag"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return one family of the shipped corpus."""
    shutil.copytree(RAG / "corpus" / "plans", tmp_path / "corpus" / "plans")
    (tmp_path / "questions").mkdir()
    shutil.copy(RAG / "questions" / "plans.yaml", tmp_path / "questions")
    return tmp_path


def test_a_fault_is_shown_with_its_trace_and_json_has_both(call: Call, folder: Path) -> None:
    asked = ("--corpus", folder, "--fault", "citation-shifted", "--chunk-tokens", 128, "--overlap", 16, "--k", 3)
    shown = call("lab", "faults", *asked, "--question", "plans-06", "--plain")
    assert shown.status == 0
    for words in (
        "Smallest fix:",
        "SOUND: hits",
        "FAULTY: hits",
        "| Question: We take on extra pickers",
        "broken_links",
    ):
        assert words in shown.out
    found = call(
        "lab", "faults", *asked, "--question", "plans-06", "--json", "--assert", "citation_accuracy_change >= 0"
    )
    assert found.status == 1
    read = found.json
    assert read["schema"] == "llmdrill/lab-faults@1"
    assert read["recall_at_k"] == read["faulty_recall_at_k"]
    assert read["citation_accuracy"] == 1.0
    assert read["trace"]["sound"]["hits"] == read["trace"]["faulty"]["hits"]
    assert {one["same_text"] for one in read["trace"]["faulty"]["citations"]} == {False}
    assert read["text"]["layer"] == "context"
    assert len(read["text"]["wrong_fixes"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("faults", "--fault", "stale-indx"), "unknown fault 'stale-indx' (did you mean stale-index?)"),
        (("faults", "--k", 0), "0 is not in the range"),
        (("faults", "--corpus", "pydoc"), "labels whole documents"),
        (("rerank", "--n", 3), "give numbers of candidates from k = 5 on"),
        (("rerank", "--n", 0), "0 is not in the range"),
        (("rerank", "--cross-encoder", "no/where"), "neither a model folder nor in the Hugging Face cache"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(call: Call, arguments: tuple[object, ...], words: str) -> None:
    refused = call("lab", *arguments)
    assert refused.status == 2
    assert words in refused.err
    assert "Traceback" not in refused.err
    assert refused.out == ""
