"""Rubric coverage: for each point the sentences that may say it, as evidence for the person to judge. Never a credit.

Cosine similarity cannot tell a right sentence from its negation or from a pile of keywords, so it is used only to find
where to look (`check`) and to say that nothing near was found (`not found`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from llmdrill.system.scenario import RubricPoint

Suggested = Literal["check", "not found", "unknown"]
EVIDENCE_SENTENCES: Final = 2
# A sentence is evidence for the point it is nearest to, and only from this cosine on. Measured on the shipped rubrics
# by benchmarks/coverage_floor.py: 64 % of right sentences are found so, and 7 % of unrelated ones. With the two nearest
# points it is 83 % and 22 %: then an answer of ten sentences has "evidence" for nearly every point, said or not.
NEAREST_POINTS: Final = 1
COVERAGE_FLOOR: Final = 0.25
_NEGATION = re.compile(r"\b(no|not|never|none|without|nothing|cannot|neither|nor)\b|n't\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Embed(Protocol):
    """Turn texts into unit vectors, (N, D)."""

    def __call__(self, texts: Sequence[str], /) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class PointCoverage:
    """What was found for one rubric point.

    Attributes:
        point: The point's id.
        step: The step it belongs to.
        weight: 1 to 5.
        evidence: Up to two sentences of the person's own, nearest first; empty if none passed the floor.
        suggested: ``check`` (look at the evidence), ``not found``, or ``unknown`` (no embedding model here).
        warnings: Reasons to look twice: a negation, a nearer reject exemplar, a number that disagrees.
        similarity: Cosine of the first evidence to the point's text or accept exemplars; None without evidence.
    """

    point: str
    step: str
    weight: int
    evidence: tuple[str, ...]
    suggested: Suggested
    warnings: tuple[str, ...]
    similarity: float | None


def sentences(text: str) -> tuple[str, ...]:
    """Split prose into sentences and list items of at least three words.

    >>> sentences("Cache it. No!  Then rerank the top twenty.")
    ('Then rerank the top twenty.',)
    """
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])|\n+|;\s+", text)
    return tuple(part.strip(" -*\t") for part in parts if len(part.split()) >= 3)


def cover(
    points: Sequence[RubricPoint],
    words: Mapping[str, Sequence[str]],
    embed: Embed | None,
    *,
    floor: float = COVERAGE_FLOOR,
) -> tuple[PointCoverage, ...]:
    """Return the evidence for every point among the sentences of its own step.

    Args:
        points: The scenario's rubric.
        words: Step letter → what the person wrote there, in any chunks of prose.
        embed: The embedding model; None makes every point ``unknown``.
        floor: Cosine under which a sentence is no evidence.
    """
    if embed is None:
        return tuple(PointCoverage(p.id, p.step, p.weight, (), "unknown", (), None) for p in points)
    said = {step: [s for text in texts for s in sentences(text)] for step, texts in words.items()}
    texts = sorted({s for found in said.values() for s in found} | {t for p in points for t in _exemplars(p)})
    vectors = dict(zip(texts, embed(texts), strict=True)) if texts else {}
    evidence = _evidence_by_point(points, said, vectors, floor)
    return tuple(_cover_one(point, evidence[point.id], vectors) for point in points)


def _evidence_by_point(
    points: Sequence[RubricPoint], said: Mapping[str, Sequence[str]], vectors: Mapping[str, np.ndarray], floor: float
) -> dict[str, list[tuple[float, str]]]:
    """Return for each point the sentences that count as evidence, nearest first, with their cosine.

    A sentence near everything says little about anything: it counts only for the points of its step it is nearest to.
    """
    evidence: dict[str, list[tuple[float, str]]] = {point.id: [] for point in points}
    for step, sentences_of_step in said.items():
        here = [point for point in points if point.step == step]
        for sentence in dict.fromkeys(sentences_of_step):
            near = [(_nearest(vectors, sentence, (point.text, *point.accept)), point.id) for point in here]
            for cosine, name in sorted(near, key=lambda pair: -pair[0])[:NEAREST_POINTS]:
                if cosine >= floor:
                    evidence[name].append((cosine, sentence))
    return {name: sorted(found, key=lambda pair: -pair[0]) for name, found in evidence.items()}


def _exemplars(point: RubricPoint) -> tuple[str, ...]:
    return (point.text, *point.accept, *point.reject)


def _cover_one(
    point: RubricPoint, found: Sequence[tuple[float, str]], vectors: Mapping[str, np.ndarray]
) -> PointCoverage:
    if not found:
        return PointCoverage(point.id, point.step, point.weight, (), "not found", (), None)
    evidence = tuple(sentence for _, sentence in found[:EVIDENCE_SENTENCES])
    cosine, nearest = found[0]
    warnings = _warnings(point, nearest, cosine, vectors)
    return PointCoverage(point.id, point.step, point.weight, evidence, "check", warnings, cosine)


def _nearest(vectors: Mapping[str, np.ndarray], sentence: str, others: Sequence[str]) -> float:
    return max(float(vectors[sentence] @ vectors[other]) for other in others)


def _warnings(point: RubricPoint, sentence: str, near: float, vectors: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    warnings = []
    if _nearest(vectors, sentence, point.reject) > near:
        warnings.append("nearer to an answer that is wrong than to a right one")
    expected = [bool(_NEGATION.search(text)) for text in (point.text, *point.accept)]
    if bool(_NEGATION.search(sentence)) and not any(expected):
        warnings.append("contains a negation that the point does not")
    stated = set(_NUMBER.findall(sentence))
    wanted = {number for text in (point.text, *point.accept) for number in _NUMBER.findall(text)}
    if stated and wanted and not stated & wanted:
        warnings.append(f"says {', '.join(sorted(stated))} where the point says {', '.join(sorted(wanted))}")
    return tuple(warnings)
