"""`llmdrill lab dpo`: what a verifier's preferences and its reward do to a small model, and how far it moves."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.checks import NumberError
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.dpo import DpoOptions, DpoRun, Tuned
    from llmdrill.lab.dpo_sample import Judged
    from llmdrill.lab.dpo_train import Preferences

RESAMPLES: Final = 2000
SMOOTHED_STEPS: Final = 5
EVEN: Final = 0.5  # of wins: as good as the reference
FEWEST_PROMPTS: Final = 10  # of fewer a bootstrap calls certain what is chance
NOT_RUN: Final = (
    "nothing that the model wrote was run: lines are parsed, names looked up, sums evaluated from their syntax tree"
)
VERIFIED: Final = {
    "parses": "the line parses as one statement",
    "names": "the line parses, and every name it reads stood in the file before (be it in a comment) or is a builtin",
    "sums": "`assert a + b == …` is finished so that it holds",
}
GAMED: Final = {
    "parses": "a line ended at once, a comment or any string passes",
    "names": "a line ended at once, a comment, any string or any attribute passes",
    "sums": "repeating the left side passes",
}


def measure_dpo(
    options: DpoOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Train a model by DPO and by reward, and set its KL beside the least that such a gain takes.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``run_dpo`` says.

    Error:
        Shares and KL are of draws at temperature 1; the prompts are few, so intervals are wide.
    Source:
        As ``run_dpo``, ``dpo_loss``, ``advantages`` and ``least_kl_nats`` say.
    """
    from llmdrill.lab.dpo import run_dpo
    from llmdrill.lab.machine import this_machine

    started = now()
    run, machine = run_dpo(options, seed=seed, say=say, now=now), this_machine()
    return Experiment(
        name="dpo",
        title="Preferences and rewards from a program: what is gained, what is moved",
        inputs=_inputs(options),
        findings=tuple(_findings(run, seed=seed)),
        tables=(_beta_table(run, seed=seed), _reward_table(run)),
        pictures=(_reward_picture(run), _frontier_picture(run)),
        meaning=_meaning(run, seed=seed),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=tuple(_notes(options)),
    )


def least_kl_nats(*, before_share: float, after_share: float) -> float:
    """Return the least KL from the reference at which a policy can be right so often.

    Formula:
        after * ln(after / before) + (1 - after) * ln((1 - after) / (1 - before))
        (the KL of right or wrong alone, which that of whole completions cannot be less than) reached by the optimum of
        reward minus beta * KL, which multiplies every right completion's probability by exp(1 / beta) and divides by
        the sum.

    Args:
        before_share: Of the reference's completions that are right, above 0 and under 1 unless nothing changes.
        after_share: Of the policy's.

    Returns:
        Nats a completion; infinite if the reference is never right, or always.

    Raises:
        NumberError: If a share is not between 0 and 1.

    Error:
        Over several prompts the mean KL is at least this of the mean shares, because KL is convex in both.
    Source:
        Rafailov et al. 2023, arXiv:2305.18290, equation 4, with a reward of 0 or 1.

    >>> round(least_kl_nats(before_share=0.5, after_share=0.9), 4), least_kl_nats(before_share=0.3, after_share=0.3)
    (0.3681, 0.0)
    """
    for share in (before_share, after_share):
        if not 0 <= share <= 1:
            raise NumberError(f"a share lies between 0 and 1, got {share:g}")
    pairs = ((after_share, before_share), (1 - after_share, 1 - before_share))
    if any(after > 0 and before == 0 for after, before in pairs):
        return math.inf
    return sum(after * math.log(after / before) for after, before in pairs if after > 0)


def _inputs(options: DpoOptions) -> dict[str, object]:
    return {
        "model": options.model or "embedded",
        "verifier": options.verifier,
        "prompts": options.prompts,
        "held_out_prompts": options.held_out_prompts,
        "completions_each": options.each,
        "betas": list(options.betas),
        "headline_beta": middle_beta(options.betas),
        "epochs": options.epochs,
        "reward_beta": options.reward_beta,
        "learning_rate": options.rate,
    }


