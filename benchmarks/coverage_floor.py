"""Where to put the floor of rubric coverage: how often right sentences pass it, and how often unrelated ones do.

Right: one accept exemplar of a point, against the point's text and its other exemplar. Unrelated: the accept exemplars
of the other points of the same step. All of them are the shipped scenarios' own.
"""

from __future__ import annotations

import json

import numpy as np

from llmdrill.content import content_files
from llmdrill.grading.coverage import COVERAGE_FLOOR
from llmdrill.lab.embed import load_minilm
from llmdrill.system.scenario import RubricPoint, load_scenario

FLOORS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def main() -> None:
    """Print the shares by floor, then one JSON line."""
    embedder = load_minilm()
    right: list[float] = []
    unrelated: list[float] = []
    rejected: list[float] = []
    for path in content_files("scenarios").values():
        points = load_scenario(str(path)).scenario.rubric
        texts = sorted({text for point in points for text in (point.text, *point.accept, *point.reject)})
        vectors = dict(zip(texts, embedder.embed(texts), strict=True))
        for point in points:
            for index, sentence in enumerate(point.accept):
                others = (point.text, *(a for i, a in enumerate(point.accept) if i != index))
                right.append(nearest(vectors, sentence, others))
            rejected += [nearest(vectors, sentence, (point.text, *point.accept)) for sentence in point.reject]
            unrelated += [nearest(vectors, s, (point.text, *point.accept)) for s in elsewhere(points, point)]
    rows = [(floor, *(float(np.mean(np.array(v) >= floor)) for v in (right, unrelated, rejected))) for floor in FLOORS]
    print(f"{'floor':>6} {'right':>8} {'unrelated':>10} {'reject':>8}   n = {len(right)}, {len(unrelated)}, {len(rejected)}")
    for floor, *shares in rows:
        print(f"{floor:>6} {shares[0]:>8.3f} {shares[1]:>10.3f} {shares[2]:>8.3f}{'  <- used' if floor == COVERAGE_FLOOR else ''}")
    print(json.dumps({"floor": COVERAGE_FLOOR, "rows": rows}))


def elsewhere(points: tuple[RubricPoint, ...], point: RubricPoint) -> list[str]:
    """Return the right sentences of the other points of the same step."""
    return [text for other in points if other.step == point.step and other.id != point.id for text in other.accept]


def nearest(vectors: dict[str, np.ndarray], sentence: str, others: tuple[str, ...]) -> float:
    """Return the cosine to the nearest of ``others``."""
    return max(float(vectors[sentence] @ vectors[other]) for other in others)


main()
