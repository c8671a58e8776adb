"""`llmdrill calc agree`: how far raters agree, from a table of their labels."""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.errors import ContentError, Mistake, UsageError, did_you_mean, nearest_names
from llmdrill.units import format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from llmdrill.estimate.agreement import Disagreement
    from llmdrill.estimate.bootstrap import Interval
    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

    Pattern = tuple[Hashable | None, ...]
    Statistic = Callable[[Mapping[Pattern, int]], Disagreement | None]

_DELIMITERS: Final = (",", "\t", ";")
_MOST_RATERS: Final = 100
_SCALE: Final = "Landis and Koch 1977, Biometrics 33, 159-174: a convention, not a test"
_COHEN: Final = "Cohen 1960, doi:10.1177/001316446002000104; weighted as in scikit-learn 1.9.1"
_KRIPPENDORFF: Final = "Krippendorff 2011, Computing Krippendorff's Alpha-Reliability"
_KAPPA: Final = "1 − observed / chance disagreement of the two raters' labels"
_FLEISS: Final = "1 − observed / chance disagreement, chance from all ratings' shares"
_ALPHA: Final = "1 − observed / chance difference of all pairs of ratings of an item"


@dataclass(frozen=True, slots=True)
class _Ratings:
    """Counted rows: how many items got each row of labels."""

    raters: tuple[str, ...]
    patterns: Counter[Pattern]
    order: tuple[Hashable, ...] | None
    numbers: bool


def agree(
    *,
    file: Annotated[str, typer.Argument(help="A CSV: one row per item, one column per rater; - for standard input.")],
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether the first row names the raters. Default: seen from the rows."
        ),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="The raters' columns by name or number (from 1): alice,bob or 2,3.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="Labels from least to most, for ranks: low,medium,high.")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="A cell that means no rating, such as NA; an empty cell always does.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling behind the intervals.")] = 0,
) -> Answer:
    """Agreement of raters: raw, Cohen's kappa, Fleiss' kappa, Krippendorff's alpha."""
    ratings = _ratings(file, header=header, columns=columns, order=order, missing=frozenset(missing or ()))
    from llmdrill.estimate.agreement import raw_agreement_of_patterns

    apart = {name: statistic(ratings.patterns) for name, statistic in _statistics(ratings).items()}
    raw = raw_agreement_of_patterns(ratings.patterns)
    found = {"raw_agreement_share": raw, **{name: one.agreement if one else None for name, one in apart.items()}}
    intervals = _intervals(ratings, found, seed)
    figures = [] if raw is None else [_raw_figure(ratings, raw)]
    for name, one in apart.items():
        figures += _figures(name, one, ratings, intervals.get(name)) if one else ()
    known = {one.name for one in figures}
    wanted = [*found, *(f"{name}_{end}" for name in _RESAMPLED for end in ("low", "high"))]
    return Answer(
        calculator="agree",
        lines=_lines(ratings, found, intervals),
        figures=tuple(figures),
        inputs={
            "items": ratings.patterns.total(),
            "raters": ratings.raters,
            "labels": len(_labels(ratings.patterns)),
            "ratings_missing": sum(
                count * sum(label is None for label in pattern) for pattern, count in ratings.patterns.items()
            ),
            "seed": seed,
        },
        notes=_notes(ratings, found, intervals),
        unknown=tuple(name for name in wanted if name not in known),
        tables=(_pairs_table(ratings),) if len(ratings.raters) > 2 else (),
    )


_RESAMPLED: Final = ("cohens_kappa", "krippendorff_alpha")


