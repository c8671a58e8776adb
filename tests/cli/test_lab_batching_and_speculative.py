"""`llmdrill lab batching` and `llmdrill lab speculative` as they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

if TYPE_CHECKING:
    from conftest import Call

pytestmark = pytest.mark.lab

QUEUE = ("--shape", "tiny", "--slots", 2, "--requests", 3, "--context", 2, "--quick")
DRAFTS = ("--prompt", 100, "--tokens", 4, "--longest-draft", 1, "--draws", 100, "--quick")


def test_batching_shows_its_tables_and_can_be_gated(call: Call) -> None:
    shown = call("lab", "batching", *QUEUE, "--engine", "torch", "--assert", "static_wasted_slots_share<=99%")
    assert shown.status == 0
    assert "continuous_over_static_ratio" in shown.out
    assert "schedule" in shown.out
    refused = call("lab", "batching", *QUEUE, "--engine", "torch", "--assert", "continuous_over_static_ratio>=1000")
    assert refused.status == 1


def test_speculative_prints_one_object(call: Call) -> None:
    found = call("lab", "speculative", *DRAFTS, "--json")
    assert found.json["schema"] == "llmdrill/lab-speculative@1"
    assert found.json["ngram_tokens"] == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("batching", "--shape", "tinny"), "did you mean tiny"),
        (("batching", *QUEUE, "--engine", "torch", "--precision", "int8"), "no int8"),
        (("batching", "--slots", 1), "--slots"),
        (("speculative", *DRAFTS, "--ngram-min", 4), "n-grams of 4 to 3"),
        (("speculative", *DRAFTS, "--draft-model", "nowhere"), "neither a model folder nor"),
        (("speculative", "--prompt", 10, "--quick"), "it needs more than"),
    ],
)
def test_wrong_input_gets_one_line_and_status_2(call: Call, arguments: tuple[object, ...], words: str) -> None:
    refused = call("lab", *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert words in refused.err
