"""`llmdrill calc agree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from pathlib import Path

TWO = "alice,bob\n" + "y,y\n" * 20 + "y,n\n" * 5 + "n,y\n" * 10 + "n,n\n" * 15
KRIPPENDORFF = "1,1,,1\n2,2,3,2\n3,3,3,3\n3,3,3,3\n2,2,2,2\n1,2,3,4\n4,4,4,4\n1,1,2,1\n2,2,2,2\n,5,5,5\n,,1,1\n,3,,\n"
RANKS = "low,medium\nmedium,medium\nhigh,low\nlow,low\nhigh,high\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "ratings.csv"


def test_cohen_s_example_from_a_file_and_from_standard_input(table: Path) -> None:
    table.write_text(TWO)
    found = run_json("agree", str(table))
    assert found == run_json("agree", "-", stdin=TWO)
    assert found["schema"] == "llmdrill/calc-agree@1"
    assert found["cohens_kappa"] == pytest.approx(0.4)
    assert found["cohens_kappa_quadratic"] == pytest.approx(0.4)  # two labels are one step apart
    assert found["raw_agreement_share"] == 0.7
    assert found["raters"] == ["alice", "bob"]
    assert found["cohens_kappa_low"] < 0.4 < found["cohens_kappa_high"]


def test_krippendorff_s_example_with_gaps_and_without_a_header() -> None:
    found = run_json("agree", "-", stdin=KRIPPENDORFF)
    assert (found["items"], found["ratings_missing"]) == (12, 7)
    assert found["krippendorff_alpha"] == pytest.approx(0.743, abs=0.0005)
    assert found["krippendorff_alpha_ordinal"] == pytest.approx(0.815, abs=0.0005)
    assert found["krippendorff_alpha_interval"] == pytest.approx(0.849, abs=0.0005)
    assert found["cohens_kappa"] is None
    assert len(found["pairs_of_raters"]) == 6


def test_ranks_need_their_order() -> None:
    bare, told = (run_json("agree", "-", *words, stdin=RANKS) for words in ((), ("--order", "low,medium,high")))
    assert bare["cohens_kappa_quadratic"] is None
    assert any("--order" in note for note in bare["notes"])
    assert told["cohens_kappa_quadratic"] == pytest.approx(2 / 7)
    assert told["items"] == 5  # the first row is no header: its cells are labels below


def test_one_label_only_is_unknown_and_said_to_be() -> None:
    found = run_json("agree", "-", stdin="a,b\n" + "yes,yes\n" * 10)
    assert found["raw_agreement_share"] == 1
    assert found["cohens_kappa"] is None
    assert found["krippendorff_alpha"] is None
    assert any("undefined, not perfect" in note for note in found["notes"])
    status, _, err = run("agree", "-", "--assert", "cohens_kappa >= 0.6", stdin="yes,yes\nyes,yes\n")
    assert (status, "unknown" in err) == (1, True)


def test_columns_gaps_delimiters_and_seeds() -> None:
    rows = "id;alice;bob\n" + "".join(f"{number};x;{'x' if number % 3 else 'NA'}\n" for number in range(20))
    whole = run_json("agree", "-", stdin=rows)
    assert any("'id'" in note for note in whole["notes"])
    words = ("agree", "-", "--columns", "alice,3", "--missing", "NA")
    found = run_json(*words, stdin=rows)
    assert (found["raters"], found["ratings_missing"]) == (["alice", "bob"], 7)
    two = [run_json("agree", "-", "--seed", seed, stdin=TWO)["cohens_kappa_low"] for seed in ("0", "0", "1")]
    assert two[0] == two[1] != two[2]


def test_a_header_of_numbers_over_words_and_a_forced_one() -> None:
    assert run_json("agree", "-", stdin="1,2\nx,y\nx,x\n")["raters"] == ["1", "2"]
    assert run_json("agree", "-", "--no-header", stdin="a,b\nx,y\n")["items"] == 2
    assert run_json("agree", "-", "--header", stdin="1,2\n1,2\n2,2\n")["items"] == 2


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"a,b\n1,2\n1\n", ":3:1: has 1 cells where the first row has 2"),
        (b"a\n1\n2\n", "one rater"),
        (b"a,b\n1,\x002\n", ":2:1: holds a NUL byte"),
        (b"a,b\n1,\xe9\n", ":2:1: is not UTF-8"),
        (b"", ":1:1: is empty"),
        (b"\n\n", ":1:1: is empty"),
        (b"a,b\n", ":1:1: holds a header and no items"),
        (b'a,b\n"x,y\n', "is not CSV"),
        (b'a,b\n"' + b"x" * 200_000 + b'",y\n', "is not CSV"),
        (b",".join(b"x" for _ in range(101)) + b"\n", "at most 100 raters"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(table: Path, raw: bytes, told: str) -> None:
    table.write_bytes(raw)
    status, out, err = run("agree", str(table))
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")
    assert told in err


@pytest.mark.parametrize(
    "words",
    [
        ("/no/such.csv",),
        ("/",),
        ("-", "--columns", "carol"),
        ("-", "--columns", "1,1"),
        ("-", "--columns", "0,1"),
        ("-", "--columns", "9999999999999,1"),
        ("-", "--order", "y"),
        ("-", "--order", "y,n,y"),
        ("-", "--columns", "bob"),
    ],
)
def test_bad_options_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("agree", *words, stdin=TWO)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


def test_a_file_of_300_mb_is_refused_before_it_is_read(table: Path) -> None:
    with table.open("wb") as file:
        file.truncate(300_000_000)
    status, _, err = run("agree", str(table))
    assert (status, "is larger than 50 MB" in err) == (EXIT_CANNOT_RUN, True)


def test_thousands_of_labels_take_no_square_of_them() -> None:
    rows = "".join(f"{number},{number + number % 7}\n" for number in range(30_000))
    found = run_json("agree", "-", stdin=rows)
    assert found["krippendorff_alpha_interval"] > 0.99
    assert found["krippendorff_alpha_low"] is None
