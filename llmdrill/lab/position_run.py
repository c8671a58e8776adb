"""Ask a decoder for what stands at each depth of its context, and for what retrieved chunks hold in each order."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.position_cases import Haystack, draw_haystack, draw_needles, load_material
from llmdrill.lab.position_orders import Ordered, Shelf, ask_by_order
from llmdrill.lab.position_reader import Reader, ending_tokens
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.lab.position_cases import Line, Material, Needle, Task
    from llmdrill.lab.position_reader import Asked

UNFINISHED_TOKENS: Final = 48  # of other code before the question, where code is completed from retrieved chunks
FEWEST_TEXT_TOKENS: Final = 64  # beside the definition and the question
FEWEST_CHUNK_TOKENS: Final = 16  # of a chunk, beside a definition
LONGEST_BY_DEFAULT: Final = 1024


@dataclass(frozen=True, slots=True)
class PositionPlan:
    """What to ask.

    Attributes:
        task: Complete ``code``, or answer from ``facts``.
        context_tokens: Lengths of the whole prompt with its answer, each in turn; none for a quarter, a half and all of
            what the model has, at most ``LONGEST_BY_DEFAULT``.
        depths: Shares of the text that stand before the definition, each in turn.
        cases: Definitions, each among other text.
        chunks: Retrieved and put into the longest context.
        few_chunks: The remedy of fewer.
    """

    task: Task
    context_tokens: tuple[int, ...]
    depths: tuple[float, ...]
    cases: int
    chunks: int
    few_chunks: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was said of one ending in all cases.

    Attributes:
        asked_depth: As planned; ``depth`` is the mean share of the text before the definition.
        ending: Its name.
        with_it: With the definition in the text.
        without: In the same text without it.
    """

    context_tokens: int
    asked_depth: float
    depth: float
    ending: str
    with_it: tuple[Asked, ...]
    without: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class PositionRun:
    """All that was seen.

    Attributes:
        material: What the text is, in words.
        trained_tokens: The model's longest context.
        ranks: That the retriever gave the chunk with the definition, from 1, in each case.
    """

    material: str
    trained_tokens: int
    depths: tuple[Recalled, ...]
    orders: tuple[Ordered, ...]
    ranks: tuple[int, ...]


