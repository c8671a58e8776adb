"""`llmdrill calc index`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

MILLION = ("--vectors", "1M", "--dimensions", "768")


def test_a_flat_index_is_its_vectors_and_nothing_is_built() -> None:
    found = run_json("index", *MILLION)
    assert found["schema"] == "llmdrill/calc-index@1"
    assert found["index_bytes"] == 3_072_000_000
    assert found["query_distances"] == 1_000_000
    assert found["build_s"] is None
    halves = run_json("index", *MILLION, "--dtype", "fp16")
    assert halves["index_bytes"] == 1_536_000_000


def test_a_graph_adds_its_links_and_gives_its_build_time_with_a_band() -> None:
    found = run_json("index", *MILLION, "--kind", "hnsw", "--links", "32")
    assert found["index_bytes"] == pytest.approx(1e6 * (768 * 4 + 4 * (64 + 32 / 31) + 12))
    assert found["build_low_s"] < found["build_s"] < found["build_high_s"]
    assert [row["part"] for row in found["parts"]] == ["vectors", "links"]
    other = run_json("index", *MILLION, "--kind", "hnsw", "--library", "hnswlib")
    assert other["index_bytes"] > found["index_bytes"]


def test_codes_lists_and_originals() -> None:
    words = ("index", *MILLION, "--kind", "ivf-pq", "--lists", "1024", "--subquantizers", "96")
    found = run_json(*words)
    parts = {row["part"]: row["bytes"] for row in found["parts"]}
    assert parts == {
        "codes": 96_000_000,
        "centroids": 1024 * 768 * 4,
        "ids": 8_000_000,
        "codebooks": 256 * 768 * 4,
        "search tables": 1024 * 96 * 256 * 4,
    }
    assert not any("--lists" in note for note in found["notes"])
    beside = run_json(*words, "--originals")
    assert beside["index_bytes"] - found["index_bytes"] == 3_072_000_000


def test_other_ways_are_compared_where_they_exist() -> None:
    names = [row["index"] for row in run_json("index", "--vectors", "1M", "--dimensions", "10")["ways_to_keep_them"]]
    assert "flat int8" in names
    assert not any("binary" in name for name in names)  # 10 is no multiple of 8


def test_an_assertion_gates_the_memory() -> None:
    assert run("index", *MILLION, "--assert", "index_bytes <= 3.1GB")[0] == 0
    assert run("index", *MILLION, "--kind", "hnsw", "--assert", "index_bytes <= 3.1GB")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--vectors", "0", "--dimensions", "3"),
        ("--vectors", "-1", "--dimensions", "3"),
        ("--vectors", "1.5", "--dimensions", "3"),
        ("--vectors", "1e400", "--dimensions", "3"),
        ("--vectors", "1M", "--dimensions", "nan"),
        ("--vectors", "1M", "--dimensions", "10", "--dtype", "binary"),
        (*MILLION, "--kind", "hnsw", "--links", "1"),
        (*MILLION, "--kind", "hnsw", "--links", "1M"),
        (*MILLION, "--kind", "hnsw", "--ef-search", "0"),
        (*MILLION, "--kind", "ivf-pq", "--subquantizers", "7"),
        (*MILLION, "--kind", "ivf-pq", "--bits", "20"),
        (*MILLION, "--kind", "ivf-flat", "--lists", "10", "--probes", "11"),
        (*MILLION, "--library", "hnswlib"),
        (*MILLION, "--cores", "0"),
        (*MILLION, "--cores", "inf"),
        ("--vectors", "100", "--dimensions", "8", "--kind", "ivf-flat", "--lists", "1000"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("index", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


def test_cells_of_tables_are_whole_or_have_four_digits_and_no_exponent() -> None:
    shown = run("index", "--vectors", "10M", "--dimensions", "768", "--kind", "hnsw", "--links", "32")[1]
    row = next(line for line in shown.splitlines() if line.startswith("hnsw fp32"))
    assert row.split()[-3:] == ["33,441,290,323", "1.089", "952.5"]
    assert "e+" not in shown


def test_a_small_graph_is_explained_by_what_bounds_it() -> None:
    found = run_json("index", "--vectors", "100", "--dimensions", "64", "--kind", "hnsw", "--explain")
    assert found["build_distances"] == 10_000
    assert found["explained"]["build_distances"]["filled"].startswith("100 × min(100, 1.4")
