"""`llmdrill lab hybrid` on a folder of one's own: the real embedder, JSON that scripts rely on, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

TEXTS = (
    "The battery lasts ten hours and charges in two.",
    "Returned parcels are refunded within a week.",
    "Error E-4021 means that it is too cold to charge.",
    "Invoices are sent on the first day of every month.",
)
ASKED = ("How long does a full charge hold out?", "When do I get my money back?", "E-4021", "the of")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a set in BEIR layout: question n is answered by document n."""
    (tmp_path / "qrels").mkdir()
    for name, rows in (("corpus", TEXTS), ("queries", ASKED)):
        lines = (json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(rows))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    judged = "".join(f"{number}\t{number}\t1\n" for number in range(len(ASKED)))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return tmp_path


@pytest.mark.lab
def test_every_way_is_scored_on_a_folder_of_ones_own(call: Call, folder: Path) -> None:
    ran = call(
        "lab", "hybrid", "--corpus", folder, "--k", 1, "--quick", "--json", "--assert", "dense_recall_at_k >= 0.5"
    )
    assert ran.status == 0, ran.err
    found = ran.json
    assert found["schema"] == "llmdrill/lab-hybrid@1"
    assert (found["n_dev"], found["n_judged"], found["chunks"]) == (0, 4, 4)
    assert (found["chosen_dense_weight"], found["chosen_rrf_k"]) == (0.5, 60)
    assert found["sparse_recall_at_k"] == 0.25  # the code alone: no other question has a word of its document
    assert found["dense_recall_at_k"] >= 0.75
    assert [row["dense_weight"] for row in found["by_dense_weight"]] == [0, 0.25, 0.5, 0.75, 1]
    assert any("1 question holds no search term" in note for note in found["notes"])
    assert len(found["meaning"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--overlap", "300"), "cannot overlap by 300"),
        (("--k", "0"), "--k"),
        (("--chunker", "fixd"), "did you mean fixed?"),
        (("--corpus", "nowhere"), "unknown corpus 'nowhere'"),
        (("--assert", "dense_recall_at_k >= high"), "high"),
    ],
)
@pytest.mark.lab
def test_bad_options_are_refused_in_a_line(call: Call, words: tuple[str, ...], message: str) -> None:
    ran = call("lab", "hybrid", *words)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
