"""Retrieve chunks by keywords, put them before a question in several orders, and ask."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.retrieval.dense import top_k
from llmdrill.retrieval.reorder import edges_first
from llmdrill.retrieval.sparse import build_bm25

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.position_cases import Haystack, Needle
    from llmdrill.lab.position_reader import Asked, Reader

POOL_CHUNKS: Final = 300  # of real text, that the retriever chooses among besides those with definitions


@dataclass(frozen=True, slots=True)
class Ordered:
    """What was said with retrieved chunks in one order; the chunk with the definition may not be among them.

    Attributes:
        order: ``best first``, ``best last`` or ``edges first``.
        chunks: That the prompt holds.
        prompt_tokens: Of chunks and what follows them, in the mean.
        ending: Its name.
        with_it: With the definition in its chunk.
        without: With the same chunks, best first, and no definition.
    """

    order: str
    chunks: int
    prompt_tokens: float
    ending: str
    with_it: tuple[Asked, ...]
    without: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Shelf:
    """All chunks that can be retrieved, and in which order they are for each case.

    Attributes:
        told: Of every case the chunk with its definition, as tokens.
        untold: The same chunks without.
        others: Chunks of real text, numbered behind those.
        ranked: Numbers of chunks for each case, best first.
    """

    told: tuple[list[int], ...]
    untold: tuple[list[int], ...]
    others: tuple[list[int], ...]
    ranked: tuple[tuple[int, ...], ...]

    @classmethod
    def stock(
        cls,
        definitions: Sequence[Sequence[int]],
        queries: Sequence[str],
        draw: Callable[[int], Haystack],
        *,
        tokens: int,
        decode: Callable[[Sequence[int]], str],
    ) -> Shelf:
        """Return chunks of at most so many tokens, a definition in the middle of one for each, ranked by BM25.

        Words that names are put together from are searched apart, as code search does.
        """
        told, untold = [], []
        for definition in definitions:
            haystack = draw(tokens - len(definition))
            ids, cut = haystack.ids, haystack.cut(0.5)
            untold.append(ids)
            told.append([*ids[:cut], *definition, *ids[cut:]])
        others = tuple(draw(tokens).ids for _ in range(POOL_CHUNKS))
        index = build_bm25(decode(chunk).replace("_", " ") for chunk in (*told, *others))
        ranked = (top_k(index.scores(query), k=index.size).indices.tolist() for query in queries)
        return cls(tuple(told), tuple(untold), others, tuple(map(tuple, ranked)))

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return at which rank, from 1, each case's own chunk is."""
        return tuple(ranked.index(case) + 1 for case, ranked in enumerate(self.ranked))

    def chunk(self, number: int, *, untold: int | None = None) -> list[int]:
        """Return the tokens of a chunk, of case ``untold`` without its definition."""
        if number >= len(self.told):
            return self.others[number - len(self.told)]
        return self.untold[number] if number == untold else self.told[number]


def ask_by_order(
    reader: Reader,
    shelf: Shelf,
    needles: Sequence[Needle],
    *,
    ends: Sequence[list[int]],
    chunks: tuple[int, int],
    say: Callable[[str], None],
) -> Iterator[Ordered]:
    """Yield what is recalled with many chunks in every order, and with few, the best of them last.

    Args:
        reader: Reads and answers.
        shelf: Chunks, ranked for each case.
        needles: The cases.
        ends: What stands behind the chunks in each case, before the question.
        chunks: Many and few.
        say: Told how far it is.
    """
    found: defaultdict[tuple[str, int, str], list[tuple[Asked, Asked]]] = defaultdict(list)
    lengths: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for case, (needle, end) in enumerate(zip(needles, ends, strict=True)):
        say(f"retrieved chunks, case {case + 1} of {len(needles)}")
        for count in chunks:
            best = shelf.ranked[case][:count]
            without = _answers(reader, needle, [shelf.chunk(number, untold=case) for number in best], end)
            for order, numbers in _orders(best, few=count == chunks[1]).items():
                held = [shelf.chunk(number) for number in numbers]
                lengths[order, count].append(sum(map(len, held)) + len(end))
                said = _answers(reader, needle, held, end)
                for ending, one, other in zip(needle.endings, said, without, strict=True):
                    found[order, count, ending.name].append((one, other))
    for (order, count, name), pairs in found.items():
        with_it, without_it = zip(*pairs, strict=True)
        mean_tokens = sum(lengths[order, count]) / len(needles)
        yield Ordered(order, count, mean_tokens, name, tuple(with_it), tuple(without_it))


def _orders(best: Sequence[int], *, few: bool) -> dict[str, Sequence[int]]:
    if few:
        return {"best last": best[::-1]}
    return {"best first": best, "edges first": edges_first(best), "best last": best[::-1]}


def _answers(reader: Reader, needle: Needle, chunks: Sequence[Sequence[int]], end: Sequence[int]) -> list[Asked]:
    reader.read([*(token for chunk in chunks for token in chunk), *end])
    return [reader.ask(ending) for ending in needle.endings]
