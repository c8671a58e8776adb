"""Refit the serving model's constants and print every fold: leave one architecture out, leave one accelerator out.

    python benchmarks/fit_serving.py --data serving.csv [--write llmdrill/catalog/serving.yaml] [--json]

Four constants per engine are fitted to TPOT and TTFT of closed-loop runs: the least weighted mean of |log(predicted /
measured)|, TTFT counting 0.4 of TPOT and only where it does not visibly queue; a group of runs (model, accelerator,
engine, precision) counts as the square root of its size. An engine's constants are drawn to those of all engines
together (``default``) by 0.05 times their squared log ratio, so that what its runs cannot tell stays plausible; an
engine without runs in a fold takes ``default``. Bands are the 10th and 90th percentile of measured / predicted over the
rows held out in both kinds of folds; for throughput dense models and mixtures together, a pair of model and accelerator
counting as the square root of its runs, because few pairs are there and MLPerf's prompt lengths are inferred.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import serving_runs
from serving_runs import AT_MOST, Compared, NotPredicted, Run, compare, read_rows, read_run

from llmdrill.estimate.serving_point import closed_loop, most_resident
from llmdrill.estimate.serving_steps import passes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmdrill.catalog.records import ServingConstants
    from llmdrill.estimate.serving_steps import Passes

ENGINES: Final = ("trtllm", "vllm", "sglang")
FITTED: Final = ("kernel_s", "all_reduce_s", "sequence_s", "first_token_kernel_s")
START: Final = (3e-6, 14e-6, 10e-6, 100e-6)
SAME_ARCHITECTURE: Final = {"deepseek-v3": "deepseek-r1", "llama-3.3-70b": "llama-3.1-70b"}
TTFT_WEIGHT: Final = 0.4
PULL: Final = 0.05
Constants = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One closed-loop point: its passes (their constants do not count), what memory holds, and what was measured."""

    run: Run
    passes: Passes
    held: float
    tpot_s: float | None
    ttft_s: float | None
    weight: float


def architecture(run: Run) -> str:
    return SAME_ARCHITECTURE.get(run.row["model"], run.row["model"])


def with_constants(base: ServingConstants, values: Sequence[float]) -> ServingConstants:
    return replace(base, **dict(zip(FITTED, values, strict=True)))


def points_of(runs: Iterable[Run]) -> list[Measured]:
    """Return the distinct closed-loop points of the runs, weighted by group."""
    found: dict[tuple[object, ...], dict[str, Run]] = defaultdict(dict)
    for run in runs:
        if run.scenario == "closed" and run.kind in {"tpot", "ttft"}:
            key = (architecture(run), run.accelerator.name, run.engine, run.constants.name, run.load, run.row["source"])
            found[key][run.kind] = run
    groups = Counter((key[0], key[1], key[2], key[4].precision) for key in found)  # type: ignore[attr-defined]
    points = []
    for key, kinds in found.items():
        run = next(iter(kinds.values()))
        of = passes(run.model, run.accelerator, run.load, run.constants)
        held = most_resident(run.model, run.accelerator, run.load)
        size = groups[key[0], key[1], key[2], run.load.precision]
        values = [kinds[kind].measured if kind in kinds else None for kind in ("tpot", "ttft")]
        points.append(Measured(run, of, held, values[0], values[1], size**-0.5))
    return points


def loss(points: Sequence[Measured], values: Sequence[float]) -> float:
    """Return the weighted mean error of TPOT, and 0.4 of that of TTFT."""
    errors, weights = [0.0, 0.0], [0.0, 0.0]
    for one in points:
        point = closed_loop(replace(one.passes, constants=with_constants(one.run.constants, values)), held=one.held)
        queued = one.run.load.batch > one.held >= 1
        if one.tpot_s is not None:
            errors[0] += one.weight * abs(math.log(point.tpot_s / one.tpot_s))
            weights[0] += one.weight
        if one.ttft_s is not None and not queued and one.ttft_s <= max(1.0, 2 * one.run.load.batch * point.prefill_s):
            errors[1] += one.weight * abs(math.log(point.ttft_s / one.ttft_s))
            weights[1] += one.weight
    return errors[0] / max(weights[0], 1e-9) + TTFT_WEIGHT * errors[1] / max(weights[1], 1e-9)


def fit(points: Sequence[Measured]) -> Constants:
    """Return the constants of all engines together and of each engine."""
    pooled = _minimise(lambda values: loss(points, values), START)
    found: Constants = {"default": pooled}
    for engine in ENGINES:
        own = [one for one in points if one.run.engine == engine]

        def pulled(values: Sequence[float], own: Sequence[Measured] = own) -> float:
            away = sum(math.log(value / centre) ** 2 for value, centre in zip(values, pooled, strict=True))
            return loss(own, values) + PULL * away

        found[engine] = _minimise(pulled, pooled) if own else pooled
    return found


