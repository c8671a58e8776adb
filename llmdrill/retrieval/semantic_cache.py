"""A semantic cache: the nearest question answered before, if it is near enough, and how often that is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from pydantic import Field, RootModel

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError
from llmdrill.fields import FileModel, Identifier, Prose

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

PAIRS_FILE: Final = Path(__file__).with_name("semantic_cache_pairs.yaml")
Difference = Literal["entity", "number", "negation", "direction", "time", "scope"]
Relation = Literal["same", "other", "unrelated"]
DIFFERENCES: Final[tuple[Difference, ...]] = get_args(Difference)
DEV_HALF: Final = 8  # of sixteen values of a hash's first digit


class Group(FileModel):
    """A question that was answered, others that mean the same, and others that nearly do."""

    id: Identifier
    cached: Prose
    same: tuple[Prose, ...] = Field(min_length=1)
    other: dict[Difference, Prose] = Field(min_length=1)


class _PairsFile(RootModel[tuple[Group, ...]]):
    """The file is a list of groups."""


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """A question put to the cache.

    Attributes:
        group: Of the pairs file.
        relation: ``same``: the group's answer is right; ``other``: it is wrong; ``unrelated``: the cache holds nothing
            on it (the group's own question is taken out).
        difference: What an ``other`` differs in.
        split: Groups are split in halves by the hash of their id: thresholds are chosen on ``dev`` alone.
    """

    text: str
    group: str
    relation: Relation
    difference: Difference | None
    split: Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a cache that holds every group's question found for one: the nearest, and whether its answer is right."""

    query: CacheQuery
    nearest: str
    similarity: float

    @property
    def right(self) -> bool:
        """Whether a hit would give the right answer."""
        return self.query.relation == "same" and self.nearest == self.query.group


def load_pairs(path: Path = PAIRS_FILE) -> tuple[Group, ...]:
    """Return the groups of a pairs file.

    Raises:
        ContentError: If it is malformed, an id or a question comes twice.
    """
    located = load_yaml(path)
    groups = validate(located, _PairsFile).root
    seen: dict[str, str] = {}
    mistakes = []
    for at, group in enumerate(groups):
        for text in (group.cached, *group.same, *group.other.values()):
            if text in seen:
                mistakes.append(located.mistake((at,), f"'{text}' stands in '{seen[text]}' too"))
            seen[text] = group.id
    if len({group.id for group in groups}) < len(groups):
        mistakes.append(located.mistake((), "two groups have the same id"))
    if mistakes:
        raise ContentError(mistakes)
    return groups


def cache_queries(groups: Sequence[Group]) -> tuple[CacheQuery, ...]:
    """Return every question that is put to the cache."""
    queries = []
    for group in groups:
        split = split_of(group.id)
        queries += [CacheQuery(text, group.id, "same", None, split) for text in group.same]
        queries += [CacheQuery(text, group.id, "other", kind, split) for kind, text in group.other.items()]
        queries.append(CacheQuery(group.cached, group.id, "unrelated", None, split))
    return tuple(queries)


def split_of(group: str) -> Literal["dev", "test"]:
    """Return the half a group is in: by the first hexadecimal digit of its id's sha256."""
    return "dev" if int(hashlib.sha256(group.encode()).hexdigest()[0], 16) < DEV_HALF else "test"


def look_up(
    groups: Sequence[Group], queries: Sequence[CacheQuery], *, cached: np.ndarray, asked: np.ndarray
) -> tuple[Looked, ...]:
    """Return the nearest cached question of each query by cosine.

    Args:
        groups: Whose questions the cache holds; all groups, so that a query may hit another group's answer.
        queries: What is asked. An ``unrelated`` one does not find its own group.
        cached: Unit vectors of the groups' questions, (G, D).
        asked: Unit vectors of the queries, (Q, D).
    """
    cosine = asked @ cached.T  # (Q, G)
    place = {group.id: at for at, group in enumerate(groups)}
    for row, query in enumerate(queries):
        if query.relation == "unrelated":
            cosine[row, place[query.group]] = -1.0
    best = cosine.argmax(axis=1)
    return tuple(
        Looked(query, groups[int(at)].id, float(cosine[row, at]))
        for row, (query, at) in enumerate(zip(queries, best, strict=True))
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """What share of the requests asks again what is cached, and what share nearly does; the rest is unrelated."""

    same_share: float
    other_share: float

    def share(self, relation: Relation) -> float:
        """Return the share of a relation."""
        return {
            "same": self.same_share,
            "other": self.other_share,
            "unrelated": 1.0 - self.same_share - self.other_share,
        }[relation]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a threshold does to a traffic.

    Attributes:
        hit_share: Requests answered from the cache, right or wrong.
        wrong_share: Of the hits, those with the answer to another question; None without a hit.
        found_share: Of the requests whose answer is cached, those that get it.
    """

    threshold: float
    hit_share: float
    wrong_share: float | None
    found_share: float


def rates_at(looked: Sequence[Looked], traffic: Traffic, *, threshold: float) -> Rates:
    """Return hits and wrong hits at a threshold, each kind of request weighted by its share of the traffic.

    Formula:
        hit_share = sum over relations of share * (its queries with similarity >= threshold) / (its queries)
    """
    hits = wrong = found = 0.0
    for relation in get_args(Relation):
        of_kind = [one for one in looked if one.query.relation == relation]
        if not of_kind:
            continue
        passed = [one for one in of_kind if one.similarity >= threshold]
        rights = sum(one.right for one in passed)
        weight = traffic.share(relation) / len(of_kind)
        hits += weight * len(passed)
        wrong += weight * (len(passed) - rights)
        if relation == "same":
            found = rights / len(of_kind)
    return Rates(threshold, hits, wrong / hits if hits else None, found)
