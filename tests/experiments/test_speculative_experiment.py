"""`lab speculative` on the embedded models: exact output, identities between figures, predictions, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.speculative import speculative_speedup  # noqa: E402
from llmdrill.experiments.result import Experiment, experiment_json  # noqa: E402
from llmdrill.experiments.speculative import Costs, _tested, measure_speculative  # noqa: E402
from llmdrill.lab.sampling_check import Draws  # noqa: E402
from llmdrill.lab.speculative import Continuation  # noqa: E402
from llmdrill.lab.speculative_run import SpeculativeOptions, SpeculativeRun  # noqa: E402
from llmdrill.lab.speculative_tally import Seconds, Tally  # noqa: E402

pytestmark = pytest.mark.lab

SMALL: dict[str, Any] = {
    "files": 1,
    "prompt_tokens": 100,
    "output_tokens": 12,
    "longest_draft": 2,
    "draws": 100,
    "warm_up": 0,
    "repeats": 1,
}


@pytest.fixture(scope="module")
def found() -> Experiment:
    return measure_speculative(SpeculativeOptions(**SMALL))


def test_drafts_change_no_token_of_greedy_output(found: Experiment) -> None:
    if not str(found.inputs["engine"]).startswith("native"):
        pytest.skip("torch multiplies one row otherwise than several")
    equal = found.finding("outputs_equal_share")
    assert equal is not None
    assert (equal.measured, equal.n) == (1, 8)  # two settings, two drafters, two draft lengths


def test_tokens_a_pass_lie_between_one_and_the_draft_and_one(found: Experiment) -> None:
    for row in experiment_json(found)["sweep"]:
        assert 1 <= row["tokens_per_pass"] <= row["draft_tokens"] + 1
        assert row["acceptance_share"] is None or 0 <= row["acceptance_share"] <= 1


def test_sampled_pairs_were_all_possible_ones(found: Experiment) -> None:
    for drafter in ("ngram", "draft_model"):
        tested = found.finding(f"sampled_{drafter}_chi_square_p_share")
        assert tested is not None
        assert tested.measured is not None
        assert tested.measured > 1e-6  # and not None, which it is where no draft was judged
        assert tested.n == 100


def test_pairs_that_no_draft_had_a_part_in_prove_nothing() -> None:
    without = Draws({(1, 2): 100}, {(1, 2): 1.0}, judged=0, accepted=0)
    assert _tested(without) is None
    tested = _tested(replace(without, judged=7))
    assert tested is not None
    assert tested.p_share == 1


def test_the_headline_figures_are_few_and_each_says_what_it_is(found: Experiment) -> None:
    assert len(found.findings) <= 12
    for one in found.findings:
        assert one.note, one.name
        assert bool(one.formula) == (one.predicted is not None), one.name
        assert "1 tokens" not in one.note
    rows = experiment_json(found)["at_the_best_length"]
    assert [row["setting"] for row in rows] == ["continue", "rewrite", "sampled"] * 2
    assert all(row["tokens_per_pass"] >= 1 for row in rows)


def test_json_bears_what_scripts_read(found: Experiment) -> None:
    shown = experiment_json(found)
    assert shown["schema"] == "llmdrill/lab-speculative@1"
    assert {"continue_ngram_speedup_ratio", "continue_draft_model_speedup_ratio"} <= set(shown["predicted"])
    assert [row["tokens_of_pass"] for row in shown["passes"]] == [1, 2, 3]
    assert shown["passes"][0]["over_one_token"] == 1
    assert {row["engine"] for row in shown["without_drafts"]} >= {"torch_fp32", shown["engine"]}
    assert len(shown["meaning"]) == 2


def run_with(pass_s: dict[int, float], draft_pass_s: float | None) -> SpeculativeRun:
    empty: Any = {}
    return SpeculativeRun(
        (),
        (),
        None,
        empty,
        empty,
        empty,
        pass_s,
        draft_pass_s,
        empty,
        empty,
        empty,  # type: ignore[arg-type]
    )


def tally_of(*, drafted: tuple[int, ...], accepted: tuple[int, ...]) -> Tally:
    tally = Tally()
    tally.count(Continuation((0,) * (sum(accepted) + len(accepted)), drafted, accepted), same=True)
    return tally


def test_where_every_pass_has_a_draft_the_prediction_is_the_papers() -> None:
    costs = Costs(run_with({1: 1.0, 4: 1.0}, 0.1))
    tally = tally_of(drafted=(3, 3, 3), accepted=(3, 2, 0))
    predicted = costs.predict(tally, "draft_model", 3)
    acceptance = tally.acceptance_share
    assert acceptance == 5 / 7  # five accepted, and two rejected
    assert predicted.speedup == pytest.approx(
        speculative_speedup(acceptance_share=acceptance, draft_tokens=3, cost_ratio=0.1)
    )


def test_where_no_pass_has_a_draft_nothing_is_gained_or_lost() -> None:
    predicted = Costs(run_with({1: 1.0, 4: 3.0}, None)).predict(tally_of(drafted=(0, 0), accepted=(0, 0)), "ngram", 3)
    assert (predicted.tokens_per_pass, predicted.speedup) == (1, 1)


def test_verifying_costs_what_the_longer_pass_takes_more() -> None:
    assert Costs(run_with({1: 2.0, 4: 5.0}, None)).verify_cost(3) == pytest.approx(0.5)
    assert Costs(run_with({1: 2.0, 4: 1.9}, None)).verify_cost(3) == 0  # a longer pass is not cheaper


def test_a_speed_up_is_that_of_sums_over_texts() -> None:
    tally = Tally()
    tally.time([Seconds(plain_s=3.0, own_s=1.0, start_s=1.0), Seconds(plain_s=1.0, own_s=1.0, start_s=1.0)])
    assert (tally.speedups, tally.speedups_with_start) == ([2.0], [1.0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt_tokens": 60}, "it needs more than 96"),
        ({"prompt_tokens": 900_000}, "tokens of context"),
        ({"ngram": (3, 2)}, "n-grams of 3 to 2"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        measure_speculative(SpeculativeOptions(**SMALL | changed))