def _statistics(ratings: _Ratings) -> dict[str, Statistic]:
    """Return the function of every figure beyond chance; those that the labels do not allow return None."""
    from llmdrill.estimate import agreement

    def kappa(patterns: Mapping[Pattern, int], *, weights: agreement.Weights) -> Disagreement | None:
        if len(ratings.raters) != 2 or (weights != "none" and ratings.order is None):
            return None
        return agreement.kappa_disagreement(_pairs(patterns, 0, 1), weights=weights, order=ratings.order)

    def alpha(patterns: Mapping[Pattern, int], *, level: agreement.Level) -> Disagreement | None:
        if (level == "interval" and not ratings.numbers) or (level == "ordinal" and ratings.order is None):
            return None
        return agreement.alpha_disagreement(patterns, level=level, order=ratings.order)

    return {
        "cohens_kappa": functools.partial(kappa, weights="none"),
        "cohens_kappa_linear": functools.partial(kappa, weights="linear"),
        "cohens_kappa_quadratic": functools.partial(kappa, weights="quadratic"),
        "fleiss_kappa": agreement.fleiss_disagreement,
        "krippendorff_alpha": functools.partial(alpha, level="nominal"),
        "krippendorff_alpha_ordinal": functools.partial(alpha, level="ordinal"),
        "krippendorff_alpha_interval": functools.partial(alpha, level="interval"),
    }


def _pairs(patterns: Mapping[Pattern, int], one: int, other: int) -> Counter[tuple[Hashable, Hashable]]:
    """Return how many items got each pair of labels from two raters; items that one left out do not count."""
    pairs = Counter[tuple["Hashable", "Hashable"]]()
    for pattern, count in patterns.items():
        first, second = pattern[one], pattern[other]
        if first is not None and second is not None:
            pairs[first, second] += count
    return pairs


def _labels(patterns: Mapping[Pattern, int]) -> set[Hashable]:
    return {label for pattern in patterns for label in pattern if label is not None}


def _intervals(ratings: _Ratings, found: Mapping[str, float | None], seed: int) -> dict[str, Interval | None]:
    import random

    from llmdrill.estimate.bootstrap import bootstrap_intervals

    functions = _statistics(ratings)
    names = [name for name in _RESAMPLED if found[name] is not None]
    rng = random.Random(seed)  # noqa: S311 - resampling, no secret

    def agreement_of(name: str, patterns: Mapping[Pattern, int]) -> float | None:
        one = functions[name](patterns)
        return one.agreement if one else None

    statistics = [functools.partial(agreement_of, name) for name in names]
    found_intervals = bootstrap_intervals(ratings.patterns, statistics, rng=rng)
    return dict(zip(names, found_intervals, strict=True))


# --- reading ------------------------------------------------------------------------------------------------------


def _ratings(
    file: str, *, header: bool | None, columns: str | None, order: str | None, missing: frozenset[str]
) -> _Ratings:
    from llmdrill.cli.calc.files import name_of, text_of

    text, name = text_of(file), name_of(file)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ContentError([Mistake(name, line, 1, "", "holds a NUL byte: it is no CSV")])
    rows = _rows(text, name)
    first = next(rows, None)
    if first is None:
        raise ContentError([Mistake(name, 1, 1, "", "is empty")])
    named, counted = _count(first, rows, header)
    if not counted:
        raise ContentError([Mistake(name, 1, 1, "", "holds a header and no items")])
    kept = _kept(columns, first if named else None, len(first))
    if len(kept) < 2:
        raise UsageError(f"{name} has one rater; agreement needs two columns at least")
    if len(kept) > _MOST_RATERS:
        raise UsageError(f"{name} has {len(kept)} columns; at most {_MOST_RATERS} raters, see --columns")
    cells = Counter[tuple[str | None, ...]]()
    for row, count in counted.items():
        cells[tuple(None if (cell := row[at]) in missing or not cell else cell for at in kept)] += count
    return _with_labels(tuple(first[at] if named else f"rater {at + 1}" for at in kept), cells, order, name)


def _rows(text: str, name: str) -> Iterator[tuple[str, ...]]:
    """Yield rows of stripped cells, all of the same length; blank lines are skipped."""
    import csv
    import io

    start = text[: text.find("\n")] if "\n" in text else text
    delimiter = next((one for one in _DELIMITERS if one in start), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    width = 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row) and len(row) < 2:
                continue
            width = width or len(row)
            if len(row) != width:
                what = f"has {len(row)} cells where the first row has {width}"
                raise ContentError([Mistake(name, reader.line_num, 1, "", what)])
            yield tuple(cell.strip() for cell in row)
    except csv.Error as error:
        raise ContentError([Mistake(name, reader.line_num, 1, "", f"is not CSV: {error}")]) from error