def _minimise(of: Callable[[Sequence[float]], float], start: Sequence[float]) -> tuple[float, ...]:
    from scipy.optimize import minimize

    at = [math.log(value) for value in start]
    for _ in range(2):  # a simplex that has shrunk starts anew
        options = {"xatol": 2e-3, "fatol": 1e-6, "maxiter": 250}
        at = minimize(lambda x: of([math.exp(min(v, 0.0)) for v in x]), at, method="Nelder-Mead", options=options).x
    return tuple(float(f"{math.exp(value):.3g}") for value in at)


def held_out(runs: Sequence[Run], points: Sequence[Measured], key: Callable[[Run], str]) -> dict[str, list[Compared]]:
    """Return, fold by fold, the rows of the fold predicted with constants fitted to the others."""
    folds: dict[str, list[Compared]] = {}
    for name in sorted({key(run) for run in runs}):
        seen = [one for one in points if key(one.run) != name]
        constants = fit(seen) if len(seen) < len(points) else fitted(points)
        print(f"  fitted without {name}", file=sys.stderr)
        folds[name] = predict([run for run in runs if key(run) == name], constants)
    return folds


_ALL: dict[int, Constants] = {}


def fitted(points: Sequence[Measured]) -> Constants:
    """Return the fit to all points, made once."""
    if len(points) not in _ALL:
        _ALL[len(points)] = fit(points)
    return _ALL[len(points)]


def predict(runs: Iterable[Run], constants: Constants) -> list[Compared]:
    rows = []
    for run in runs:
        try:
            rows.append(compare(run, with_constants(run.constants, constants[run.engine])))
        except NotPredicted:
            continue  # serving_accuracy.py lists these
    return rows


def describe(name: str, rows: Sequence[Compared]) -> dict[str, object]:
    errors = sorted(abs(row.error) for row in rows)
    return {
        "fold": name,
        "n": len(rows),
        "median_error_share": round(statistics.median(errors), 4),
        "p90_error_share": round(errors[min(int(0.9 * len(errors)), len(errors) - 1)], 4),
        "bias_share": round(statistics.median(row.error for row in rows), 4),
    }


def metric_of(row: Compared) -> str:
    return row.run.kind if row.run.kind in {"tpot", "ttft"} else "throughput" if row.run.kind == AT_MOST else ""


def print_folds(kind: str, folds: dict[str, list[Compared]]) -> list[dict[str, object]]:
    """Print one line per fold, metric and class of models, and the pooled ones."""
    lines = []
    for metric in ("tpot", "ttft", "ttft without visible queueing", "throughput"):
        for models in ("dense", "moe", "all"):
            chosen = {
                name: [
                    row
                    for row in rows
                    if metric_of(row) == metric.split()[0]
                    and models in {row.run.models, "all"}
                    and not (row.queued and " " in metric)
                ]
                for name, rows in folds.items()
            }
            pooled = [row for rows in chosen.values() for row in rows]
            for name, rows in (*(chosen.items() if models != "all" else ()), ("pooled", pooled)):
                if rows:
                    lines.append({"by": kind, "metric": metric, "models": models, **describe(name, rows)})
    for line in lines:
        print(
            f"{line['by']:<13}{line['metric']:<31}{line['models']:<6}{line['fold']:<18}n {line['n']:>5}  median "
            f"{100 * line['median_error_share']:5.1f} %  p90 {100 * line['p90_error_share']:6.1f} %  bias "
            f"{100 * line['bias_share']:6.1f} %"
        )
    return lines


def bands_of(rows: Sequence[Compared]) -> list[dict[str, object]]:
    """Return the bands: 10th and 90th percentile of measured / predicted, by metric and class of models."""
    bands = []
    for metric in ("tpot", "ttft", "throughput"):
        for models in ("dense", "moe"):
            both = metric == "throughput"  # too few pairs of mixtures for a band of their own
            own = [row for row in rows if metric_of(row) == metric and (both or row.run.models == models)]
            low, high = _quantiles(own, by_pair=both)
            error = statistics.median(abs(row.error) for row in own)
            bands.append(
                {
                    "metric": metric,
                    "models": models,
                    "low": float(f"{low:.2g}"),
                    "high": float(f"{high:.3g}"),
                    "median_error": round(error, 3),
                    "rows": len(own),
                }
            )
    return bands


def _quantiles(rows: Sequence[Compared], *, by_pair: bool) -> tuple[float, float]:
    """Return the 10th and 90th percentile of measured / predicted; by_pair: a pair counts as the root of its size."""
    sizes = Counter(row.run.pair for row in rows)
    ratios = sorted((row.run.measured / row.predicted, sizes[row.run.pair] ** -0.5 if by_pair else 1.0) for row in rows)
    total, passed, found = sum(weight for _, weight in ratios), 0.0, []
    for ratio, weight in ratios:
        passed += weight
        found += [ratio] * sum(passed - weight < share * total <= passed for share in (0.1, 0.9))
    return found[0], found[1]


