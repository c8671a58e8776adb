"""Measure the serving model's error on published runs: one line per model and accelerator, then one JSON line.

A row that the model does not predict is counted and named with the reason, never dropped in silence.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdrill.catalog.load import find_accelerator, find_model, find_serving
from llmdrill.errors import UnknownNameError
from llmdrill.estimate.serving import tpot_s, ttft_s
from llmdrill.estimate.serving_steps import Load, prefill_s

if TYPE_CHECKING:
    from collections.abc import Mapping

STATED_PRECISION = {"": "bf16"}  # the source does not say; the fastest runs fit 16-bit weights
PREDICTORS = {"tpot": tpot_s, "ttft": ttft_s, "ttft alone": prefill_s}


@dataclass(frozen=True)
class Compared:
    """One measured time and its prediction."""

    model: str
    gpu: str
    metric: str
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        return abs(self.predicted_s - self.measured_s) / self.measured_s


def compare(row: Mapping[str, str], engine: str) -> Compared | str:
    """Return the comparison of one row, or why there is none."""
    if row["metric"] not in {"tpot", "ttft"}:
        return f"metric {row['metric']}"
    if row["precision"] == "fp4":
        return "fp4 arithmetic"
    try:
        model, accelerator = find_model(row["model"]), find_accelerator(row["gpu"])
    except UnknownNameError as unknown:
        return f"no {unknown.kind} {unknown.name} in the catalogue"
    if model.experts is not None:
        return "mixture of experts: constants not fitted"
    static = row["scenario"].startswith("static")
    metric = "ttft alone" if static else row["metric"]
    load = Load(
        batch=float(row["batch_or_concurrency"]),
        input_tokens=float(row["input_len"]),
        output_tokens=float(row["output_len"]),
        tensor_parallel=int(row["tp"]),
        precision=STATED_PRECISION.get(row["precision"], row["precision"]),
    )
    predicted = PREDICTORS[metric](model, accelerator, load, find_serving(engine))
    return Compared(row["model"], row["gpu"], metric, float(row["value"]) / 1000, predicted)


def summary(rows: list[Compared]) -> dict[str, float | int]:
    """Return n, median and 90th percentile of the error, and the 10th and 90th of measured / predicted."""
    errors = sorted(row.error for row in rows)
    ratios = sorted(row.measured_s / row.predicted_s for row in rows)
    return {
        "n": len(rows),
        "median_error_share": round(statistics.median(errors), 4),
        "p90_error_share": round(errors[int(0.9 * (len(errors) - 1))], 4),
        "measured_over_predicted_p10": round(ratios[int(0.1 * (len(ratios) - 1))], 4),
        "measured_over_predicted_p90": round(ratios[int(0.9 * (len(ratios) - 1))], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="serving.csv")
    parser.add_argument("--engine", default="continuous-batching")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args()
    with options.data.open(encoding="utf-8", newline="") as file:
        results = [compare(row, options.engine) for row in csv.DictReader(file)]
    left_out = Counter(result for result in results if isinstance(result, str))
    groups: dict[tuple[str, str, str], list[Compared]] = defaultdict(list)
    for result in results:
        if isinstance(result, Compared):
            groups[result.metric, result.model, result.gpu].append(result)
            groups[result.metric, "all", "all"].append(result)
    lines = [
        {"metric": metric, "model": model, "gpu": gpu, **summary(rows)}
        for (metric, model, gpu), rows in sorted(groups.items())
    ]
    if not options.json:
        for line in lines:
            print(" ".join(f"{value!s:>16}" for value in line.values()))
        for reason, count in left_out.most_common():
            print(f"{count:>6} rows not predicted: {reason}")
    print(json.dumps({"benchmark": "serving_accuracy", "groups": lines, "not_predicted": dict(left_out)}))


if __name__ == "__main__":
    main()
