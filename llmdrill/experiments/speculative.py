"""`llmdrill lab speculative`: drafts by a small model and by n-gram lookup, and what acceptance and costs predict."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.speculative import best_draft_tokens, expected_accepted_tokens, speculative_speedup
from llmdrill.experiments.chi_square import ChiSquare, chi_square
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_seconds, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.lab.sampling_check import Draws
    from llmdrill.lab.speculative_cases import Setting
    from llmdrill.lab.speculative_run import DrafterName, SpeculativeOptions, SpeculativeRun
    from llmdrill.lab.speculative_tally import Tally

FASTER: Final = 1.03  # within so much of one another, speeds are called the same
LIKELY_SHARE: Final = 0.001  # a p below this is called a difference
NAMES: Final[dict[DrafterName, str]] = {"draft_model": "the draft model", "ngram": "n-gram lookup"}


def measure_speculative(
    options: SpeculativeOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Generate held-out Python source with and without drafts, greedily and by sampling.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``run_speculative`` says.

    Error:
        The prediction takes acceptances as independent; they come in runs. Costs are those of the same passes timed
        alone, so what Python does between them is only in part predicted.
    Source:
        Leviathan et al. 2023, arXiv:2211.17192, equation 1 and theorem 3.8; ``NgramLookup`` names its own.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.speculative_run import run_speculative

    started = now()
    run, machine = run_speculative(options, seed=seed, say=say, now=now), this_machine()
    costs = Costs(run)
    return Experiment(
        name="speculative",
        title="Speculative decoding: several tokens a pass of the target model, if they were guessed right",
        inputs=_inputs(run, options),
        findings=tuple(_findings(run, costs)),
        tables=(
            _best_table(run, costs),
            _sweep_table(run, costs),
            _pass_table(run),
            _plain_table(run),
            _repeated_table(run),
        ),
        pictures=(_picture(run),),
        meaning=(_greedy_meaning(run), _sampling_meaning(run)),
        machine=machine,
        protocol=Protocol(seed, options.warm_up, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(run)),
    )


@dataclass(frozen=True, slots=True)
class _Prediction:
    """What acceptance and the costs of passes predict."""

    tokens_per_pass: float
    speedup: float
    filled: str


class Costs:
    """Passes as shares of the target's pass over one token, and what they predict."""

    def __init__(self, run: SpeculativeRun) -> None:
        self.run = run
        self._draft_ratio = 0.0 if run.draft_pass_s is None else run.draft_pass_s / run.pass_s[1]

    def cost_ratio(self, drafter: DrafterName) -> float:
        """Return c, the cost of drafting a token; a lookup is too short to time beside a pass."""
        return self._draft_ratio if drafter == "draft_model" else 0.0

    def verify_cost(self, draft_tokens: int) -> float:
        """Return what each drafted token adds to the target's pass."""
        return max(0.0, (self.run.pass_s[draft_tokens + 1] / self.run.pass_s[1] - 1) / draft_tokens)

    def predict(self, tally: Tally, drafter: DrafterName, draft_tokens: int) -> _Prediction:
        """Return the closed form for the passes that had a draft; the others yield one token at the cost of one."""
        acceptance, share = tally.acceptance_share or 0.0, tally.passes_with_draft / tally.passes
        ratio, verify = self.cost_ratio(drafter), self.verify_cost(draft_tokens)
        tokens = expected_accepted_tokens(acceptance_share=acceptance, draft_tokens=draft_tokens)
        speedup = speculative_speedup(
            acceptance_share=acceptance, draft_tokens=draft_tokens, cost_ratio=ratio, verify_cost=verify
        )
        per_pass = share * tokens + 1 - share
        pass_cost = share * tokens / speedup + 1 - share
        filled = (
            f"{figure(per_pass)} tokens a pass / cost of a pass: drafts before {format_share(share)} of the passes,"
            f" acceptance {figure(acceptance)}, {draft_tokens} × (c {figure(ratio)} + verifying"
            f" {figure(verify)}) = {figure(per_pass / pass_cost)}"
        )
        return _Prediction(per_pass, per_pass / pass_cost, filled)

    def best_draft_tokens(self, tally: Tally, drafter: DrafterName, draft_tokens: int) -> int | None:
        """Return the draft length that the closed form likes best for this acceptance."""
        return best_draft_tokens(
            acceptance_share=tally.acceptance_share or 0.0,
            cost_ratio=self.cost_ratio(drafter),
            verify_cost=self.verify_cost(draft_tokens),
        )


def _drafters(run: SpeculativeRun) -> tuple[DrafterName, ...]:
    return tuple(run.sampled)


def _best(run: SpeculativeRun, setting: Setting, drafter: DrafterName) -> int:
    """Return the draft length that was fastest."""
    lengths = [count for where, name, count in run.greedy if (where, name) == (setting, drafter)]
    return max(lengths, key=lambda count: median(run.greedy[setting, drafter, count].speedups))


def _settings(run: SpeculativeRun) -> tuple[Setting, ...]:
    return tuple(dict.fromkeys(setting for setting, _, _ in run.greedy))


