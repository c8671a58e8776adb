"""`llmdrill lab completion` and `lab dpo`: the keys scripts rely on, identities between them, refusals in one line."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

import pytest

from llmdrill.lab.tokenizer import RANKS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab


def test_completion_tells_quality_latency_and_waste(call: Call) -> None:
    ran = call("lab", "completion", "--quick", "--lines", "4", "--keystrokes", "6", "--max-new-tokens", "8", "--json")
    assert ran.status == 0
    found = ran.json
    assert found["schema"] == "llmdrill/lab-completion@1"
    assert found["total_p50_ms"] <= found["total_p90_ms"] <= found["total_p99_ms"]
    assert {"total_p50_ms", "ttft_p50_ms", "tpot_p50_ms", "wasted_share"} <= set(found["predicted"])
    assert found["predicted"]["total_p50_ms"] > 0
    assert 0 <= found["exact_match_share"] <= found["edit_similarity_share"] <= 1
    assert {"exact_match_share", "edit_similarity_share", "typed_through_share"} <= set(found["weights_matter"])
    assert found["cached_prompt_share"] > 0.5
    assert len(found["typing"]) == 4
    whole = found["threshold"][0]
    assert (whole["shown_share"], whole["precision_share"]) == (1, pytest.approx(found["exact_match_share"], abs=1e-5))
    assert [row["lines"] for row in found["threshold"]] == sorted(
        (row["lines"] for row in found["threshold"]), reverse=True
    )
    assert len(found["meaning"]) == 2
    assert any("small one" in note for note in found["notes"])


def test_dpo_begins_at_ln_2_and_tells_what_it_moved(call: Call) -> None:
    ran = call("lab", "dpo", "--quick", "--reward-steps", "1", "--json")
    assert ran.status == 0
    found = ran.json
    assert found["schema"] == "llmdrill/lab-dpo@1"
    assert found["dpo_first_loss_nats"] == pytest.approx(math.log(2), abs=1e-4)
    assert found["predicted"]["dpo_first_loss_nats"] == pytest.approx(math.log(2), abs=1e-5)
    assert 1 <= found["pairs"] <= found["prompts"]
    assert found["dpo_kl_nats"] > 0
    assert found["reward"][0]["kl_nats"] == pytest.approx(0, abs=1e-4)
    assert 0 <= found["dpo_win_share"] <= 1
    low, high = found["spread"]["dpo_kl_nats"]
    assert 0 < low <= found["dpo_kl_nats"] <= high
    assert found["dpo_loss_nats"] < math.log(2)  # of the pairs it was trained on
    assert found["headline_beta"] == found["beta"][0]["beta"]
    assert len(found["beta"]) == 1
    assert any("nothing that the model wrote was run" in note for note in found["notes"])


def test_dpo_trains_the_model_of_a_folder_and_says_that_it_may_have_seen_the_files(call: Call, tmp_path: Path) -> None:
    from llmdrill.lab.embedded import DRAFT
    from llmdrill.lab.model_files import EMBEDDED

    for file in (EMBEDDED / DRAFT / "config.json", EMBEDDED / DRAFT / "model.safetensors", EMBEDDED / RANKS_FILE):
        shutil.copy(file, tmp_path)
    few = ("--quick", "--held-out-prompts", "3", "--reward-steps", "1", "--verifier", "parses")
    ran = call("lab", "dpo", "--model", tmp_path, *few, "--json")
    assert ran.status == 0
    assert ran.json["model"] == str(tmp_path)
    assert any("may have seen both" in note for note in ran.json["notes"])
    kept_to = ("exact_share", "empty_share", "mean_tokens")
    assert {f"{name}_{what}" for name in ("before", "dpo", "reward") for what in kept_to} <= set(ran.json)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("completion", "--max-new-tokens", "1"), "at least 2 of each, and together at most 1024"),
        (("completion", "--context-tokens", "2000"), "this model's context"),
        (("completion", "--lines", "900000"), "lines to complete"),
        (("completion", "--keystrokes", "5000000"), "no file is long enough for 5000000 keystrokes"),
        (("completion", "--debounce", "-5ms"), "--debounce must be zero or more"),
        (("completion", "--model", "/nonexistent"), "neither a model folder nor in the Hugging Face cache"),
        (("dpo", "--betas", "0"), "--betas must be above zero"),
        (("dpo", "--model", "/nonexistent"), "neither a model folder nor in the Hugging Face cache"),
        (("dpo", "--prompts", "100000"), "--prompts is at most 2000"),
        (("dpo", "--held-out-prompts", "100k"), "--held-out-prompts is at most 2000"),
        (("dpo", "--betas", ","), "--betas is a list such as"),
        (("dpo", "--verifier", "guess"), "is not one of 'names', 'parses', 'sums'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(call: Call, arguments: tuple[str, ...], said: str) -> None:
    ran = call("lab", *arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