def _count(
    first: tuple[str, ...], rows: Iterator[tuple[str, ...]], header: bool | None
) -> tuple[bool, Counter[tuple[str, ...]]]:
    """Return whether the first row is a header, and how often each row below (or each row) occurs."""
    counted = Counter(rows)
    if header is None:
        below = {cell for row in counted for cell in row}
        numbers = all(map(_is_number, below - {""}))
        words = not any(map(_is_number, first)) if numbers and below - {""} else True
        header = all(first) and words and len(set(first)) == len(first) and not below & set(first)
    if not header:
        counted[first] += 1
    return header, counted


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _kept(columns: str | None, names: tuple[str, ...] | None, width: int) -> list[int]:
    """Return the places of the raters' columns."""
    if columns is None:
        return list(range(width))
    kept = []
    for word in (part.strip() for part in columns.split(",")):
        if names is not None and word in names:
            kept.append(names.index(word))
        elif word.isdecimal() and 1 <= int(word[:6]) <= width:
            kept.append(int(word) - 1)
        else:
            hint = did_you_mean(nearest_names(word, names or ())) or f"; there are {width}"
            raise UsageError(f"--columns: no column '{word}'{hint}")
    if len(set(kept)) < len(kept):
        raise UsageError(f"--columns {columns} names a column twice")
    return kept


def _with_labels(
    raters: tuple[str, ...], cells: Counter[tuple[str | None, ...]], order: str | None, name: str
) -> _Ratings:
    """Return the rows with labels as numbers where all of them are, and the labels' order where there is one."""
    words = {label for row in cells for label in row if label is not None}
    ordered = None if order is None else tuple(part.strip() for part in order.split(","))
    if ordered is not None and len(set(ordered)) < len(ordered):
        raise UsageError(f"--order {order} names a label twice")
    unknown = sorted(words - set(ordered)) if ordered is not None else []
    if unknown:
        raise UsageError(f"--order leaves out the label '{unknown[0][:40]}' of {name}; name all, from least to most")
    numbers = bool(words) and all(map(_is_number, words))
    patterns = Counter["Pattern"]()
    for row, count in cells.items():
        patterns[tuple(float(cell) if numbers and cell is not None else cell for cell in row)] += count
    labels: tuple[Hashable, ...] | None = tuple(sorted(map(float, words))) if numbers else None
    if labels is None and len(words) < 3:  # two labels are apart by one step, whichever comes first
        labels = tuple(sorted(words))
    if ordered is not None:
        labels = tuple(map(float, ordered)) if numbers and all(map(_is_number, ordered)) else ordered
    return _Ratings(raters, patterns, tuple(dict.fromkeys(labels)) if labels is not None else None, numbers)


# --- showing ------------------------------------------------------------------------------------------------------


def _raw_figure(ratings: _Ratings, value: float) -> Explained:
    from llmdrill.estimate.explain import Explained, figure

    twice = sum(count for pattern, count in ratings.patterns.items() if sum(one is not None for one in pattern) > 1)
    formula = "sum over items of agreeing pairs / pairs of ratings, over the items rated twice"
    filled = f"{figure(value * twice)} / {figure(twice)} = {figure(value)}"
    source = "Fleiss 1971, doi:10.1037/h0031619"
    return Explained("raw_agreement_share", value, "share", formula, filled, source)


