"""Measure the serving estimate's error on published runs, beside the pure roofline's: a table, then one JSON line.

    python benchmarks/serving_accuracy.py --data FILE.csv [--json]

Every row of the file is predicted, or counted and listed with the reason. TTFT is given with all rows and without those
that visibly queued: more clients than the memory holds by the estimate, or a TTFT of over a second that is more than
twice what the prompts of all clients take one after another. Throughput is given at maximum load (static batches,
infinite request rates, MLPerf offline), under a latency limit (MLPerf server and interactive) and at a given load.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

from serving_runs import AT_LOAD, AT_MOST, LIMITED, Compared, NotPredicted, compare, read_rows, read_run

METRICS = ("tpot", "ttft", "ttft without visible queueing", AT_MOST, LIMITED, AT_LOAD)
EXAMPLES = 3


def compare_file(path: Path) -> tuple[list[Compared], dict[str, list[str]]]:
    """Return every row compared, and the rows that are not predicted by reason."""
    compared: list[Compared] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(read_rows(path), start=2):
        try:
            compared.append(compare(read_run(row)))
        except NotPredicted as reason:
            what = " ".join(row.get(name, "") for name in ("model", "gpu", "precision", "metric", "framework"))
            left_out[str(reason)].append(f"line {number}: {what}")
        except Exception as error:  # noqa: BLE001 - a row that nobody foresaw is listed too
            left_out[f"{type(error).__name__}: {error}"].append(f"line {number}")
    return compared, left_out


def summary(rows: list[Compared]) -> dict[str, float | int]:
    """Return n, errors of the estimate and of the roofline, and the share inside the stated band."""
    return {
        "n": len(rows),
        **_errors([row.error for row in rows]),
        **{f"roofline_{name}": value for name, value in _errors([row.roofline_error for row in rows]).items()},
        "in_band_share": round(sum(row.in_band for row in rows) / len(rows), 4),
    }


def _errors(signed: list[float]) -> dict[str, float]:
    sizes = sorted(map(abs, signed))
    return {
        "median_error_share": round(statistics.median(sizes), 4),
        "mean_error_share": round(statistics.fmean(sizes), 4),
        "p90_error_share": round(sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)], 4),
        "bias_share": round(statistics.median(signed), 4),
    }


def group_rows(compared: list[Compared]) -> list[dict[str, object]]:
    """Return one summary per metric and: all, models, engine, models of an engine, model and accelerator."""
    groups: dict[tuple[str, str, str], list[Compared]] = defaultdict(list)
    for row in compared:
        run = row.run
        names = [run.kind]
        if run.kind == "ttft" and not row.queued:
            names.append("ttft without visible queueing")
        for metric in names:
            groups[metric, "all", "all"].append(row)
            groups[metric, "models", run.models].append(row)
            groups[metric, "engine", run.engine].append(row)
            groups[metric, "engine and models", f"{run.engine} {run.models}"].append(row)
            groups[metric, "model and accelerator", " on ".join(run.pair)].append(row)
    order = {"all": 0, "models": 1, "engine": 2, "engine and models": 3, "model and accelerator": 4}
    keys = sorted(groups, key=lambda key: (METRICS.index(key[0]), order[key[1]], key[2]))
    return [
        {"metric": metric, "by": by, "name": name, **summary(groups[metric, by, name])} for metric, by, name in keys
    ]


def show(groups: list[dict[str, object]], left_out: dict[str, list[str]]) -> None:
    """Print the table: errors in percent."""
    print(f"{'':56}{'n':>6}{'median':>8}{'mean':>8}{'p90':>8}{'bias':>8}   {'roofline':>8}{'in band':>9}")
    metric = ""
    for group in groups:
        if group["metric"] != metric:
            metric = str(group["metric"])
            print(f"\n{metric} (error in percent)")
        figures = [group[f"{name}_share"] for name in ("median_error", "mean_error", "p90_error", "bias")]
        cells = "".join(f"{100 * float(str(one)):>8.1f}" for one in figures)
        roofline, inside = (100 * float(str(group[name])) for name in ("roofline_median_error_share", "in_band_share"))
        print(f"  {group['name']!s:54}{group['n']:>6}{cells}   {roofline:>8.1f}{inside:>9.1f}")
    print(f"\nnot predicted: {sum(map(len, left_out.values()))} rows")
    for reason, lines in sorted(left_out.items(), key=lambda item: -len(item[1])):
        print(f"  {len(lines):>5}  {reason} ({'; '.join(lines[:EXAMPLES])})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a file in the format of serving.csv")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    if not options.data.is_file():
        parser.error(f"{options.data} is no file")
    compared, left_out = compare_file(options.data)
    groups = group_rows(compared)
    if not options.json:
        show(groups, left_out)
    result = {
        "benchmark": "serving_accuracy",
        "rows": len(compared) + sum(map(len, left_out.values())),
        "predicted": len(compared),
        "groups": groups,
        "not_predicted": {reason: len(lines) for reason, lines in left_out.items()},
        "not_predicted_lines": left_out,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