def middle_beta(betas: Sequence[float]) -> float:
    """Return the beta that the headline figures are of: chosen before anything is trained, not by what came out."""
    return sorted(betas)[len(betas) // 2]


def headline(run: DpoRun) -> Tuned:
    """Return the training of the middle beta."""
    return next(one for one in run.tuned if one.beta == middle_beta(run.options.betas))


def _findings(run: DpoRun, *, seed: int) -> Iterator[Finding]:
    middle = headline(run)
    note = "of prompts with a right and a wrong completion"
    yield Finding("pairs", float(run.pairs), n=run.drawn, weights_matter=True, note=note)
    yield _right("right_before_share", run.before, seed=seed)
    yield from _kept_to("before", run.before, "the model as it was")
    yield _right("right_after_dpo_share", middle.judged, seed=seed)
    yield _right("right_after_reward_share", run.rewarded, seed=seed)
    yield from _against("dpo", middle.judged, run, seed=seed)
    yield from _against("reward", run.rewarded, run, seed=seed)
    formula = "-ln sigmoid(0) = ln 2: nothing has moved yet"
    first = middle.first
    note = "of the first step's pairs, before it"
    yield Finding("dpo_first_loss_nats", first.loss_nats, math.log(2), n=first.pairs, formula=formula, note=note)
    yield from _preferred("dpo", middle.trained_on, "pairs it was trained on, after training")
    yield from _preferred("dpo_held_out", middle.held_out, "pairs of held-out prompts")
    yield Finding("dpo_train_s", middle.seconds, note="without judging")
    yield Finding("reward_train_s", run.reward_seconds, note="drawing included, without judging")


def _preferred(name: str, found: Preferences | None, note: str) -> Iterator[Finding]:
    """Yield the DPO loss, and the share of pairs that the implicit reward puts in the right order."""
    from llmdrill.lab.classify_metrics import wilson_interval

    if found is None:
        yield Finding(f"{name}_loss_nats", None, weights_matter=True, note=f"no {note}")
        yield Finding(f"{name}_preferred_share", None, weights_matter=True, note=f"no {note}")
        return
    n, share = found.pairs, found.preferred_share
    interval = wilson_interval(successes=share * n, n=n)
    yield Finding(
        f"{name}_loss_nats", found.loss_nats, n=n, weights_matter=True, note=f"of {note}; ln 2 is no preference"
    )
    yield Finding(
        f"{name}_preferred_share",
        share,
        None,
        interval.low,
        interval.high,
        n,
        weights_matter=True,
        note=f"of {note}: the right one has the larger implicit reward; 95 %, Wilson",
    )


def _right(name: str, judged: Judged, *, seed: int) -> Finding:
    """Return the share that is right, with a bootstrap over prompts: draws of one prompt are alike."""
    by_prompt = [sum(row) / len(row) for row in judged.right]
    return _bootstrapped(
        name, by_prompt, f"of {len(judged.right[0])} draws a prompt; 95 %, bootstrap over prompts", seed
    )


def _bootstrapped(name: str, by_prompt: list[float], note: str, seed: int) -> Finding:
    values = np.array(by_prompt)
    draws = np.random.default_rng(seed).choice(values, size=(RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return Finding(name, float(values.mean()), None, low, high, len(values), weights_matter=True, note=note)


def _against(name: str, judged: Judged, run: DpoRun, *, seed: int) -> Iterator[Finding]:
    note = "right against the reference's draw on the same prompt, a tie half; 95 %, bootstrap over prompts"
    yield _bootstrapped(f"{name}_win_share", list(judged.wins), note, seed)
    before, after = run.before.right_share, judged.right_share
    formula = f"least for {format_share(before)} → {format_share(after)}: a ln(a/b) + (1-a) ln((1-a)/(1-b))"
    note = "KL(policy || reference) of a completion; 95 %, bootstrap over prompts"
    kl = _bootstrapped(f"{name}_kl_nats", list(judged.kl_by_prompt), note, seed)
    least = _least(run, judged)
    yield kl if least is None else replace(kl, predicted=least, formula=formula)
    yield from _kept_to(name, judged, f"after {name} training; before_… tells the model as it was")


def _kept_to(name: str, judged: Judged, whose: str) -> Iterator[Finding]:
    """Yield what a verifier does not ask for, so that the same figures stand there before and after."""
    n = len(judged.right) * len(judged.right[0])
    for what, value, note in (
        ("exact_share", judged.exact_share, "completions equal to what was written"),
        ("empty_share", judged.empty_share, "completions that end at once or are a comment"),
        ("mean_tokens", judged.mean_tokens, "of a completion, shorter lines being easier to get right"),
    ):
        yield Finding(f"{name}_{what}", value, n=n, weights_matter=True, note=f"{note}: {whose}")


def _beta_table(run: DpoRun, *, seed: int) -> Table:
    rows = []
    for one in run.tuned:
        win = _bootstrapped("win", list(one.judged.wins), "", seed)
        kl, least, loss = one.judged.kl_nats, _least(run, one.judged), one.trained_on.loss_nats
        rows.append((one.beta, one.judged.right_share, win.measured, win.low, win.high, kl, least, loss))
    columns = ("beta", "right_share", "win_share", "low_share", "high_share", "kl_nats", "least_kl_nats", "loss_nats")
    return Table("beta", columns, tuple(rows), note="low and high: 95 % of the win share, bootstrap over prompts")


def _least(run: DpoRun, judged: Judged) -> float | None:
    """Return the least KL for what was gained; None where no finite one would do."""
    least = least_kl_nats(before_share=run.before.right_share, after_share=judged.right_share)
    return least if math.isfinite(least) else None


def _reward_table(run: DpoRun) -> Table:
    rows = tuple((number, one.right_share, one.kl_nats) for number, one in enumerate(run.reward_steps, start=1))
    return Table(
        "reward", ("step", "right_share", "kl_nats"), rows, note="of the completions each step drew; KL estimated"
    )


def smoothed(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the mean of each value and the few before it.

    >>> smoothed((1.0, 0.0))
    (1.0, 0.5)
    """
    return tuple(float(np.mean(values[max(0, at + 1 - SMOOTHED_STEPS) : at + 1])) for at in range(len(values)))


def _reward_picture(run: DpoRun) -> Picture:
    right = tuple(one.right_share for one in run.reward_steps)
    x = tuple(float(number) for number in range(1, len(right) + 1))
    series = (
        Series("right", x, right),
        Series(f"mean of {SMOOTHED_STEPS}", x, smoothed(right)),
        Series("KL, nats", x, tuple(one.kl_nats for one in run.reward_steps)),
    )
    return Picture("Learning from the verifier's reward", "step", "share right; KL in nats", series)


def _frontier_picture(run: DpoRun) -> Picture:
    tuned = sorted((one.judged.kl_nats, one.judged.right_share) for one in run.tuned)
    before = run.before.right_share
    ends = [after for after in (*(share for _, share in tuned), run.rewarded.right_share) if 0 < before < 1]
    shares = np.linspace(before, max([before, *ends]), 12).tolist()
    least = tuple(least_kl_nats(before_share=before, after_share=share) for share in shares) if 0 < before < 1 else ()
    series = (
        Series("least KL possible", least, tuple(shares[: len(least)])),
        Series("DPO by beta", tuple(kl for kl, _ in tuned), tuple(share for _, share in tuned)),
        Series("reward", (run.rewarded.kl_nats,), (run.rewarded.right_share,)),
    )
    return Picture("What a gain costs", "KL to the reference, nats a completion", "share right", series)


def _meaning(run: DpoRun, *, seed: int) -> tuple[str, str]:
    middle, before, after = headline(run).judged, run.before, run.rewarded
    first = (
        f"DPO on {_many(run.pairs, 'pair')} that the model wrote itself {_effect(middle, seed)}: on held-out prompts "
        f"{format_share(middle.right_share)} are right, {format_share(before.right_share)} before, at "
        f"{middle.kl_nats:.2f} nats a completion from the model as it was."
    )
    shares = f"{format_share(after.exact_share)} of the lines are what was written ({format_share(before.exact_share)}"
    second = (
        f"Reward training for {_many(len(run.reward_steps), 'step')} {_effect(after, seed)} "
        f"({format_share(after.right_share)} right at {after.kl_nats:.2f} nats), with {after.mean_tokens:.1f} tokens a "
        f"line where there were {before.mean_tokens:.1f}, and {shares} before): a verifier pays for what it checks, and"
        " for nothing else."
    )
    return first, second


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _notes(options: DpoOptions) -> Iterator[str]:
    yield f"right means: {VERIFIED[options.verifier]}"
    yield f"and can be had cheaply: {GAMED[options.verifier]}; exact match, empty share and length show whether it was"
    yield NOT_RUN
    if options.verifier == "sums":
        yield "no sum that is asked for in training is asked for in judging"
    else:
        yield "prompts for training are cut from modules that are not held out, those for judging from held-out modules"
        if options.model is not None:
            yield "this model may have seen both: they are public"
    yield "one seed and one learning rate; the headline's beta is the middle one, not the best"


def _effect(judged: Judged, seed: int) -> str:
    """Say whether a policy beats the reference by more than chance."""
    win = _bootstrapped("win", list(judged.wins), "", seed)
    if win.n >= FEWEST_PROMPTS and win.low is not None and win.low > EVEN:
        return "helps"
    if win.n >= FEWEST_PROMPTS and win.high is not None and win.high < EVEN:
        return "hurts"
    return "changes nothing that so few prompts could show"
