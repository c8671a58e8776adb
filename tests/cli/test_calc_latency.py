"""`calc latency`: the keys that scripts rely on, batching said, queueing said, refusals."""

from __future__ import annotations

import pytest
from calc_cases import evaluated, run, run_json

POINT = ("--on", "h100", "--tp", "1", "--batch", "32", "--input", "1024", "--output", "128")
ASKED = ("latency", "--model", "llama-3.1-8b", *POINT)


def test_each_time_has_its_band_and_its_floor() -> None:
    found = run_json(*ASKED, "--engine", "vllm")
    assert found["schema"] == "llmdrill/calc-latency@1"
    for name in ("ttft_ms", "tpot_ms", "total_ms"):
        one = found[name]
        assert 0 < one["floor_ms"] <= one["low"] <= one["value"] <= one["high"]
    whole = found["ttft_ms"]["value"] + 127 * found["tpot_ms"]["value"]
    assert found["total_ms"]["value"] == pytest.approx(whole, rel=1e-4)
    assert found["batching"] == "continuous"
    assert found["engine"] == "vllm"


def test_a_published_time_per_token_is_met() -> None:
    """Llama-3.1-8B, one H100, TensorRT-LLM, 32 clients, 1024 in, 128 out: 13.19 ms (aiconfigurator@095f58a5)."""
    found = run_json(*ASKED, "--engine", "trtllm")["tpot_ms"]
    assert found["low"] < 13.19 < found["high"]
    assert found["value"] == pytest.approx(13.19, rel=0.15)


def test_static_batching_is_said_and_starts_later() -> None:
    static = run_json(*ASKED, "--batching", "static")
    assert static["batching"] == "static"
    assert static["ttft_ms"]["value"] > 4 * run_json(*ASKED)["ttft_ms"]["value"]
    assert "static batching" in run(*ASKED, "--batching", "static")[1]


def test_clients_beyond_memory_queue_with_their_wait_under_both_kinds_of_batching() -> None:
    for batching in ("continuous", "static"):
        words = (*ASKED, "--output", "8192", "--batch", "400", "--batching", batching)
        found = run_json(*words)
        assert (found["fits"], found["queues"]) == (True, True)
        assert 0 < found["wait_ms"] < found["ttft_ms"]["value"]
        assert found["max_sequences"] < 400
        told = run(*words)[1]
        assert "queues" in told
        assert "memory" in told
        assert "out of memory" not in told


def test_an_engine_that_admits_fewer_is_not_said_to_be_short_of_memory() -> None:
    words = (*ASKED, "--batch", "4", "--engine", "trtllm-1.0rc")
    assert "trtllm-1.0rc admits 3 sequences" in run(*words)[1]


def test_what_does_not_fit_has_no_times_fails_every_limit_and_names_the_devices_it_needs() -> None:
    big = ("latency", "--model", "llama-3.1-70b", *POINT)
    found = run_json(*big)
    assert found["fits"] is False
    assert found["ttft_ms"] is found["tpot_ms"] is found["max_output_tokens_per_s"] is None
    assert found["max_sequences"] == 0
    assert "does not fit" in found["notes"][0]
    assert "the fewest that hold one: 2 × h100" in found["notes"][0]
    assert run(*big, "--assert", "ttft_ms <= 10min")[0] == 1


def test_a_checkpoint_is_served_in_the_precision_it_was_released_in() -> None:
    found = run_json("latency", "--model", "gpt-oss-120b", *POINT)
    assert (found["precision"], found["fits"]) == ("fp4", True)
    assert run_json(*ASKED, "--precision", "awq-4bit")["precision"] == "int4"


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--batching", "static"),
        ("--batching", "static", "--output", "8192", "--batch", "400"),
        ("--output", "8192", "--batch", "400"),
        ("--accept", "0.7", "--prefix", "50%", "--engine", "sglang"),
        ("--engine", "trtllm-1.0rc"),
    ],
)
def test_every_time_is_what_its_own_derivation_gives(more: tuple[str, ...]) -> None:
    found = run_json(*ASKED, *more, "--explain")
    for name, told in found["explained"].items():
        filled = told["filled"].replace("⌊", "floor(").replace("⌋", ")")
        said, _, result = filled.rpartition(" = ")
        if "waves of" in said:
            said = said.partition(": ")[2]
        value = evaluated(said)
        shown = found[name]["value"] if isinstance(found[name], dict) else found[name]
        assert value == pytest.approx(evaluated(result.split()[0]), rel=1e-4)
        assert value * (1000 if name.endswith("_ms") else 1) == pytest.approx(shown, rel=1e-4)


def test_options_change_what_they_should() -> None:
    plain = run_json(*ASKED)["tpot_ms"]["value"]
    assert run_json(*ASKED, "--precision", "fp8")["tpot_ms"]["value"] < plain
    assert run_json(*ASKED, "--prefix", "90%")["ttft_ms"]["value"] < run_json(*ASKED)["ttft_ms"]["value"]
    alone = (*ASKED, "--batch", "1")
    assert run_json(*alone, "--accept", "0.8")["tpot_ms"]["value"] < run_json(*alone)["tpot_ms"]["value"]


def test_an_assertion_can_gate_a_script() -> None:
    assert run(*ASKED, "--assert", "tpot_ms <= 100ms")[0] == 0
    assert run(*ASKED, "--assert", "tpot_ms <= 1ms")[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "no-such-model", *POINT), "unknown model 'no-such-model'"),
        (("--model", "llama-3.1-8b", *POINT, "--engine", "tgi"), "unknown serving engine 'tgi'; one of"),
        (("--model", "llama-3.1-8b", *POINT, "--draft", "3"), "say with --accept"),
        (("--model", "llama-3.1-8b", *POINT, "--ep", "4"), "has none"),
        (("--model", "mixtral-8x7b", *POINT, "--ep", "4"), "does not divide the 1 devices"),
        (("--model", "smollm2-360m", *POINT, "--tp", "2"), "cannot be split evenly"),
        (("--model", "llama-3.1-8b", *POINT, "--batch", "-1"), "--batch"),
        (("--model", "llama-3.1-8b", *POINT, "--precision", "fp17"), "unknown precision 'fp17'"),
        (("--model", "llama-3.1-8b", *POINT, "--prefix", "150%"), "--prefix"),
        (("--model", "all-minilm-l6-v2", *POINT), "encoder"),
    ],
)
def test_wrong_input_is_one_clear_line(words: tuple[str, ...], said: str) -> None:
    status, out, error = run("latency", *words)
    assert status == 2
    assert not out
    assert said in error
    assert "\n" not in error.strip()