def _findings(run: SpeculativeRun, costs: Costs) -> Iterator[Finding]:
    note = f"of the fastest engine without drafts, {run.target.name}, which also verifies"
    yield over_rounds("plain_tpot_ms", [MS_PER_S * seconds for seconds in run.target.tpot_s], note=note)
    for drafter in _drafters(run):
        for setting in _settings(run):
            yield _speedup(run, costs, setting, drafter)
        yield from _sampling_findings(run, drafter)
    if run.draft_pass_s is not None:
        note = "a pass of the draft model over one token, as a share of the target's"
        yield Finding("cost_ratio", costs.cost_ratio("draft_model"), n=1, note=note)
    tallies = run.greedy.values()
    yield Finding(
        "outputs_equal_share",
        sum(one.same for one in tallies) / sum(one.texts for one in tallies),
        n=sum(one.texts for one in tallies),
        weights_matter=True,
        note="of texts generated greedily with drafts that are token for token those of plain decoding",
    )


def _speedup(run: SpeculativeRun, costs: Costs, setting: Setting, drafter: DrafterName) -> Finding:
    count = _best(run, setting, drafter)
    tally = run.greedy[setting, drafter, count]
    predicted = costs.predict(tally, drafter, count)
    with_start = f"{median(tally.speedups_with_start):.3g}x with the time to read the prompt into the drafter"
    return over_rounds(
        f"{setting}_{drafter}_speedup_ratio",
        tally.speedups,
        predicted=predicted.speedup,
        formula=predicted.filled,
        weights_matter=True,
        note=f"{_tokens(count)} a draft, the fastest length; {with_start}",
    )


def _sampling_findings(run: SpeculativeRun, drafter: DrafterName) -> Iterator[Finding]:
    tally, drawn, count = run.sampled[drafter], run.drawn[drafter], run.sampled_draft_tokens[drafter]
    note = f"temperature 1, top-k 50, {_tokens(count)} a draft, against plain sampling"
    yield over_rounds(f"sampled_{drafter}_speedup_ratio", tally.speedups, weights_matter=True, note=note)
    test, draws = _tested(drawn), sum(drawn.seen.values())
    note = "no drafted token was judged, so nothing was tested"
    if test is not None:
        note = (
            f"pairs of tokens against plain sampling's probabilities: chi-square {test.statistic:.2f} at {test.degrees}"
            f" degrees of freedom, under {LIKELY_SHARE} would be a difference; of {drawn.judged} drafted tokens"
            f" {drawn.accepted} were accepted"
        )
    p_share = None if test is None else test.p_share
    yield Finding(f"sampled_{drafter}_chi_square_p_share", p_share, n=draws, weights_matter=True, note=note)


def _tested(drawn: Draws) -> ChiSquare | None:
    """Return how well pairs fit plain sampling; None where no draft was judged, for then they are plain sampling."""
    return chi_square(drawn.seen, drawn.probabilities) if drawn.judged else None


def _tokens(count: int) -> str:
    return f"{count} {'token' if count == 1 else 'tokens'}"


def _best_table(run: SpeculativeRun, costs: Costs) -> Table:
    """Show each drafter at its fastest draft length, in each setting and where tokens are sampled."""
    rows: list[tuple[str | float | None, ...]] = []
    for drafter in _drafters(run):
        for setting in _settings(run):
            count = _best(run, setting, drafter)
            tally = run.greedy[setting, drafter, count]
            predicted, likes = costs.predict(tally, drafter, count), costs.best_draft_tokens(tally, drafter, count)
            rows.append((setting, drafter, count, likes, *_accepted(tally), round(predicted.tokens_per_pass, 2)))
        rows.append(
            ("sampled", drafter, run.sampled_draft_tokens[drafter], None, *_accepted(run.sampled[drafter]), None)
        )
    columns = ("setting", "drafter", "draft_tokens", "predicted_draft_tokens", "judged", "acceptance_share")
    note = (
        "the fastest draft length, and the one that acceptance and costs predict, 0 being no draft; acceptance: of the"
        " drafted tokens that were judged; a pass of the target yields those accepted and one of its own"
    )
    return Table("at the best length", (*columns, "tokens_per_pass", "predicted_tokens_per_pass"), tuple(rows), note)


def _accepted(tally: Tally) -> tuple[int, float | None, float]:
    share = tally.acceptance_share
    return tally.judged, None if share is None else round(share, 3), round(tally.tokens_per_pass, 2)


def _repeated_table(run: SpeculativeRun) -> Table:
    rows = tuple(
        ("what the files really say" if name == "own" else f"plain output, {name}", round(share, 3))
        for name, share in run.repeated_share.items()
    )
    return Table(
        "repeated", ("text", "repeated_share"), rows, "tokens that end four in a row which the text already had"
    )