def _figures(name: str, apart: Disagreement, ratings: _Ratings, interval: Interval | None) -> Iterator[Explained]:
    from llmdrill.estimate.explain import Explained, figure

    observed, chance = apart.observed / apart.pairs, apart.chance / apart.pairs
    formula, source = {
        "cohens": (_KAPPA, _COHEN),
        "fleiss": (_FLEISS, "Fleiss 1971, doi:10.1037/h0031619"),
        "krippendorff": (_ALPHA, _KRIPPENDORFF),
    }[name.partition("_")[0]]
    filled = f"1 − {figure(observed)} / {figure(chance)} = {figure(apart.agreement)}"
    yield Explained(name, apart.agreement, "count", formula, filled, source)
    for end in ("low", "high") if interval is not None else ():
        bound = float(getattr(interval, end))
        quantile = "2.5 %" if end == "low" else "97.5 %"
        yield Explained(
            f"{name}_{end}",
            bound,
            "count",
            f"{quantile} quantile over resampled items",
            f"{figure(bound)} of {ratings.patterns.total():,} items resampled",
            "percentile bootstrap, seeded",
        )


def _lines(
    ratings: _Ratings, found: Mapping[str, float | None], intervals: Mapping[str, Interval | None]
) -> tuple[str, ...]:
    raw = found["raw_agreement_share"]
    head = f"{ratings.patterns.total():,} items, {len(ratings.raters)} raters"
    agreed = "no item was rated twice" if raw is None else f"raw agreement {format_share(raw)}"
    words = {
        "cohens_kappa": "Cohen's kappa",
        "cohens_kappa_linear": "Cohen's kappa, linear weights",
        "cohens_kappa_quadratic": "Cohen's kappa, quadratic weights",
        "fleiss_kappa": "Fleiss' kappa",
        "krippendorff_alpha": "Krippendorff's alpha, nominal",
        "krippendorff_alpha_ordinal": "Krippendorff's alpha, ordinal",
        "krippendorff_alpha_interval": "Krippendorff's alpha, interval",
    }
    return (
        f"{head}: {agreed}",
        *(
            _line(word, value, intervals.get(name))
            for name, word in words.items()
            if (value := found[name]) is not None
        ),
    )


def _line(word: str, value: float, interval: Interval | None) -> str:
    from llmdrill.estimate.agreement import verdict

    between = f" (95 % {interval.low:.3f} to {interval.high:.3f})" if interval else ""
    return f"{word}: {round(value, 3) + 0:.3f}{between}, {verdict(value)}"


def _notes(
    ratings: _Ratings, found: Mapping[str, float | None], intervals: Mapping[str, Interval | None]
) -> tuple[str, ...]:
    labels, notes = _labels(ratings.patterns), []
    if len(labels) < 2:
        notes.append("one label only: agreement beyond chance is undefined, not perfect")
    else:
        notes.append(f"the words slight to almost perfect are {_SCALE}")
    if len(ratings.raters) > 2:
        notes.append("Cohen's kappa is for two raters: the table has each pair")
    elif found["fleiss_kappa"] is None and len(labels) > 1:
        notes.append("Fleiss' kappa needs as many ratings for every item")
    if ratings.order is None:
        notes.append("weighted and ordinal agreement need the labels from least to most: --order low,medium,high")
    items = ratings.patterns.total()
    if found["raw_agreement_share"] is not None and len(labels) > 1 and not any(intervals.values()):
        notes.append("no interval: too many items or labels to resample, or too few of them rated twice")
    for at, rater in enumerate(ratings.raters):
        if items > 9 and len({pattern[at] for pattern in ratings.patterns}) == items:
            notes.append(
                f"every item has another label in column '{rater}': an identifier? leave it out with --columns"
            )
    return tuple(notes)


def _pairs_table(ratings: _Ratings) -> Table:
    from llmdrill.estimate.agreement import kappa_of_pairs
    from llmdrill.table import Table

    def row(one: int, other: int) -> tuple[str, str, int, float | None]:
        pairs = _pairs(ratings.patterns, one, other)
        return ratings.raters[one], ratings.raters[other], pairs.total(), kappa_of_pairs(pairs)

    rows: Sequence[tuple[str, str, int, float | None]] = [
        row(one, other) for one, other in combinations(range(len(ratings.raters)), 2)
    ]
    return Table("pairs of raters", ("rater", "other", "items", "cohens_kappa"), tuple(rows))
