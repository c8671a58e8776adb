"""`llmdrill calc moderate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from pathlib import Path

RULES = "rules,usd=0,latency=1ms,escalate=90%,precision=95%,recall=40%"
PEOPLE = "people,usd=0.25,latency=2h,reviews_per_h=60,precision=98%,recall=95%"
ONE = "a,usd=0,latency=1ms"
YAML = """tiers:
  - name: rules
    usd: 0
    latency: 1ms
    escalate: 0.9
    precision: 95%
    recall: 40%
  - {name: people, usd: 0.25, latency: 2h, reviews_per_h: 60, precision: 0.98, recall: 0.95}
"""


def test_tiers_from_options_and_from_a_file_give_the_same(tmp_path: Path) -> None:
    file = tmp_path / "tiers.yaml"
    file.write_text(YAML)
    found = run_json("moderate", "--tier", RULES, "--tier", PEOPLE)
    assert found == run_json("moderate", "--file", str(file))
    assert found["schema"] == "llmdrill/calc-moderate@1"
    assert found["usd_per_message"] == 0.225
    assert found["humans_needed"] == 2500
    assert sum(tier["decided"] for tier in found["tiers"]) == found["messages_per_day"] == 1_000_000
    assert found["mean_latency_ms"] == pytest.approx(1 + 0.9 * 7_200_000)


def test_no_harm_leaves_recall_unknown() -> None:
    found = run_json("moderate", "--tier", PEOPLE, "--base-rate", "0")
    assert found["recall_share"] is None
    assert found["missed_harm_per_day"] == 0


def test_blind_escalation_is_said_to_be_assumed() -> None:
    notes = run_json("moderate", "--tier", RULES, "--tier", PEOPLE)["notes"]
    assert any("'rules' passes on harmful and harmless messages alike" in note for note in notes)
    told = run_json("moderate", "--tier", f"{RULES},escalate_harmful=95%", "--tier", PEOPLE)["notes"]
    assert not any("alike" in note for note in told)


def test_what_is_not_given_is_said_to_be_assumed() -> None:
    notes = run_json("moderate", "--tier", PEOPLE, "--messages", "5k")["notes"]
    assert "assumed: --base-rate 1%, --hours 6h" in notes


def test_an_assertion_gates_the_people_needed() -> None:
    words = ("moderate", "--tier", RULES, "--tier", PEOPLE, "--messages", "10k", "--assert")
    assert run(*words, "humans_needed <= 25")[0] == 0
    assert run(*words, "missed_harm_per_day < 10")[0] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no tier given"),
        (("--tier", "rules"), "usd and latency missing"),
        (("--tier", "usd=1,latency=1ms"), "has no name"),
        (("--tier", f"{ONE},precison=1"), "did you mean precision"),
        (("--tier", f"{ONE},precision"), "no KEY=VALUE"),
        (("--tier", f"{ONE},recall=1,recall=1"), "given twice"),
        (("--tier", f"{ONE},precision=1"), "two of precision, recall and flag"),
        (("--tier", f"{ONE},precision=1,recall=190%"), "at most 1"),
        (("--tier", f"{ONE},precision=nan,recall=1"), "precision"),
        (("--tier", "a,usd=-1,latency=1ms,precision=1,recall=1"), "usd"),
        (("--tier", "a,usd=0,latency=1e400,precision=1,recall=1"), "latency"),
        (("--tier", "a,usd=0,latency=1ms,precision=1,recall=1,reviews_per_h=0"), "reviews_per_h"),
        (("--tier", RULES), "it is the last"),
        (("--tier", f"{ONE},precision=1%,recall=90%", "--base-rate", "20%"), "no such combination"),
        (("--tier", PEOPLE, "--base-rate", "101%"), "--base-rate"),
        (("--tier", PEOPLE, "--messages", "0"), "--messages"),
        (("--tier", PEOPLE, "--hours", "25"), "hours_per_day"),
        (("--tier", PEOPLE, "--file", "x.yaml"), "not both"),
        (("--file", "/no/such.yaml"), "cannot be read"),
    ],
)
def test_bad_pipelines_are_refused_in_one_line(words: tuple[str, ...], told: str) -> None:
    status, out, err = run("moderate", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")
    assert told in err


@pytest.mark.parametrize(
    "text",
    [
        "- name: a\n",
        "tiers: []\n",
        "tiers: 5\n",
        "tiers: [5]\n",
        "tiers: [{usd: 1}]\n",
        "tiers: [{name: a}]\n",
        "a: b\n",
        "tiers: [{name: a, usd: [1], latency: 1ms}]\n",
        "tiers: [{name: a, usd: 1, latency: 1ms}]\nmore: 1\n",
        "{",
        "",
    ],
)
def test_a_file_that_holds_no_tiers_is_refused_at_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tiers.yaml"
    file.write_text(text)
    status, _, err = run("moderate", "--file", str(file))
    assert (status, len(err.splitlines())) == (EXIT_CANNOT_RUN, 1)
    assert err.startswith(f"{file}:")


def test_nothing_right_and_nothing_found_leaves_the_removals_open() -> None:
    tier = "a,usd=0,latency=1ms,precision=0,recall=0"
    status, _, err = run("moderate", "--tier", tier)
    assert (status, "give flag too" in err) == (EXIT_CANNOT_RUN, True)
    assert run_json("moderate", "--tier", f"{tier},flag=10%")["wrongly_removed_per_day"] == 100_000
