"""benchmarks/retrieval.py on a set in BEIR layout, against bm25s, sentence-transformers and pytrec_eval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmdrill.retrieval.sources import load_source

ROOT = Path(__file__).parents[2]
DEPTH, RRF_K = 1000, 60
FAMILIES = ("warranty", "plans", "sync-errors")


def write_beir(folder: Path) -> None:
    """Write a part of the shipped corpus as BEIR has it, long documents and a title of their own among them."""
    corpus = load_source("rag")
    documents = {one.id: one.text for one in corpus.documents if one.family in FAMILIES}
    asked = {one.id: (one.text, {d: g for d, g in one.grades.items() if d in documents}) for one in corpus.questions}
    (folder / "qrels").mkdir(parents=True)
    corpus_rows = []
    for name, text in documents.items():
        title, _, rest = text.partition("\n")
        corpus_rows.append({"_id": name, "title": title.removeprefix("# "), "text": rest.strip(), "metadata": {}})
    write(folder / "corpus.jsonl", corpus_rows)
    write(folder / "queries.jsonl", [{"_id": name, "text": text} for name, (text, _) in asked.items()])
    rows = [
        f"{query}\t{document}\t{grade}" for query, (_, grades) in asked.items() for document, grade in grades.items()
    ]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n", encoding="utf-8"
    )


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bm25_scores(texts: list[str], queries: list[str], stemmer: object) -> np.ndarray:
    bm25s = pytest.importorskip("bm25s")

    def words(some: list[str]) -> Any:
        return bm25s.tokenize(some, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)

    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(words(texts), show_progress=False)
    known = [[word for word in query if word in index.vocab_dict] for query in words(queries)]
    return np.array([index.get_scores(query) if query else np.zeros(len(texts)) for query in known], dtype=np.float64)


def scaled(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.min()) / max(float(np.ptp(scores)), 1e-12)


def reciprocal_ranks(scores: np.ndarray) -> np.ndarray:
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    fused = np.zeros(len(scores))
    fused[best] = 1 / (RRF_K + np.arange(1, len(best) + 1))
    return np.where(scores > 0, fused, 0)


def expected(folder: Path) -> dict[str, dict[str, float]]:
    """The figures by other programs: bm25s, sentence-transformers, pytrec_eval, and fusion in a few lines of numpy."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    stemmer = pytest.importorskip("Stemmer").Stemmer("english")
    transformers = pytest.importorskip("sentence_transformers")
    embed = pytest.importorskip("llmdrill.lab.embed")
    documents, queries = (
        read(folder / "corpus.jsonl"),
        {row["_id"]: row["text"] for row in read(folder / "queries.jsonl")},
    )
    texts = [f"{row['title']} {row['text']}".strip() for row in documents]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    asked = [queries[name] for name in qrels]
    model = transformers.SentenceTransformer(str(embed.find_minilm()), device="cpu")
    model.max_seq_length = 256
    dense = model.encode(asked, normalize_embeddings=True) @ model.encode(texts, normalize_embeddings=True).T
    plain, stemmed = bm25_scores(texts, asked, None), bm25_scores(texts, asked, stemmer)
    scores = {
        "bm25": plain,
        "bm25_stem": stemmed,
        "dense": dense,
        "rrf": np.array([reciprocal_ranks(a) + reciprocal_ranks(b + 1) for a, b in zip(stemmed, dense, strict=True)]),
        "linear": np.array([(scaled(a) + scaled(b)) / 2 for a, b in zip(stemmed, dense, strict=True)]),
    }
    found = {}
    for method, matrix in scores.items():
        run = {
            query: {row["_id"]: float(score) for row, score in zip(documents, scores_of, strict=True) if score > 0}
            if method.startswith("bm25")
            else {row["_id"]: float(score) for row, score in zip(documents, scores_of, strict=True)}
            for query, scores_of in zip(qrels, matrix, strict=True)
        }
        values = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10"}).evaluate(run)
        first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate({q: best(run[q], 10) for q in run})
        found[method] = {
            "ndcg_at_10": np.mean([one["ndcg_cut_10"] for one in values.values()]),
            "recall_at_10": np.mean([one["recall_10"] for one in values.values()]),
            "mrr_at_10": np.mean([one["recip_rank"] for one in first.values()]),
        }
    return found


def best(scores: dict[str, float], k: int) -> dict[str, float]:
    """The first k as trec_eval orders them: by score as a 32-bit float, then by id, descending."""
    ordered = sorted(scores, key=lambda name: (np.float32(scores[name]), name), reverse=True)
    return {name: scores[name] for name in ordered[:k]}


def run_benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "retrieval.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.lab
@pytest.mark.slow
def test_every_method_scores_as_the_usual_programs_do(tmp_path: Path) -> None:
    write_beir(tmp_path / "set")
    figures = expected(tmp_path / "set")
    ran = run_benchmark("--beir", tmp_path / "set", "--json")
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 1), ran.stderr
    found = json.loads(ran.stdout)
    for method, values in figures.items():
        assert set(found[method]) == {"ndcg_at_10", "recall_at_10", "mrr_at_10", "seconds"}
        for name, value in values.items():
            assert found[method][name] == pytest.approx(value, abs=2e-4), (method, name)
    assert len({round(values["ndcg_at_10"], 4) for values in figures.values()}) == 5  # the methods do differ here


@pytest.mark.lab
def test_a_folder_that_is_no_set_is_refused_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    ran = run_benchmark("--beir", tmp_path, "--json")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("benchmarks/retrieval.py: ")
    assert len(ran.stderr.splitlines()) == 1
