"""`llmdrill calc speculative`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN


def test_the_paper_s_numbers_come_out() -> None:
    found = run_json("speculative", "--acceptance", "75%", "--draft", "7", "--cost-ratio", "0.02")
    assert found["schema"] == "llmdrill/calc-speculative@1"
    assert found["speedup"] == pytest.approx(3.157, abs=0.001)
    assert found["expected_accepted_tokens"] == pytest.approx((1 - 0.75**8) / 0.25, rel=1e-5)


def test_without_a_length_the_best_is_taken_and_named() -> None:
    found = run_json("speculative", "--acceptance", "0.8", "--cost-ratio", "0.05")
    assert found["draft_tokens"] == found["best_draft_tokens"] == 8
    assert found["speedup"] == found["best_speedup"] == max(row["speedup"] for row in found["by_draft_length"])


def test_a_free_draft_has_no_best_length() -> None:
    found = run_json("speculative", "--acceptance", "0.2", "--draft", "3", "--cost-ratio", "0")
    assert found["best_draft_tokens"] is None
    assert found["speedup"] == pytest.approx(1.25, abs=0.005)  # section 4.2: a bigram model
    status, _, err = run("speculative", "--acceptance", "0.2", "--cost-ratio", "0")
    assert (status, "--draft is missing" in err) == (EXIT_CANNOT_RUN, True)


def test_verifying_that_costs_is_said_to_and_slows_down() -> None:
    words = ("speculative", "--acceptance", "0.8", "--draft", "4")
    free, paid = run_json(*words), run_json(*words, "--verify-cost", "30%")
    assert paid["speedup"] < free["speedup"]
    assert any("verifying is free" in note for note in free["notes"])
    assert not any("verifying is free" in note for note in paid["notes"])


def test_arithmetic_counts_the_draft_model_by_its_cost_ratio_unless_told() -> None:
    words = ("speculative", "--acceptance", "0.8", "--draft", "5", "--cost-ratio", "0.1")
    by_time, told = run_json(*words), run_json(*words, "--ops-ratio", "0")
    assert told["operations_factor"] == pytest.approx(1.63, abs=0.005)  # table 1
    assert by_time["operations_factor"] == pytest.approx(1.63 * 6.5 / 6, abs=0.005)


def test_every_figure_explains_itself_with_the_numbers_put_in() -> None:
    _, out, _ = run("speculative", "--acceptance", "0.8", "--draft", "5", "--explain")
    assert "(1 − 0.8^(5 + 1)) / (1 − 0.8) = 3.68928" in out
    assert "arXiv:2211.17192, theorem 3.8" in out


@pytest.mark.parametrize(
    "words",
    [
        ("--acceptance", "1.2"),
        ("--acceptance", "-0.1"),
        ("--acceptance", "nan"),
        ("--acceptance", "lots"),
        ("--acceptance", "0.8", "--draft", "2.5"),
        ("--acceptance", "0.8", "--draft", "-1"),
        ("--acceptance", "0.8", "--draft", "1e400"),
        ("--acceptance", "0.8", "--draft", "1M"),
        ("--acceptance", "0.8", "--cost-ratio", "-1"),
        ("--acceptance", "0.8", "--verify-cost", "inf"),
        ("--acceptance", "0.8", "--ops-ratio", "x"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("speculative", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


def test_the_cost_of_a_draft_pass_is_said() -> None:
    notes = run_json("speculative", "--acceptance", "0.8", "--ops-ratio", "0.1")["notes"]
    assert notes[0].startswith("a draft pass is taken as 5% of the time and 10% of the operations")