def run_positions(
    plan: PositionPlan, *, model: str | None = None, seed: int = 0, say: Callable[[str], None] = lambda _: None
) -> PositionRun:
    """Place definitions at every depth and in every order, and ask for them.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If a context is longer than the model's or too short for the question.

    Source:
        Liu et al. 2023, "Lost in the Middle", arXiv:2307.03172: the position of what is needed varies, all else stays.
        Here the probability of the answer is compared with that in the same context without it.
    """
    decoder, tokenizer = load_decoder(model), load_tokenizer(model)
    longest = decoder.shape.max_positions
    if not plan.context_tokens:
        whole = min(longest, LONGEST_BY_DEFAULT)
        plan = replace(plan, context_tokens=(whole // 4, whole // 2, whole))
    if max(plan.context_tokens) > longest:
        raise UsageError(f"a context of {max(plan.context_tokens):,} tokens: this model was made for {longest:,}")
    reader = Reader(decoder, tokenizer, start=tokenizer.end_of_text_id if model is None else None)
    rng = random.Random(seed)  # noqa: S311 - draws cases, not secrets
    needles = draw_needles(plan.task, count=plan.cases, rng=rng)
    run = _Run(reader, load_material(plan.task, tokenizer), needles, plan, rng, say)
    run.require_room()
    depths = tuple(one for tokens in plan.context_tokens for one in run.by_depth(tokens))
    shelf = run.shelf()
    return PositionRun(run.material.what, longest, depths, tuple(run.by_order(shelf)), shelf.ranks)


@dataclass(frozen=True, slots=True)
class _Run:
    reader: Reader
    material: Material
    needles: tuple[Needle, ...]
    plan: PositionPlan
    rng: random.Random
    say: Callable[[str], None]

    def require_room(self) -> None:
        """Refuse a context that would hold hardly more than the question."""
        shortest, own = min(self.plan.context_tokens), max(map(self._own_tokens, self.needles))
        if shortest < own + FEWEST_TEXT_TOKENS:
            raise UsageError(
                f"a context of {shortest} tokens: definition and question take {own}, so ask for at least"
                f" {own + FEWEST_TEXT_TOKENS}"
            )
        room, least = self._chunk_room_tokens, self._longest_definition_tokens + FEWEST_CHUNK_TOKENS
        if room // self.plan.chunks < least:
            raise UsageError(
                f"{self.plan.chunks} chunks in {max(self.plan.context_tokens):,} tokens leave"
                f" {room // self.plan.chunks} for each, and a definition among text takes {least}: ask for at most"
                f" --chunks {max(0, room // least)}, or a longer --context"
            )

    def by_depth(self, tokens: int) -> Iterator[Recalled]:
        """Yield what is recalled in contexts of so many tokens."""
        depths = sorted(self.plan.depths, reverse=True)  # what stands before the definition is then read once for all
        shares: dict[float, list[float]] = {depth: [] for depth in depths}
        found: dict[tuple[float | None, str], list[Asked]] = {}
        for number, needle in enumerate(self.needles, start=1):
            self.say(f"{tokens:,} tokens of context, case {number} of {len(self.needles)}")
            haystack = self._haystack(needle, tokens)
            ids, definition = haystack.ids, self.reader.encode(needle.definition)
            self.reader.read(ids)
            self._ask(needle, None, found)
            for depth in depths:
                cut = haystack.cut(depth)
                shares[depth].append(cut / len(ids))
                self.reader.read([*definition, *ids[cut:]], after=cut)
                self._ask(needle, depth, found)
        for depth in reversed(depths):
            share = sum(shares[depth]) / len(self.needles)
            for ending in (one.name for one in self.needles[0].endings):
                with_it, without = (tuple(found[key, ending]) for key in (depth, None))
                yield Recalled(tokens, depth, share, ending, with_it, without)

    def shelf(self) -> Shelf:
        """Return chunks to retrieve from, of which the longest context holds as many as planned."""
        definitions = [self.reader.encode(needle.definition) for needle in self.needles]
        queries = [needle.query for needle in self.needles]
        tokens = self._chunk_room_tokens // self.plan.chunks
        return Shelf.stock(definitions, queries, self._draw, tokens=tokens, decode=self.reader.decode)

    def by_order(self, shelf: Shelf) -> Iterator[Ordered]:
        """Yield what is recalled with retrieved chunks in each order."""
        ends = [self._draw(self._unfinished_tokens).ids for _ in self.needles]
        counts = (self.plan.chunks, self.plan.few_chunks)
        return ask_by_order(self.reader, shelf, self.needles, ends=ends, chunks=counts, say=self.say)

    @property
    def _unfinished_tokens(self) -> int:
        return UNFINISHED_TOKENS if self.plan.task == "code" else 0

    @property
    def _chunk_room_tokens(self) -> int:
        """Return how many tokens the chunks of the longest context may have together."""
        own = max(map(self._own_tokens, self.needles))
        return max(self.plan.context_tokens) - own - self._unfinished_tokens

    @property
    def _longest_definition_tokens(self) -> int:
        return max(len(self.reader.encode(needle.definition)) for needle in self.needles)

    def _own_tokens(self, needle: Needle) -> int:
        """Return how many tokens of a prompt are no text: start, definition, distractors, the longest ending."""
        texts = (needle.definition, *needle.distractors)
        ending = max(len(cue) + len(answer) for cue, answer in self._ending_tokens(needle))
        return len(self.reader.start) + ending + sum(len(self.reader.encode(text)) for text in texts)

    def _ending_tokens(self, needle: Needle) -> Iterator[tuple[list[int], list[int]]]:
        return (ending_tokens(one, self.reader.tokenizer) for one in needle.endings)

    def _draw(self, tokens: int) -> Haystack:
        return draw_haystack(self.material, tokens=tokens, rng=self.rng)

    def _haystack(self, needle: Needle, tokens: int) -> Haystack:
        """Return text that fills a context of so many tokens, a needle's distractors among it."""
        lines: list[Line] = list(self._draw(tokens - self._own_tokens(needle)).lines)
        for text in needle.distractors:
            lines.insert(self.rng.randrange(len(lines) + 1), tuple(self.reader.encode(text)))
        return Haystack(tuple(lines))

    def _ask(self, needle: Needle, depth: float | None, found: dict[tuple[float | None, str], list[Asked]]) -> None:
        for ending in needle.endings:
            found.setdefault((depth, ending.name), []).append(self.reader.ask(ending))
