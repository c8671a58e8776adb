"""What `llmdrill lab position` makes of its run: gains and shares with intervals, pictures, two sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.result import Finding
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.experiments.position import PositionResult
    from llmdrill.lab.position_orders import Ordered
    from llmdrill.lab.position_reader import Asked
    from llmdrill.lab.position_run import Recalled

FRONT, MIDDLE, END = 0.0, 0.5, 1.0
PLACES: Final = (("front", FRONT), ("middle", MIDDLE), ("end", END))
ORDERS: Final = ("best first", "edges first", "best last")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over cases and its 95 % interval by Student's t."""

    value: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """Return 1 or -1 if the interval lies on one side of nothing, else 0."""
        return (self.low > 0) - (self.high < 0)


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of at least two values and its interval.

    >>> mean_of([1.0, 3.0]).value, round(mean_of([1.0, 3.0]).high, 1)
    (2.0, 14.7)
    """
    from llmdrill.lab.interval import student_t

    half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Mean(mean(values), mean(values) - half, mean(values) + half, len(values))


def gains(one: Recalled | Ordered) -> list[float]:
    """Return by how many nats the definition made each answer likelier."""
    return [said.nats - without.nats for said, without in zip(one.with_it, one.without, strict=True)]


def difference(one: Recalled | Ordered, other: Recalled | Ordered) -> Mean:
    """Return by how many nats more one gains than the other, case by case."""
    return mean_of([first - second for first, second in zip(gains(one), gains(other), strict=True)])


def position_findings(found: PositionResult) -> Iterator[Finding]:
    """Yield gains and shares by place and by order, for the first ending and the longest context."""
    at = {name: _at(found, depth) for name, depth in PLACES}
    for name, one in at.items():
        yield _gain(
            f"{name}_gain_nats", mean_of(gains(one)), f"{_thing(found)} at the {name} of {one.context_tokens} tokens"
        )
    for name in ("front", "end"):
        yield _gain(f"middle_minus_{name}_nats", difference(at["middle"], at[name]), "paired, case by case")
    for name, one in at.items():
        yield _share(f"{name}_exact_share", one.with_it, "every token of the answer was the likeliest")
    yield _share("without_exact_share", at["middle"].without, "the same text without it")
    orders = _orders(found)
    for name, of_order in orders.items():
        note = f"{of_order.chunks} retrieved chunks, {of_order.order}, {of_order.prompt_tokens:.0f} tokens"
        yield _gain(f"{name}_gain_nats", mean_of(gains(of_order)), note)
    for name, of_order in orders.items():
        yield _share(f"{name}_exact_share", of_order.with_it, "every token of the answer was the likeliest")
    first = orders["best_first"]
    for name in ("edges_first", "best_last", "few_best_last"):
        yield _gain(f"{name}_minus_best_first_nats", difference(orders[name], first), "paired, case by case")
    ranks, chunks = found.run.ranks, found.options.chunks
    within = sum(rank <= chunks for rank in ranks) / len(ranks)
    note = f"of the chunks with {_thing(found)}, those that BM25 found among the first {chunks}"
    yield Finding("retrieved_share", within, n=len(ranks), note=note)


def _gain(name: str, gain: Mean, note: str) -> Finding:
    note = f"{note}; low and high: 95 % interval over cases"
    return Finding(name, gain.value, None, gain.low, gain.high, gain.n, weights_matter=True, note=note)


def _share(name: str, said: Sequence[Asked], note: str) -> Finding:
    from llmdrill.lab.classify_metrics import wilson_interval

    right = sum(one.exact for one in said)
    interval = wilson_interval(successes=right, n=len(said))
    note = f"{note}; low and high: 95 % interval, Wilson"
    share = right / len(said)
    return Finding(name, share, None, interval.low, interval.high, len(said), weights_matter=True, note=note)


def _longest(found: PositionResult) -> int:
    return max(one.context_tokens for one in found.run.depths)


def _main_ending(found: PositionResult) -> str:
    return found.run.depths[0].ending


def _at(found: PositionResult, depth: float, *, context_tokens: int | None = None) -> Recalled:
    wanted = (context_tokens or _longest(found), depth, _main_ending(found))
    return next(one for one in found.run.depths if (one.context_tokens, one.asked_depth, one.ending) == wanted)


def _orders(found: PositionResult) -> dict[str, Ordered]:
    """Return what each order made of the first ending: ``best_first`` … with many chunks, ``few_best_last``."""
    main = [one for one in found.run.orders if one.ending == _main_ending(found)]
    many = {one.order.replace(" ", "_"): one for one in main if one.chunks == found.options.chunks}
    few = next(one for one in main if one.chunks == found.options.few_chunks)
    return {**{name.replace(" ", "_"): many[name.replace(" ", "_")] for name in ORDERS}, "few_best_last": few}


def position_tables(found: PositionResult) -> Iterator[Table]:
    """Yield every ending by depth and by order."""
    depths = found.run.depths
    columns = ("gain_nats", "low", "high", "exact_share", "without_share")
    note = (
        "depth: share of the text before the definition; tokens_between: about so many from there to the question;"
        " without: exactly right without the definition"
    )
    yield Table(
        "by depth",
        ("context_tokens", "depth", "tokens_between", "ending", *columns),
        tuple(map(_depth_row, depths)),
        note,
    )
    yield Table(
        "by order",
        ("order", "chunks", "prompt_tokens", "ending", *columns),
        tuple((one.order, one.chunks, round(one.prompt_tokens), one.ending, *_cells(one)) for one in found.run.orders),
        "retrieved chunks before the question: best last is nearest to it",
    )


def _depth_row(one: Recalled) -> tuple[str | float, ...]:
    between = round((1 - one.depth) * one.context_tokens)
    return (one.context_tokens, round(one.depth, 2), between, one.ending, *_cells(one))


def _cells(one: Recalled | Ordered) -> tuple[float, ...]:
    gain = mean_of(gains(one))
    shares = (sum(said.exact for said in answers) / len(answers) for answers in (one.with_it, one.without))
    return (*(round(value, 2) for value in (gain.value, gain.low, gain.high)), *(round(share, 3) for share in shares))


def position_pictures(found: PositionResult) -> Iterator[Picture]:
    """Yield the gain by depth for each length of context, and by order."""
    lines: dict[int, list[Recalled]] = {}
    for one in found.run.depths:
        if one.ending == _main_ending(found):
            lines.setdefault(one.context_tokens, []).append(one)
    series = tuple(
        Series(f"{tokens} tokens", tuple(one.depth for one in ones), tuple(mean(gains(one)) for one in ones))
        for tokens, ones in lines.items()
    )
    yield Picture(f"What {_thing(found)} is worth by its depth", "depth: 0 front, 1 end", "nats gained", series)
    orders = _orders(found)
    labels = tuple(name.replace("_", " ") for name in orders)
    heights = tuple(mean(gains(one)) for one in orders.values())
    bars = (Series("nats gained", tuple(map(float, range(len(labels)))), heights),)
    yield Picture("What it is worth in retrieved chunks", "", "nats gained", bars, "bars", labels)


def position_meaning(found: PositionResult) -> tuple[str, str]:
    """Return what shape recall has here, and what order and number of chunks did about it."""
    return f"{_shape(found)}.", f"{_remedy(found)}."


def _shape(found: PositionResult) -> str:
    front, middle, end = (_at(found, depth) for _, depth in PLACES)
    at_front, in_middle, at_end = (mean(gains(one)) for one in (front, middle, end))
    values = (
        f"at the front of {_longest(found):,} tokens {_thing(found)} makes its {_main_ending(found)} {at_front:.2g}"
        f" nats likelier, in the middle {in_middle:.2g}, at the end {at_end:.2g}"
    )
    match difference(middle, front).sign, difference(middle, end).sign:
        case -1, -1:
            return f"Lost in the middle, the U: {values}"
        case 1, 1:
            return f"No U, the middle serves best: {values}"
        case 1, _:
            return f"No U, the front is lost: {values}"
        case -1, _:
            return f"No U, the front serves best: {values}"
        case 0, -1:
            return f"No U, only what stands last is recalled better: {values}"
        case 0, 1:
            return f"No U, only what stands last is recalled worse: {values}"
    return f"No shape that chance would not give over {len(front.with_it)} cases: {values}"


def _thing(found: PositionResult) -> str:
    return "a definition" if found.options.task == "code" else "a fact"


def _remedy(found: PositionResult) -> str:
    orders, options = _orders(found), found.options
    first = orders["best_first"]
    last, edges, few = (difference(orders[name], first) for name in ("best_last", "edges_first", "few_best_last"))
    return (
        f"Of {options.chunks} retrieved chunks the best one put last instead of first {_changed(last)}, the order made"
        f" for a U, the best ones at both edges, {_changed(edges)}, and only the"
        f" {f'{options.few_chunks} best' if options.few_chunks > 1 else 'best'} {_changed(few)}"
    )


def _changed(by: Mean) -> str:
    if by.sign == 0:
        return f"changes nothing beyond chance ({by.value:+.2g}, {by.low:+.2g} to {by.high:+.2g})"
    verb = "gains" if by.sign > 0 else "loses"
    low, high = sorted((abs(by.low), abs(by.high)))
    return f"{verb} {abs(by.value):.2g} nats ({low:.2g} to {high:.2g})"


def position_notes(found: PositionResult) -> Iterator[str]:
    """Yield what was put where, and what was left out."""
    options = found.options
    if options.task == "code":
        yield (
            "a constant and a function that uses it, with names put together at random, stand among"
            f" {found.run.material}; asked for, each by itself: the rest of a call, its arguments, the constant"
        )
    else:
        yield f"a made-up fact stands among {found.run.material}, with three others of its kind that are not asked for"
    yield (
        "gain: log-probability of the answer's tokens with the definition less that in the same text without it; for"
        " chunks that text has them best first. Findings and pictures are of the first ending, tables of all"
    )
    if options.model is None:
        yield "question answering was skipped: the embedded model has read Python only; --model FOLDER asks another one"
        yield "the embedded model read four fifths of its training text in sequences of 512 tokens, the rest in 1,024"
    yield (
        f"no context is longer than the {found.run.trained_tokens:,} tokens the model was made for; another model may"
        " lose another place"
    )
