"""`lab completion` and `lab dpo` as experiments: closed forms that hold whatever the weights are, and what is said."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import NumberError
from llmdrill.experiments import completion, dpo
from llmdrill.experiments.decoding_run import predicted_waste_share, small_model_plan
from llmdrill.experiments.dpo import least_kl_nats, smoothed
from llmdrill.experiments.floors import Floors
from llmdrill.experiments.record import record_of
from llmdrill.lab.completion import Completion, Lengths
from llmdrill.lab.completion_cases import Case
from llmdrill.lab.completion_run import (
    CachedKeystroke,
    CompletionOptions,
    CompletionRun,
    Line,
    TypingRun,
)
from llmdrill.lab.decoder import random_decoder
from llmdrill.lab.dpo import DpoOptions, DpoRun, Tuned
from llmdrill.lab.dpo_sample import Judged
from llmdrill.lab.dpo_train import Preferences, RewardStep
from llmdrill.lab.shapes import named_shape
from llmdrill.lab.typing_trace import Answer, DrivenTyping, TypingPolicy, TypingTrace
from llmdrill.system.design import load_design, shipped_design
from llmdrill.system.scenario import load_scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

pytestmark = pytest.mark.lab
shares = st.floats(0.01, 0.99)


@given(shares, st.floats(0.05, 5))
def test_the_least_kl_is_that_of_the_best_policy_at_any_price(before: float, beta: float) -> None:
    lifted = before * math.exp(1 / beta)
    after = lifted / (lifted + 1 - before)  # reward 1 for right: the optimum of reward - beta * KL
    kl = after / beta - math.log(lifted + 1 - before)
    assert least_kl_nats(before_share=before, after_share=after) == pytest.approx(kl, rel=1e-6, abs=1e-9)


@given(shares, shares, shares, shares)
def test_the_least_kl_is_convex_so_means_give_a_bound(a: float, b: float, c: float, d: float) -> None:
    middle = least_kl_nats(before_share=(a + c) / 2, after_share=(b + d) / 2)
    ends = least_kl_nats(before_share=a, after_share=b) + least_kl_nats(before_share=c, after_share=d)
    assert middle <= ends / 2 + 1e-9


def test_what_the_reference_never_does_takes_infinitely_many_nats() -> None:
    assert least_kl_nats(before_share=0.0, after_share=0.1) == math.inf
    assert least_kl_nats(before_share=0.0, after_share=0.0) == 0.0
    with pytest.raises(NumberError, match=r"between 0 and 1, got 1\.5"):
        least_kl_nats(before_share=0.5, after_share=1.5)


def test_a_smoothed_curve_is_the_mean_of_the_last_few() -> None:
    assert smoothed((1.0, 2.0, 3.0, 4.0, 5.0, 6.0)) == (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


# --- what a scenario states -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"interval_sigma": None},
            "code-completion: evaluation.settings: interval_sigma must be a number, but it is abs",
        ),
        ({"service_total_ms": "soon"}, "service_total_ms must be a number, but it is 'soon'"),
    ],
)
def test_a_setting_that_the_run_needs_is_named_where_it_is_absent_or_no_number(
    changed: dict[str, str | None], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        small_model_plan(*changed_settings(changed))


def test_without_a_service_latency_of_its_own_a_scenario_has_the_default_and_no_prediction() -> None:
    scenario, design = changed_settings({"service_total_ms": None})
    assert small_model_plan(scenario, design).service_total_s == 0.23
    assert predicted_waste_share(scenario, design, seed=0) == pytest.approx(0.37, abs=0.01)
    assert predicted_waste_share(*changed_settings({"service_ttft_ms": None}), seed=0) is None


def changed_settings(changed: dict[str, str | None]) -> tuple[Scenario, Design]:
    """Return a scenario with settings replaced, or left out where they are None, and its reference design."""
    file = load_scenario("code-completion")
    settings = {**file.scenario.evaluation.settings, **changed}
    kept = {name: value for name, value in settings.items() if value is not None}
    evaluation = file.scenario.evaluation.model_copy(update={"settings": kept})
    design = load_design(shipped_design(file.folder, file.scenario.reference.design)).design
    return file.scenario.model_copy(update={"evaluation": evaluation}), design


# --- what is said of extreme results --------------------------------------------------------------------------------


def a_line(*, total_s: float, exact: bool, logprob: float = -1.0) -> Line:
    done = Completion("x" if exact else "y", 3, logprob, True, 10, 10, total_s / 2, total_s)
    return Line(Case("a.py", 1, "", "x"), done, done)


def typing(requests: int, *, seen: bool) -> TypingRun:
    trace = TypingTrace(requests, interval_p50_ms=100, interval_sigma=0, debounce_ms=50)
    answer = Answer(0.1 if seen else None, first_token=seen, seen=seen, engine_s=0.1, prompt_tokens=5, read_tokens=5)
    driven = DrivenTyping(requests, (answer,) * requests, 0)
    return TypingRun(TypingPolicy("any", trace, cancel=True, reuse=True), driven, 0.01, 0.1)


def a_run(lines: Sequence[Line], *, first: TypingRun, eager: TypingRun, warm_s: float) -> CompletionRun:
    return CompletionRun(
        options=CompletionOptions(None, len(lines), Lengths(8, 8), 1, first.policy.trace),
        decoder=random_decoder(named_shape("tiny"), seed=0),
        reason="no compiler",
        of_trained_version=False,
        lines=tuple(lines),
        keystrokes=(CachedKeystroke(10, 5, 0.1, warm_s),),
        typing=(first, eager),
        bandwidth_bytes_per_s=1e9,
        peak_flops_per_s=1e9,
    )


def test_a_run_of_which_nothing_came_in_time_or_right_is_told_as_that() -> None:
    none = typing(1, seen=False)
    run = a_run([a_line(total_s=9.0, exact=False)], first=none, eager=none, warm_s=0.2)
    first, second = completion._meaning(run)
    assert "0% of the lines within 300 ms, and 0% are exactly what was written; of the 1 that" in first
    assert "leaves 1 of 1 requests, and 100% of those are not whole before the next key (100%" in second
    assert second.endswith("keeping the prefix does not pay here.")
    assert [row[2] for row in completion._threshold_table(run.lines).rows] == [1]
    found = {one.name: one for one in (*completion._latency(run), *completion._typing(none, seed=0))}
    assert found["keystroke_to_text_p50_ms"].measured is None
    assert (found["within_300ms_share"].measured, found["within_300ms_share"].low) == (0.0, 0.0)
    assert all(bool(one.formula) == (one.predicted is not None) and one.note for one in found.values())
    assert sum("read in this very run" in note for note in completion._notes(run)) == 1


def test_a_run_of_which_all_came_right_and_at_once_is_told_as_that() -> None:
    every = typing(3, seen=True)
    run = a_run([a_line(total_s=0.01, exact=True)] * 9, first=typing(1, seen=True), eager=every, warm_s=0.01)
    first, second = completion._meaning(run)
    assert "100% of the lines within 300 ms, and 100% are exactly" in first
    assert "leaves 1 of 3 requests, and 0% of those" in second
    assert second.endswith("makes the next first token 10 times as fast.")


def test_precision_above_a_threshold_is_that_of_the_surest_lines() -> None:
    sure, unsure = (a_line(total_s=0.1, exact=exact, logprob=nats) for exact, nats in ((True, -0.1), (False, -2.0)))
    shown = completion.shown_above([unsure, sure, unsure, sure], 2)
    assert (shown.threshold, shown.share, shown.precision) == (-0.1, 0.5, 1.0)
    assert shown.low == pytest.approx(0.3424, abs=1e-4)  # Wilson of 2 of 2
    assert completion.shown_above([unsure, sure, unsure, sure], 4).precision == 0.5


def test_the_floor_of_a_line_is_its_prompt_and_a_step_for_each_token_but_the_first() -> None:
    record = record_of(named_shape("tiny"))
    floors = Floors(record, "fp32", "fp32", bandwidth_bytes_per_s=1e9, peak_flops_per_s=1e9)
    assert floors.total_s(prompt_tokens=10, output_tokens=1) == floors.prefill_s(tokens=10)
    steps = floors.total_s(prompt_tokens=10, output_tokens=3) - floors.prefill_s(tokens=10)
    assert steps == pytest.approx(floors.step_s(context_tokens=11) + floors.step_s(context_tokens=11))
    weights = random_decoder(named_shape("tiny"), seed=0).weight_bytes
    assert floors.step_bytes(context_tokens=0) == pytest.approx(weights)
    assert f"{floors.step_bytes(context_tokens=8):.0f}" in floors.step_bytes_filled(context_tokens=8).replace(",", "")


PLAN = DpoOptions("names", 2, 2, 2, (0.1,), 1, 1, 2, 0.0, 1e-2, 16, 6)


def judged(*, right: bool, wins: float, prompts: int) -> Judged:
    return Judged(((right, right),) * prompts, (wins,) * prompts, 0.0, 0.0, 5.0, (3.0,) * prompts)


def trained(*, before: bool, after: bool, prompts: int) -> DpoRun:
    found = judged(right=after, wins=(1 + after - before) / 2, prompts=prompts)
    stands, reference = Preferences(0.6, 1.0, 1), judged(right=before, wins=0.5, prompts=prompts)
    return DpoRun(PLAN, 4, 1, reference, (Tuned(0.1, stands, stands, None, found, 1.0),), (RewardStep(0, 0),), found, 1)


@pytest.mark.parametrize(
    ("before", "after", "prompts", "said"),
    [
        (False, True, 12, "helps"),
        (True, False, 12, "hurts"),
        (True, True, 12, "changes nothing that so few prompts could show"),
        (False, True, 2, "changes nothing that so few prompts could show"),
    ],
)
def test_a_training_is_said_to_help_or_hurt_only_where_the_prompts_show_it(
    *, before: bool, after: bool, prompts: int, said: str
) -> None:
    run = trained(before=before, after=after, prompts=prompts)
    first, second = dpo._meaning(run, seed=0)
    assert first.startswith(f"DPO on 1 pair that the model wrote itself {said}:")
    assert second.startswith(f"Reward training for 1 step {said} (")
    found = {one.name: one for one in dpo._findings(run, seed=0)}
    assert found["dpo_kl_nats"].predicted == (None if before != after else 0.0)
    assert found["dpo_held_out_loss_nats"].measured is None
    json.dumps(
        [dpo._beta_table(run, seed=0).rows, [one.x for one in dpo._frontier_picture(run).series]], allow_nan=False
    )


@pytest.mark.parametrize("verifier", dpo.VERIFIED)
def test_notes_say_how_each_verifier_is_passed_cheaply_and_what_was_held_apart(verifier: str) -> None:
    notes = list(dpo._notes(DpoOptions(verifier, 2, 2, 2, (0.1,), 1, 1, 2, 0.0, 1e-2, 16, 6, model="folder")))  # type: ignore[arg-type]
    assert dpo.GAMED[verifier] in notes[1]
    assert any("held-out modules" in note for note in notes) is (verifier != "sums")
    assert any("may have seen" in note for note in notes) is (verifier != "sums")