def covered(rows: Sequence[Compared], bands: Sequence[dict[str, object]]) -> float:
    """Return the share of rows inside the bands."""
    by = {(band["metric"], band["models"]): band for band in bands}
    inside = [
        float(str(by[metric_of(row), row.run.models]["low"]))
        <= row.run.measured / row.predicted
        <= float(str(by[metric_of(row), row.run.models]["high"]))
        for row in rows
        if metric_of(row)
    ]
    return sum(inside) / len(inside)


def prompt_lengths(runs: Sequence[Run], constants: Constants) -> dict[str, float]:
    """Return the prompt length at which the median offline MLPerf rate of each model is met."""
    found = {}
    for name in sorted({run.row["model"] for run in runs if run.metric == "mlperf_offline"}):
        own = [run for run in runs if run.metric == "mlperf_offline" and run.row["model"] == name]
        low, high = 1.0, 40_000.0
        for _ in range(30):
            middle = math.sqrt(low * high)
            moved = [replace(run, load=replace(run.load, input_tokens=middle)) for run in own]
            too_fast = statistics.median(row.error for row in predict(moved, constants)) > 0
            low, high = (middle, high) if too_fast else (low, middle)
        found[name] = float(f"{low:.2g}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a file in the format of serving.csv")
    parser.add_argument("--write", type=Path, help="the catalogue's serving.yaml: figures are replaced in place")
    parser.add_argument("--mlperf", action="store_true", help="print the prompt lengths of the MLPerf data sets only")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    if not options.data.is_file():
        parser.error(f"{options.data} is no file")
    runs = []
    for row in read_rows(options.data):
        try:
            runs.append(read_run(row))
        except NotPredicted:
            continue
    points = points_of(runs)
    constants = fitted(points)
    if options.mlperf:
        print(json.dumps({"prompt_tokens": prompt_lengths(runs, constants), "taken": serving_runs.MLPERF_PROMPTS}))
        return
    for engine, values in constants.items():
        n = sum(1 for one in points if engine in {one.run.engine, "default"})
        shown = ", ".join(f"{name} {1e6 * value:.3g} us" for name, value in zip(FITTED, values, strict=True))
        print(f"{engine:<8} {n:>5} points  {shown}")
    by_architecture = held_out(runs, points, architecture)
    by_accelerator = held_out(runs, points, lambda run: run.row["gpu"])
    lines = print_folds("architecture", by_architecture) + print_folds("accelerator", by_accelerator)
    rows = [row for folds in (by_architecture, by_accelerator) for each in folds.values() for row in each]
    bands = bands_of(rows)
    inside, in_sample = covered(rows, bands), covered(predict(runs, constants), bands)
    print(f"band: {inside:.1%} of {len(rows)} rows held out; in sample {in_sample:.1%}")
    for band in bands:
        print(f"  {band}")
    if options.write:
        options.write.write_text(rewritten(options.write.read_text(), constants, bands, points), encoding="utf-8")
    if options.json:
        print(json.dumps({"benchmark": "fit_serving", "constants": constants, "folds": lines, "bands": bands}))


def rewritten(text: str, constants: Constants, bands: Sequence[dict[str, object]], points: Sequence[Measured]) -> str:
    """Return the catalogue's file with the fitted figures put in, line by line; its words stay."""
    engine, out = "", []
    by = {(str(band["metric"]), str(band["models"])): band for band in bands}
    counts = Counter(one.run.engine for one in points)
    for line in text.splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        indent = line[: len(line) - len(line.lstrip())]
        if key == "name":
            engine = value.removesuffix("-1.0rc")
        if key in FITTED:
            out.append(f"{indent}{key}: {_yaml(constants[engine][FITTED.index(key)])}")
        elif key == "rows":
            n = sum(counts.values()) if engine == "default" else counts[engine]
            out.append(f"{indent}rows: {2 * n}")
        elif line.strip().startswith("- {metric:"):
            metric, models = (part.split(": ")[1] for part in line.strip()[3:].split(", ")[:2])
            figures = ", ".join(f"{name}: {value}" for name, value in by[metric, models].items())
            out.append(f"{indent}- {{{figures}}}")
        else:
            out.append(line)
    return "\n".join(out) + "\n"


def _yaml(value: float) -> str:
    """Return seconds in microseconds, as YAML reads a float: 12.6e-6."""
    digits = f"{value * 1e6:.3g}"
    return f"{digits if '.' in digits else digits + '.0'}e-6"


if __name__ == "__main__":
    main()
