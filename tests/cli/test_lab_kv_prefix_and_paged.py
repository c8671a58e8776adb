"""`llmdrill lab kv`, `lab prefix` and `lab paged`: JSON that scripts rely on, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Call

pytestmark = pytest.mark.lab
RANDOM = "random weights: latency and memory only"


def found(call: Call, *words: object) -> dict[str, Any]:
    ran = call("lab", *words, "--shape", "tiny", "--quick", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["schema"] == f"llmdrill/lab-{words[0]}@1"
    assert RANDOM in ran.json["notes"]
    assert len(ran.json["meaning"]) == 2
    return ran.json


def test_kv_gives_formula_tensor_and_process_bytes(call: Call) -> None:
    kv = found(call, "kv", "--context", 512, "--batch", 4, "--tokens", 4)
    assert kv["formula_bytes"] == kv["tensor_bytes"] == kv["predicted"]["tensor_bytes"] == 2 * 2 * 2 * 16 * 4 * 2048
    assert kv["rss_bytes"] is None or kv["rss_bytes"] > 0
    assert {"cached_total_s", "uncached_total_s", "speed_up_ratio", "crossover_tokens"} <= set(kv)
    assert [row["output_tokens"] for row in kv["with_and_without_a_cache"]] == [1, 2, 4]
    assert [(row["cache"], row["tensor_bytes"]) for row in kv["sweep"]] == [("as asked", 1 << 20), ("int8", None)]
    assert kv["weights_matter"] == ["same_tokens_share"]


def test_prefix_gives_ttft_by_what_is_cached(call: Call) -> None:
    prefix = found(call, "prefix", "--tokens", 32)
    assert [row["cached_tokens"] for row in prefix["by_cached_tokens"]] == [0, 8, 16, 24, 28, 31]
    assert prefix["logit_difference"] < 1e-4
    assert prefix["cached_tokens"] == 28
    assert prefix["predicted"]["ttft_speed_up_ratio"] > 6
    assert "logits agree within 0.0001" in prefix["meaning"][1]


def test_paged_gives_waste_sharing_copies_and_preemptions(call: Call) -> None:
    paged = found(call, "paged", "--longest", 64, "--block", 4, "--requests", 6)
    for name in ("contiguous_waste_bytes", "contiguous_sequences", "prefix_shared_bytes", "samples_shared_bytes"):
        assert paged[name] == pytest.approx(paged["predicted"][name], rel=1e-9), name
    assert paged["copied_blocks"] == paged["predicted"]["copied_blocks"]
    assert paged["lost_blocks"] == 0
    assert paged["logit_difference"] <= 1e-5
    assert paged["paged_waste_share"] < paged["contiguous_waste_share"]
    assert [row["pool"] for row in paged["queue"]] == ["contiguous", "paged, swap", "paged, recompute"]
    assert [row["what"] for row in paged["sharing"]] == ["shared prefix", "samples of a prompt"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("kv", "--context", 2049), "2049 tokens of context: this model has 2048"),
        (("kv", "--batch", 900_000, "--context", 2048), "are to be filled, but"),
        (("kv", "--prompt", 2000, "--tokens", 100), "2099 tokens of context: this model has 2048"),
        (("prefix", "--tokens", 3000), "a prompt of 3000 tokens: this model has 2048"),
        (("paged", "--longest", 4000), "--longest 4000: this model has 2048 positions"),
        (("paged", "--block", 300), "--block 300: no request is longer than --longest 256"),
        (("paged", "--pool", 100), "--pool 100 is cut into blocks of 16 tokens, and 6 whole ones have no room for"),
        (("paged", "--pool", 1), "and 0 whole ones have no room for one request of 256: raise --pool, or lower"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(call: Call, words: tuple[object, ...], why: str) -> None:
    ran = call("lab", *words, "--shape", "tiny")
    assert (ran.status, ran.out) == (2, "")
    assert why in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["kv", "prefix", "paged"])
def test_an_unknown_shape_is_refused_by_name(call: Call, command: str) -> None:
    ran = call("lab", command, "--shape", "smollm2-135")
    assert ran.status == 2
    assert "did you mean smollm2-135m" in ran.err
