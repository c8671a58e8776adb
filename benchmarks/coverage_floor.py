"""How often rubric coverage finds a right sentence, and how often an unrelated one, for several floors and ranks.

Right: an accept exemplar of a point, judged with that exemplar taken out of the rubric. Unrelated: the same sentence
against the other points of its step. All of them are the shipped scenarios' own; nothing is fitted beyond the choice of
one row of this table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from llmdrill.folders import content_files
from llmdrill.grading.coverage import COVERAGE_FLOOR, NEAREST_POINTS
from llmdrill.lab.embed import load_minilm
from llmdrill.system.scenario import RubricPoint, load_scenario

FLOORS = (0.2, 0.25, 0.3, 0.35, 0.4)
RANKS = (1, 2, 3, 99)


@dataclass(frozen=True)
class Judged:
    """One sentence against the points of its step: cosines, nearest first, and where its own point stands."""

    cosines: list[float]
    own_rank: int


def main() -> None:
    """Print the table, then one JSON line."""
    judged = [one for path in content_files("scenarios").values() for one in judge(str(path))]
    unrelated = sum(len(one.cosines) - 1 for one in judged)
    print(f"{'floor':>6} {'nearest':>8} {'right':>8} {'unrelated':>10}   n = {len(judged)}, {unrelated}")
    rows = []
    for floor in FLOORS:
        for rank in RANKS:
            right, wrong = shares(judged, floor, rank)
            used = "  <- used" if (floor, rank) == (COVERAGE_FLOOR, NEAREST_POINTS) else ""
            print(f"{floor:>6} {'all' if rank == 99 else rank:>8} {right:>8.3f} {wrong:>10.3f}{used}")
            rows.append({"floor": floor, "nearest": rank, "right": round(right, 4), "unrelated": round(wrong, 4)})
    print(json.dumps({"rows": rows}))


def judge(path: str) -> list[Judged]:
    """Return every accept exemplar of a scenario against the points of its step."""
    points = load_scenario(path).scenario.rubric
    texts = sorted({text for point in points for text in (point.text, *point.accept)})
    vectors = dict(zip(texts, load_minilm().embed(texts), strict=True))
    judged = []
    for point in points:
        step = [other for other in points if other.step == point.step]
        for sentence in point.accept:
            near = [max(float(vectors[sentence] @ vectors[t]) for t in exemplars(o, sentence)) for o in step]
            order = [int(index) for index in np.argsort([-cosine for cosine in near], kind="stable")]
            judged.append(Judged([near[index] for index in order], order.index(step.index(point))))
    return judged


def exemplars(point: RubricPoint, without: str) -> list[str]:
    """Return a point's text and accept exemplars, one of them taken out."""
    return [point.text, *(text for text in point.accept if text != without)]


def shares(judged: list[Judged], floor: float, rank: int) -> tuple[float, float]:
    """Return the share of right and of unrelated pairs that count as evidence."""
    right, wrong = [], []
    for one in judged:
        for place, cosine in enumerate(one.cosines):
            (right if place == one.own_rank else wrong).append(place < rank and cosine >= floor)
    return float(np.mean(right)), float(np.mean(wrong))


main()
