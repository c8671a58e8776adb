"""`llmdrill metrics`: what trec_eval prints, held to limits in CI."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Call

IR = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ir"
NAMES = {"map": "map", "recip_rank": "mrr", "Rprec": "r_precision", "ndcg": "ndcg"}
CUTS = {"P": "precision", "recall": "recall", "success": "hit", "ndcg_cut": "ndcg"}
QRELS = "q1 0 a 1\nq1 0 b 2\nq1 0 c 0\nq2 0 a 1\nq3 0 a 0\n"
RUN = "q1 Q0 a 1 3 r\nq1 Q0 x 2 2 r\nq1 Q0 b 3 1 r\nq9 Q0 a 1 1 r\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Return the options that name small judgements and a small run."""
    (tmp_path / "qrels").write_text(QRELS, encoding="utf-8")
    (tmp_path / "run").write_text(RUN, encoding="utf-8")
    return ("metrics", "--qrels", str(tmp_path / "qrels"), "--run", str(tmp_path / "run"))


def test_it_prints_what_trec_eval_prints(call: Call) -> None:
    if not IR.is_dir():
        pytest.skip("the project's trec_eval vectors (../shared/data/ir) are not here")
    ks = [5, 10, 20, 100]
    asked = ("--qrels", IR / "qrels.test", "--run", IR / "results.test", "--ties", "trec", "--k", "5,10,20,100")
    found = call("metrics", *asked, "--json").json
    names = NAMES | {f"{theirs}_{k}": f"{ours}_at_{k}" for theirs, ours in CUTS.items() for k in ks}
    rows = map(str.split, (IR / "expected_all_trec.txt").read_text(encoding="utf-8").splitlines())
    expected = {names[name]: value for name, query, value in rows if query == "all" and name in names}
    assert len(expected) >= 16
    assert {name: f"{found[name]:.4f}" for name in expected} == expected
    text = call("metrics", *asked).out
    assert all(any(row.split() == [name, value] for row in text.splitlines()) for name, value in expected.items())


def test_json_holds_means_counts_and_what_limits_recall(call: Call, files: tuple[str, ...]) -> None:
    found = call(*files, "--k", "1, 3", "--json").json
    assert found["schema"] == "llmdrill/metrics@1"
    assert found["k"] == [1, 3]
    counts = [found[name] for name in ("n", "n_missing", "n_without_relevant", "n_not_judged")]
    assert counts == [3, 2, 1, 1]
    assert (found["recall_at_1"], found["recall_at_3"]) == (0.166667, 0.333333)  # 1/2 and 1 of q1; 0 of q2 and q3
    assert found["most_recall_at_1"] == 0.5
    assert [note.partition(":")[0] for note in found["notes"]] == [
        "recall_at_1 could be 0.5000 at most",
        "recall_at_3 could be 0.6667 at most",
    ]
    assert found["unjudged_at_3"] == 0.111111
    assert "per_query" not in found
    skipped = call(*files, "--skip-no-relevant", "--per-query", "--json").json
    assert (skipped["n"], skipped["recall_at_5"]) == (2, 0.5)
    assert skipped["per_query"]["q1"]["recall_at_5"] == 1
    assert list(skipped["per_query"]) == ["q1", "q2"]