def _sweep_table(run: SpeculativeRun, costs: Costs) -> Table:
    rows = []
    for (setting, drafter, count), tally in run.greedy.items():
        _, acceptance, tokens_per_pass = _accepted(tally)
        speeds = round(median(tally.speedups), 2), round(costs.predict(tally, drafter, count).speedup, 2)
        rows.append((setting, drafter, count, acceptance, tokens_per_pass, *speeds))
    columns = ("setting", "drafter", "draft_tokens", "acceptance_share", "tokens_per_pass")
    return Table("sweep", (*columns, "speedup", "predicted_speedup"), tuple(rows), "speedup: median over rounds")


def _pass_table(run: SpeculativeRun) -> Table:
    rows = tuple(
        (
            *(tokens, round(seconds * MS_PER_S, 4), round(seconds / run.pass_s[1], 2)),
            None if tokens == 1 else round(run.own_tokens_per_pass[tokens - 1], 2),
        )
        for tokens, seconds in run.pass_s.items()
    )
    columns = ("tokens_of_pass", "ms", "over_one_token", "ngram_tokens_on_the_files")
    note = (
        "last column: n-gram lookup's tokens a pass if the model wrote exactly what the files say, one token undrafted"
    )
    return Table("passes", columns, rows, note)


def _plain_table(run: SpeculativeRun) -> Table:
    rows = tuple(
        (one.name, round(median(one.tpot_s) * MS_PER_S, 4), round(1 / median(one.tpot_s), 1)) for one in run.candidates
    )
    return Table("without drafts", ("engine", "tpot_ms", "tokens_per_s"), rows)


def _picture(run: SpeculativeRun) -> Picture:
    series = []
    for setting in _settings(run):
        for drafter in _drafters(run):
            at = [
                (count, one) for (where, name, count), one in run.greedy.items() if (where, name) == (setting, drafter)
            ]
            speedups = tuple(median(one.speedups) for _, one in at)
            series.append(Series(f"{drafter}, {setting}", tuple(float(count) for count, _ in at), speedups))
    return Picture("Speed-up by draft length", "tokens drafted a pass", "times plain decoding", tuple(series))


def _greedy_meaning(run: SpeculativeRun) -> str:
    """Say of the setting ``continue`` which drafter helped and which did not."""
    parts = []
    for drafter in _drafters(run):
        count = _best(run, "continue", drafter)
        tally = run.greedy["continue", drafter, count]
        ratio = median(tally.speedups)
        if ratio >= FASTER:
            verdict = f"made it {ratio:.3g} times as fast"
        elif ratio > 1 / FASTER:
            verdict = "changed its speed by little"
        else:
            verdict = f"slowed it to {ratio:.3g} of its speed"
        parts.append(
            f"{NAMES[drafter]} {verdict} ({tally.tokens_per_pass:.3g} tokens a pass, {_tokens(count)} drafted)"
        )
    plain = format_seconds(median(run.target.tpot_s))
    return f"Against plain decoding at {plain} a token, continuing files: {'; '.join(parts)}."


def _sampling_meaning(run: SpeculativeRun) -> str:
    tallies = run.greedy.values()
    equal = sum(one.same for one in tallies) == sum(one.texts for one in tallies)
    tests = [test.p_share for test in map(_tested, run.drawn.values()) if test is not None]
    greedy = "was token for token that of plain decoding" if equal else "differed from plain decoding in some texts"
    draws = sum(next(iter(run.drawn.values())).seen.values())
    if not tests:
        return f"Greedy output {greedy}, and whether sampling is right was not tested: no drafted token was judged."
    if min(tests) < LIKELY_SHARE:
        return f"Greedy output {greedy}, but what was sampled does not fit plain sampling (p = {min(tests):.2g})."
    return f"Greedy output {greedy}, and {draws} sampled pairs fit plain sampling (smallest p = {min(tests):.2g})."


def _inputs(run: SpeculativeRun, options: SpeculativeOptions) -> dict[str, object]:
    draft = "embedded" if options.model is None and options.draft_model is None else options.draft_model
    return {
        "model": options.model or "embedded",
        "draft_model": draft,
        "engine": run.target.name,
        "files": [one.path for one in run.cases if one.setting == "continue"],
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.output_tokens,
        "ngram_tokens": list(options.ngram),
    }


def _notes(run: SpeculativeRun) -> Iterator[str]:
    from llmdrill.lab.speculative_cases import BEGUN_TOKENS

    yield (
        "speed-ups are those of generating after the first token, of the fastest draft length, against the same engine"
        " without drafts beside it; low and high are the slowest and the fastest round"
    )
    yield "continue: the prompt is the first part of a held-out file, and the model goes on"
    yield (
        f"rewrite: the prompt ends with the first {BEGUN_TOKENS} tokens of the same file once more, as where code is"
        " edited and most of it stays"
    )
    yield "a model that repeats itself flatters n-gram lookup: see the repeated shares, and the lookup on the files"
    if "native" not in run.target.name:
        yield "torch verifies several tokens with other products than one, so a near tie may fall otherwise"
    if run.draft_pass_s is None:
        yield "no draft model: --draft-model names one of the same tokens"
