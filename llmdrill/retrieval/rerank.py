"""Order candidates anew by a slower judge than the one that found them: by whole vectors, or token by token.

The third judge, which reads query and text together, is ``lab.cross_encoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmdrill.retrieval.dense import top_k
from llmdrill.retrieval.embed import embed_texts, windows

if TYPE_CHECKING:
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache

Encode = Callable[[Sequence[str]], Sequence[np.ndarray]]  # texts -> one array each


class Reranker(Protocol):
    """What judges how well texts answer a query."""

    @property
    def name(self) -> str: ...
    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return a score for each text, (N,), the higher the better; comparable within one query."""
        ...


@dataclass(frozen=True, slots=True)
class BiEncoderReranker:
    """Cosine of query and text, each embedded alone: dense search over the candidates only.

    Nothing reads query and text together, so it brings to a first stage what dense search would have found, and takes
    what only the first stage knew: behind BM25 it can lose more (codes, names, figures) than it gains, and behind dense
    search with the same embedder it changes nothing.

    Attributes:
        encode: Gives the unit vector (D,) of each text; see ``text_vectors`` and ``Kept``.
    """

    encode: Encode = field(repr=False)
    name: str = "bi-encoder"

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return cosines (N,)."""
        question, *candidates = self.encode([query, *texts])
        return np.array([candidate @ question for candidate in candidates], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class MaxSimReranker:
    """Late interaction over the token vectors of a sentence embedder: see ``maxsim``.

    Attributes:
        encode: Gives unit vectors (T, D) of each text's tokens; ``lab.embed.token_vectors``, or ``Kept`` of it.

    Error:
        ColBERT trains its encoder, a projection to 128 dimensions and the padding of the query for this score. A
        sentence embedder was trained for the mean of its token vectors: figures of the paper do not carry over.
    """

    encode: Encode = field(repr=False)
    name: str = "maxsim"

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return sums of maxima (N,)."""
        question, *candidates = self.encode([query, *texts])
        return maxsim(question, candidates)


@dataclass(frozen=True, slots=True)
class Kept:
    """Arrays computed ahead, as beside an index, and an encoder for all other texts.

    Attributes:
        arrays: By text.
    """

    encode: Encode = field(repr=False)
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def keep(self, texts: Sequence[str]) -> None:
        """Compute and keep the arrays of ``texts``."""
        new = list(dict.fromkeys(text for text in texts if text not in self.arrays))
        self.arrays.update(zip(new, self.encode(new), strict=True))

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the array of each text."""
        new = [text for text in texts if text not in self.arrays]
        fresh = dict(zip(new, self.encode(new), strict=True)) if new else {}
        return [fresh[text] if text in fresh else self.arrays[text] for text in texts]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def text_vectors(embedder: Embedder, cache: EmbeddingCache | None = None) -> Encode:
    """Return what gives the vector of each text."""
    return lambda texts: list(embed_texts(texts, embedder, cache=cache).vectors)


def of_windows(encode: Encode, embedder: Embedder) -> Encode:
    """Return what encodes texts of any length: the arrays of all windows of a text, one below the other."""

    def encode_all(texts: Sequence[str]) -> list[np.ndarray]:
        pieces = [[text[one.start : one.end] for one in windows(text, embedder, truncate=False)] for text in texts]
        arrays = iter(encode([piece for of_text in pieces for piece in of_text]))
        return [np.concatenate([next(arrays) for _ in of_text]) for of_text in pieces]

    return encode_all


def best_first(scores: np.ndarray) -> tuple[int, ...]:
    """Return positions by score (N,), highest first; where scores tie, the order they came in is kept.

    Raises:
        ValueError: If a score is NaN.

    >>> best_first(np.array([0.1, 0.9, 0.1]))
    (1, 0, 2)
    """
    return tuple(top_k(scores, k=len(scores)).indices.tolist())


def maxsim(query: np.ndarray, texts: Sequence[np.ndarray]) -> np.ndarray:
    """Return how well each text has something for every token of the query, (N,) float32.

    Formula:
        sum over the query's tokens i of the maximum over the text's tokens j of query[i] . text[j]

    Args:
        query: Unit vectors of the query's tokens, (Q, D).
        texts: Those of each text, (T, D); T differs; a text without a token scores 0.
    Source:
        Khattab and Zaharia 2020, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction
        over BERT", SIGIR, arXiv:2004.12832; ``ColBERT.score`` in stanford-futuredata/ColBERT, similarity "cosine".

    >>> maxsim(np.eye(2), [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0]])]).tolist()
    [2.0, 1.0]
    """
    # One product a text: gathering the texts into one matrix first costs more than it saves.
    best = [(text @ query.T).max(axis=0).sum() if len(text) else 0.0 for text in texts]
    return np.array(best, dtype=np.float32)