def test_the_same_in_beirs_columns_and_as_json(call: Call, files: tuple[str, ...], tmp_path: Path) -> None:
    rows = [line.split() for line in QRELS.splitlines()]
    beir = "query-id\tcorpus-id\tscore\n" + "".join(f"{query}\t{item}\t{grade}\n" for query, _, item, grade in rows)
    (tmp_path / "test.tsv").write_text(beir, encoding="utf-8")
    run: dict[str, dict[str, float]] = {}
    for query, _, item, _, score, _ in map(str.split, RUN.splitlines()):
        run.setdefault(query, {})[item] = float(score)
    (tmp_path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    other = call("metrics", "--qrels", tmp_path / "test.tsv", "--run", tmp_path / "run.json", "--json").json
    same = call(*files, "--json").json
    assert {key: value for key, value in same.items() if key not in {"qrels", "run"}} == {
        key: value for key, value in other.items() if key not in {"qrels", "run"}
    }


@pytest.mark.parametrize(
    ("assertions", "status"),
    [
        (["ndcg_at_10 >= 0.2"], 0),
        (["ndcg_at_10 >= 0.6"], 1),
        (["n_missing <= 0", "recall_at_5 > 0.1"], 1),
        (["ndcg_at_10 = 0.6"], 2),
        (["ndcg_at_10 >= high"], 2),
        (["ndcg_at_20 >= 0.1"], 2),
    ],
)
def test_a_limit_decides_the_exit_status(
    call: Call, files: tuple[str, ...], assertions: list[str], status: int
) -> None:
    ran = call(*files, *(word for one in assertions for word in ("--assert", one)))
    assert ran.status == status
    assert ("assertion failed" in ran.err) == (status == 1)


def test_a_baseline_gives_interval_and_p_that_a_limit_can_name(
    call: Call, files: tuple[str, ...], tmp_path: Path
) -> None:
    queries = [f"q{number}" for number in range(20)]
    (tmp_path / "qrels").write_text("".join(f"{query} 0 a 1\n" for query in queries), encoding="utf-8")
    (tmp_path / "run").write_text("".join(f"{query} Q0 a 1 2 r\n" for query in queries), encoding="utf-8")
    worse = tmp_path / "worse"
    worse.write_text("".join(f"{q} Q0 x 1 3 r\n{q} Q0 a 2 2 r\n" for q in queries[:19]), encoding="utf-8")
    asked = (*files, "--baseline-run", worse)
    found = call(*asked, "--json").json
    assert (found["baseline"]["mrr"], found["baseline"]["n_missing"]) == (0.475, 1)
    difference = found["difference"]["mrr"]
    assert difference["mean"] == 0.525
    assert 0.5 <= difference["low"] < difference["high"] <= 0.7
    assert difference["p"] < 0.001
    assert (difference["wins"], difference["losses"]) == (20, 0)
    assert found["difference"]["recall_at_5"]["wins"] == 1
    assert call(*asked, "--assert", "mrr_difference_low > 0", "--assert", "mrr_p < 0.05").status == 0
    assert call(*asked, "--assert", "mrr_difference <= 0").status == 1
    assert call(*asked, "--json", "--seed", "3").json["difference"]["mrr"]["mean"] == 0.525
    assert "1:0" in call(*asked, "--format", "markdown").out


def test_files_of_two_collections_are_told_apart(call: Call, files: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("zzz Q0 a 1 3 r\n", encoding="utf-8")
    ran = call(*files)
    assert ran.status == 0
    assert "the run has none of the judged queries" in ran.out


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (b"q1 Q0 a 1 3 r\nq1 Q0 a 2 2 r\n", "run:2:1: query 'q1' has the document 'a' twice"),
        (b"q1 Q0 a 1 3 r\nq1 Q0 b 2 NaN r\n", "run:2:1: query 'q1', document 'b': the score is NaN"),
        (b"", "run:1:1: is empty"),
        (b"\xff\xfea\x00", "run:1:1: is not UTF-8"),
        (bytes(range(128)) * 99, "run:"),
        (b"q1 Q0 \x1b[2J" + b"a" * 9000 + b" 1 x r\n" * 99, "run:1:1: query 'q1', document '"),
        (None, "run:1:1: cannot be read: No such file or directory"),
        ("folder", "run:1:1: is a folder"),
        ("pipe", "run:1:1: is empty"),
    ],
)
def test_a_run_that_cannot_be_read_is_told_with_its_place(
    call: Call, files: tuple[str, ...], tmp_path: Path, run: bytes | str | None, message: str
) -> None:
    path = tmp_path / "run"
    path.unlink()
    if run == "folder":
        path.mkdir()
    elif run == "pipe":
        os.mkfifo(path)
    elif isinstance(run, bytes):
        path.write_bytes(run)
    ran = call(*files)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert len(ran.err.splitlines()) <= 20
    assert not any(ord(letter) < 32 and letter != "\n" for letter in ran.err)


@pytest.mark.parametrize("k", ["", "0", "-1", "5,", "ten", "1.5", "٣", "9" * 30])
def test_a_cut_off_must_be_a_whole_number(call: Call, files: tuple[str, ...], k: str) -> None:
    ran = call(*files, "--k", k)
    assert (ran.status, ran.out) == (2, "")
    assert "is no cut-off" in ran.err


def test_judgements_without_anything_relevant_give_no_mean(call: Call, files: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q1 0 a 0\n", encoding="utf-8")
    assert call(*files, "--json").json["map"] == 0
    ran = call(*files, "--skip-no-relevant")
    assert ran.status == 2
    assert "qrels:1:1: no query has anything relevant" in ran.err
    assert call(*files, "--json", "--format", "markdown").status == 2
