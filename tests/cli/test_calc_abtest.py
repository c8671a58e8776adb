"""`llmdrill calc abtest`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN


def test_the_published_example_comes_out() -> None:
    found = run_json("abtest", "--baseline", "50%", "--target", "75%", "--power", "90%")
    assert found["schema"] == "llmdrill/calc-abtest@1"
    assert found["sample_size_per_arm"] == 77  # R: 76.7
    assert found["sample_size_total"] == 154
    assert found["duration_days"] is None
    assert found["power_share"] >= 0.9


def test_a_lift_is_a_relative_change_and_a_fall_is_one_too() -> None:
    by_lift = run_json("abtest", "--baseline", "10%", "--lift", "20%")
    assert (
        by_lift["sample_size_per_arm"]
        == run_json("abtest", "--baseline", "10%", "--target", "12%")["sample_size_per_arm"]
    )
    assert run_json("abtest", "--baseline", "50%", "--lift", "-10%")["changed_share"] == 0.45


def test_a_size_at_hand_gives_power_and_the_smallest_effect() -> None:
    found = run_json("abtest", "--baseline", "10%", "--target", "12%", "--n", "3841")
    assert found["power_share"] == pytest.approx(0.8, abs=1e-4)
    assert found["minimum_detectable_effect_share"] == pytest.approx(0.02, abs=1e-5)
    bare = run_json("abtest", "--baseline", "10%", "--n", "3841")
    assert bare["power_share"] is None
    assert bare["sample_size_per_arm"] is None


def test_traffic_gives_days_rounded_up() -> None:
    assert run_json("abtest", "--baseline", "10%", "--target", "12%", "--traffic", "1k")["duration_days"] == 8


def test_the_warning_counts_the_false_positives_of_peeking() -> None:
    once = run_json("abtest", "--baseline", "10%", "--target", "12%")
    assert once["false_positive_share"] == 0.05
    assert any("14.2%" in note for note in once["notes"])
    five = run_json("abtest", "--baseline", "10%", "--target", "12%", "--looks", "5")
    assert five["false_positive_share"] == pytest.approx(0.1417, abs=1e-4)
    assert [row["look"] for row in five["looks_by_look"]] == [1, 2, 3, 4, 5]
    assert five["looks_by_look"][-1]["obrien_fleming_z"] == five["obrien_fleming_z"]


def test_an_evaluation_set_that_both_answer_needs_fewer_cases_where_they_agree() -> None:
    words = ("abtest", "--paired", "--baseline", "70%", "--target", "75%")
    blind, told = run_json(*words), run_json(*words, "--discordant", "15%")
    assert told["sample_size_cases"] < blind["sample_size_cases"]
    assert any("independent" in note for note in blind["notes"])


def test_too_few_events_for_a_z_test_are_said() -> None:
    assert any("exact test" in note for note in run_json("abtest", "--baseline", "0", "--target", "1")["notes"])


def test_an_assertion_holds_the_size() -> None:
    words = ("abtest", "--baseline", "10%", "--target", "12%", "--assert")
    assert run(*words, "sample_size_per_arm <= 4k")[0] == 0
    status, _, err = run(*words, "sample_size_per_arm <= 3k")
    assert (status, "3.84k" in err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--baseline", "10%"),
        ("--baseline", "nan", "--target", "12%"),
        ("--baseline", "-5%", "--target", "12%"),
        ("--baseline", "110%", "--target", "12%"),
        ("--baseline", "10%", "--target", "10%"),
        ("--baseline", "10%", "--target", "12%", "--lift", "20%"),
        ("--baseline", "10%", "--lift", "2000%"),
        ("--baseline", "10%", "--target", "12%", "--power", "100%"),
        ("--baseline", "10%", "--target", "12%", "--power", "0"),
        ("--baseline", "10%", "--target", "12%", "--significance", "1e400"),
        ("--baseline", "10%", "--target", "12%", "--n", "0"),
        ("--baseline", "10%", "--target", "12%", "--n", "2.5"),
        ("--baseline", "10%", "--target", "12%", "--traffic", "0"),
        ("--baseline", "10%", "--target", "12%", "--looks", "0"),
        ("--baseline", "10%", "--target", "12%", "--looks", "101"),
        ("--baseline", "10%", "--target", "12%", "--discordant", "5%"),
        ("--paired", "--baseline", "70%", "--target", "75%", "--discordant", "1%"),
        ("--paired", "--baseline", "70%", "--n", "100"),
        ("--difference", "5"),
        ("--deviation", "5"),
        ("--difference", "0", "--deviation", "5"),
        ("--difference", "5", "--deviation", "inf"),
        ("--difference", "5", "--deviation", "5", "--baseline", "10%"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("abtest", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


def test_a_power_that_chance_alone_reaches_is_refused() -> None:
    status, _, err = run("abtest", "--difference", "1", "--deviation", "1", "--significance", "30%", "--power", "10%")
    assert (status, "must be above --significance" in err) == (EXIT_CANNOT_RUN, True)
