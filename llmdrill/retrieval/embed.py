"""Turn texts into unit vectors through an embedder that sees only so many tokens, and a cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from llmdrill.errors import InterruptedByPersonError
from llmdrill.retrieval.chunk import sentence_chunks
from llmdrill.retrieval.progress import Progress, in_words, left

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

GROUP_TEXTS: Final = 256  # embedded and put into the cache at once: what an interruption may lose
READ_TEXTS: Final = 4096  # looked up in the cache at once
SAMPLE_TEXTS: Final = 128  # embedded first, to say how long the rest will take
SPARE_TOKENS: Final = 16  # a text cut out of a longer one may have so many more than were counted there
FORECAST_FROM_TEXTS: Final = 2048  # fewer are done before a forecast is worth reading


class Embedder(Protocol):
    """What turns text into vectors; the lab has the real one.

    Attributes:
        max_tokens: Tokens of a text that it sees, special tokens not counted.
        sha256: Of its weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def dimensions(self) -> int: ...
    def token_spans(self, text: str) -> np.ndarray:
        """Return the character spans of the text's tokens, (T, 2)."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text, (N, D) float32."""
        ...


class EmbeddingCache(Protocol):
    """Vectors by key; what it has lost is embedded anew."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the vectors of those keys it holds."""
        ...

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors (D,)."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text that the embedder sees at once: characters ``start`` to ``end``, ``tokens`` tokens."""

    start: int
    end: int
    tokens: int


def windows(text: str, embedder: Embedder, *, truncate: bool, tokens: int | None = None) -> tuple[Window, ...]:
    """Return what the embedder sees of a text: all of it in windows cut between sentences, or its beginning only.

    Args:
        text: Of any length.
        embedder: Whose tokens count.
        truncate: See only the beginning.
        tokens: Those of the text as counted within a larger one: where they fit with room to spare, none are counted
            again. Cut out, a text has other tokens only where the cut goes through a word.
    """
    if tokens is not None and tokens + SPARE_TOKENS <= embedder.max_tokens:
        return (Window(0, len(text), tokens),)
    spans = embedder.token_spans(text)
    if len(spans) <= embedder.max_tokens:
        return (Window(0, len(text), len(spans)),)
    if truncate:
        return (Window(0, int(spans[embedder.max_tokens - 1, 1]), embedder.max_tokens),)
    pieces = sentence_chunks(text, document="", spans=spans, size_tokens=embedder.max_tokens, overlap_tokens=0)
    return tuple(Window(piece.start, piece.end, piece.tokens) for piece in pieces)


