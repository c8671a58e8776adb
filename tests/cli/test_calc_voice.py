"""`llmdrill calc voice`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

CONSTANT = [
    f"--{name}={value}"
    for name, value in {
        "capture": "20ms",
        "network-up": "40ms",
        "endpoint": "500ms",
        "asr": "150ms",
        "ttft": "350ms",
        "tpot": "20ms",
        "clause-tokens": "11",
        "tts": "150ms",
        "network-down": "40ms",
        "playout": "60ms",
    }.items()
]


def test_constants_add_up_and_nothing_is_called_assumed() -> None:
    found = run_json("voice", *CONSTANT, "--target", "1600ms")
    assert found["schema"] == "llmdrill/calc-voice@1"
    assert found["mouth_to_ear_p50_ms"] == found["mouth_to_ear_p95_ms"] == found["sum_of_p95_ms"] == 1510
    assert found["over_target_share"] == 0
    assert found["largest_part"] == "endpoint"
    assert found["assumed"] == []
    assert not any("not measured" in note for note in found["notes"])


def test_defaults_are_said_to_be_assumed_one_by_one() -> None:
    found = run_json("voice", "--ttft", "300ms/700ms")
    assert "ttft" not in found["assumed"]
    assert {row["part"]: row["basis"] for row in found["parts"]}["ttft"] == "given"
    assert sum(row["share_of_mean"] for row in found["parts"]) == pytest.approx(1, abs=1e-4)
    assert found["over_target_share"] is None
    assert any(note.startswith("assumed, not measured: capture") for note in found["notes"])


def test_the_p95_is_not_the_sum_of_p95() -> None:
    found = run_json("voice")
    assert found["mouth_to_ear_p50_ms"] < found["mouth_to_ear_p95_ms"] < found["sum_of_p95_ms"]


def test_a_bare_number_is_milliseconds_and_an_assertion_gates_it() -> None:
    assert run_json("voice", *CONSTANT, "--asr", "250")["mouth_to_ear_p50_ms"] == 1610
    assert run("voice", *CONSTANT, "--assert", "mouth_to_ear_p95_ms <= 1600")[0] == 0
    assert run("voice", *CONSTANT, "--assert", "mouth_to_ear_p95_ms <= 1.5s")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--asr", "-5ms"),
        ("--asr", "nan"),
        ("--asr", "300ms/200ms"),
        ("--asr", "0/200ms"),
        ("--asr", "1/2/3"),
        ("--asr", ""),
        ("--asr", "1e400ms"),
        ("--clause-tokens", "0"),
        ("--clause-tokens", "0.5"),
        ("--clause-tokens", "inf"),
        ("--target", "0"),
        ("--target", "soon"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("voice", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")
