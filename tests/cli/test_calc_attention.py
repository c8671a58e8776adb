"""The worked example of attention as a command."""

from __future__ import annotations

import json

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN
from llmdrill.estimate.attention import EXAMPLE_KEYS, EXAMPLE_QUERIES, EXAMPLE_VALUES

EXAMPLE = json.dumps({"q": EXAMPLE_QUERIES, "k": EXAMPLE_KEYS, "v": EXAMPLE_VALUES})


def test_every_step_of_the_example_is_shown_and_growth_is_quadratic() -> None:
    found = run_json("attention")
    assert [found["scores"][0][f"key_{at}"] for at in (1, 2, 3, 4)] == [5, 2, 4, 1]
    assert [found["scaled_scores"][0][f"key_{at}"] for at in (1, 2, 3, 4)] == [2.5, 1, 2, 0.5]
    assert found["mean_entropy_bits"] > found["unscaled_mean_entropy_bits"]
    assert [row["times"] for row in found["growth"]] == [4**doubling for doubling in range(8)]
    assert found["attention_flops"] == 4 * 1000**2 * 4096
    measured = {row["d_k"]: row["variance"] for row in found["why_scale"]}
    assert measured[64] == pytest.approx(64, rel=0.2)


def test_the_example_read_from_a_file_is_the_example() -> None:
    assert run_json("attention", "-", stdin=EXAMPLE) == run_json("attention")


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    assert run("attention", "--seed", "4") == run("attention", "--seed", "4")
    assert run_json("attention", "--seed", "1k")["seed"] == 1000
    assert run_json("attention", "--seed", "4")["why_scale"] != run_json("attention")["why_scale"]


def test_under_the_causal_mask_later_keys_are_hidden_and_the_first_token_keeps_its_value() -> None:
    found = run_json("attention", "--causal")
    assert found["scores"][0] == {"token": 1, "key_1": 5, "key_2": None, "key_3": None, "key_4": None}
    assert found["weights"][0]["key_1"] == 1
    assert [found["output"][0][f"value_{at}"] for at in (1, 2, 3, 4)] == [1, 0, 0, 2]


def test_each_head_takes_its_share_of_the_columns() -> None:
    found = run_json("attention", "--heads", "2")
    assert found["d_k"] == 2
    q, k = EXAMPLE_QUERIES[0], EXAMPLE_KEYS[0]
    assert found["scores_of_head_1"][0]["key_1"] == q[0] * k[0] + q[1] * k[1]
    assert found["scores_of_head_2"][0]["key_1"] == q[2] * k[2] + q[3] * k[3]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "q, k and v"),
        ('{"q": [[1]], "k": [[1]]}', "q, k and v"),
        ('{"q": [], "k": [[1]], "v": [[1]]}', "q: must be a list"),
        ('{"q": [[]], "k": [[1]], "v": [[1]]}', "q: rows"),
        ('{"q": [[1, 2], [3]], "k": [[1]], "v": [[1]]}', "q: rows"),
        ('{"q": [["1"]], "k": [[1]], "v": [[1]]}', "q[0]: must hold numbers"),
        ('{"q": [[true]], "k": [[1]], "v": [[1]]}', "q[0]: must hold numbers"),
        ('{"q": [[NaN]], "k": [[1]], "v": [[1]]}', "q[0]: must hold numbers"),
        ('{"q": [[1e400]], "k": [[1]], "v": [[1]]}', "q[0]: must hold numbers"),
        ('{"q": [[1, 2]], "k": [[1]], "v": [[1]]}', "k: must be as wide as q"),
        ('{"q": [[1]], "k": [[1]], "v": [[1], [2]]}', "v: must have a row"),
        (json.dumps({"q": [[0]] * 65, "k": [[0]], "v": [[0]]}), "1 to 64 rows"),
        ("{", "is not JSON"),
    ],
)
def test_matrices_that_are_none_are_told_at_their_place(text: str, why: str) -> None:
    status, out, err = run("attention", "-", stdin=text)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert why in err


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    status, _, err = run("attention", "--heads", "3")
    assert status == EXIT_CANNOT_RUN
    assert "must divide the width 4" in err


def test_a_seed_may_be_written_with_a_unit() -> None:
    assert run_json("attention", "--seed", "1k") == run_json("attention", "--seed", "1000")