@dataclass(frozen=True, slots=True)
class EmbeddingWork:
    """What there was to embed.

    Attributes:
        texts: Distinct pieces of text.
        fresh: Of them, those the cache did not hold.
        seconds: Spent on embedding those.
        expected_s: What the first few let one expect; None where there were too few to say.
    """

    texts: int
    fresh: int
    seconds: float = 0.0
    expected_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Unit vectors of texts, (N, D), and the windows of each that the embedder saw."""

    vectors: np.ndarray
    seen: tuple[tuple[Window, ...], ...]
    work: EmbeddingWork = field(default=EmbeddingWork(0, 0))


def embed_texts(
    texts: Sequence[str],
    embedder: Embedder,
    *,
    truncate: bool = False,
    tokens: Sequence[int] | None = None,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Embedded:
    """Embed texts of any length.

    A text of more than ``max_tokens`` is the mean of its windows' vectors, weighted by their tokens and brought back to
    unit length; with ``truncate`` it is the vector of its first ``max_tokens`` tokens. ``tokens``: see ``windows``.

    Raises:
        InterruptedByPersonError: At Ctrl-C, where a cache keeps what was embedded so far.
    """
    counts: Iterable[int | None] = repeat(None) if tokens is None else tokens
    seen = tuple(
        windows(text, embedder, truncate=truncate, tokens=count) for text, count in zip(texts, counts, strict=False)
    )
    pieces = [text[window.start : window.end] for text, parts in zip(texts, seen, strict=True) for window in parts]
    if not pieces:
        return Embedded(np.zeros((0, embedder.dimensions), dtype=np.float32), seen)
    vectors, work = _Pieces(pieces, embedder, cache, progress or Progress()).vectors()  # (windows, D)
    if len(pieces) > len(seen):
        weights = np.array([max(window.tokens, 1) for parts in seen for window in parts], dtype=np.float32)
        vectors *= weights[:, None]
        first = np.cumsum([0, *(len(parts) for parts in seen[:-1])])
        vectors = np.add.reduceat(vectors, first, axis=0)  # (N, D)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Embedded(vectors, seen, work)


def embedding_key(piece: str, embedder: Embedder) -> str:
    """Return what a piece's vector is kept under: sha256 of the weights, precision, pooling, sha256 of the text.

    Precisions of the same weights give vectors that differ a little, and poolings quite others: none of them may mix.
    """
    settings = (str(getattr(embedder, name, "")) for name in ("precision", "pooling"))
    return "/".join([embedder.sha256, *settings, hashlib.sha256(piece.encode("utf-8", "surrogatepass")).hexdigest()])


class _Pieces:
    """Pieces of text, each no longer than the embedder sees; each distinct one is embedded once, the cache asked first.

    Memory stays at one vector for each piece: they are written where they belong, group by group.
    """

    def __init__(
        self, pieces: Sequence[str], embedder: Embedder, cache: EmbeddingCache | None, progress: Progress
    ) -> None:
        self.pieces, self.embedder, self.cache, self.progress = pieces, embedder, cache, progress
        self.rows: dict[str, list[int]] = {}  # key -> where its piece stands
        for row, piece in enumerate(pieces):
            self.rows.setdefault(embedding_key(piece, embedder), []).append(row)
        self.out = np.empty((len(pieces), embedder.dimensions), dtype=np.float32)

    def vectors(self) -> tuple[np.ndarray, EmbeddingWork]:
        """Return all vectors (pieces, D) and what it took."""
        # The longest first: texts of one length go together, and the time left comes out too long rather than short.
        missing = sorted(self._missing(), key=self._characters, reverse=True)
        if not missing:
            return self.out, EmbeddingWork(len(self.rows), 0)
        begun, expected_s = self.progress.now(), None
        try:
            rest = missing
            if len(missing) >= FORECAST_FROM_TEXTS:
                self._embed(missing[:1])  # the weights load, and whatever else happens once
                begun, sample = self.progress.now(), set(missing[1 :: len(missing) // SAMPLE_TEXTS])
                expected_s = self._forecast(missing, sample)
                rest = [key for key in missing[1:] if key not in sample]
            self._embed_groups(rest, len(missing))
        except (KeyboardInterrupt, InterruptedByPersonError):
            if self.cache is None:
                raise
            raise InterruptedByPersonError(
                "interrupted: the vectors computed so far are kept; the same command goes on from there"
            ) from None
        return self.out, EmbeddingWork(len(self.rows), len(missing), self.progress.now() - begun, expected_s)

    def _missing(self) -> list[str]:
        """Fill in what the cache holds; return the keys of the rest."""
        keys = list(self.rows)
        if self.cache is None:
            return keys
        missing = []
        for start in range(0, len(keys), READ_TEXTS):
            some = keys[start : start + READ_TEXTS]
            held = self.cache.get_many(some)
            for key in some:
                if key in held:
                    self.out[self.rows[key]] = held[key]
                else:
                    missing.append(key)
        return missing

    def _forecast(self, missing: Sequence[str], sample: Collection[str]) -> float:
        """Embed a sample, tell how long all of it will take, and return that."""
        begun = self.progress.now()
        self._embed([key for key in missing if key in sample])
        took_s = self.progress.now() - begun
        expected_s = took_s * sum(map(self._characters, missing)) / max(1, sum(map(self._characters, sample)))
        self.progress.tell(
            f"embedding {len(missing):,} new texts will take about {in_words(expected_s)}, judging by {len(sample)} of"
            f" them; Ctrl-C {'keeps what is done' if self.cache else 'loses it: there is no cache'}"
        )
        return expected_s

    def _embed_groups(self, keys: Sequence[str], total: int) -> None:
        work = [self._characters(key) for key in keys]
        done, all_of_it = 0, max(1, sum(work))
        before, began = total - len(keys), self.progress.now()
        for start in range(0, len(keys), GROUP_TEXTS):
            share = done / all_of_it
            self.progress.say(f"embedded {before + start:,} of {total:,}{left(began, self.progress.now(), share)}")
            self._embed(keys[start : start + GROUP_TEXTS])
            done += sum(work[start : start + GROUP_TEXTS])

    def _embed(self, keys: Sequence[str]) -> None:
        """Embed one group and keep its vectors."""
        fresh = dict(zip(keys, self.embedder.embed([self.pieces[self.rows[key][0]] for key in keys]), strict=True))
        for key, vector in fresh.items():
            self.out[self.rows[key]] = vector
        if self.cache is not None:
            self.cache.put_many(fresh)

    def _characters(self, key: str) -> int:
        """Return how long a piece is: what embedding it takes grows with that."""
        return len(self.pieces[self.rows[key][0]])
