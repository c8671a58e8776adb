"""BM25 as Lucene computes it, over posting lists in numpy arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from llmdrill.errors import MissingExtraError

K1: Final = 1.2
B: Final = 0.75
# Lucene's English list, which bm25s takes over.
_STOP_WORDS: Final = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this"
    " to was will with"
)
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
WORDS: Final = re.compile(r"\b\w\w+\b")
# A letter-led word with a part that starts with a digit (e-4021, hp-rib-110w) or a version (2.4.1); else a word.
# "14-day" and "h4-compatible" stay two words: their parts are what people search for.
CODES_AND_WORDS: Final = re.compile(r"\b[^\W\d_]\w*(?:-\w+){0,4}?-\d\w*(?:-\w+)*|\bv?\d+(?:\.\d+)+\b|\b\w\w+\b")

Tokenizer = Callable[[str], list[str]]


def word_tokenizer(*, stem: bool = False, codes: bool = False) -> Tokenizer:
    """Return a function that cuts a text into lower-case search terms without English stop words.

    Args:
        stem: Reduce words to their stems with Snowball's English stemmer.
        codes: Keep codes and versions such as E-4021 and 2.4.1 whole; without it E-4021 becomes 4021.

    Raises:
        MissingExtraError: If stemming is asked for and PyStemmer is not installed.

    >>> word_tokenizer()("What does E-4021 mean?"), word_tokenizer(codes=True)("E-4021, a 14-day trial")
    (['what', 'does', '4021', 'mean'], ['e-4021', '14', 'day', 'trial'])
    """
    find = (CODES_AND_WORDS if codes else WORDS).findall
    stems: Callable[[list[str]], list[str]] = _stemmer() if stem else list
    return lambda text: stems([word for word in find(text.lower()) if word not in STOP_WORDS])


def _stemmer() -> Callable[[list[str]], list[str]]:
    try:
        import Stemmer
    except ImportError as error:
        raise MissingExtraError("stemming", "stem") from error
    stemmer: Callable[[list[str]], list[str]] = Stemmer.Stemmer("english").stemWords
    return stemmer


@dataclass(frozen=True, slots=True, eq=False)
class Bm25Index:
    """Postings by term: those of term t are ``texts[offsets[t]:offsets[t + 1]]`` with their ``impacts``.

    Attributes:
        size: Number of texts N.
        terms: Term to its number t.
        offsets: (terms + 1,).
        texts: Text numbers, (postings,), ascending within a term.
        impacts: What a query term adds to a text's score, (postings,) float32.
    """

    size: int
    terms: dict[str, int] = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    texts: np.ndarray = field(repr=False)
    impacts: np.ndarray = field(repr=False)
    tokenize: Tokenizer = field(repr=False)

    def scores(self, query: str) -> np.ndarray:
        """Return the score of every text, (N,) float32: 0 where no term of the query stands."""
        scores = np.zeros(self.size, dtype=np.float32)
        for word in self.tokenize(query):
            term = self.terms.get(word)
            if term is not None:
                postings = slice(self.offsets[term], self.offsets[term + 1])
                np.add.at(
                    scores, self.texts[postings], self.impacts[postings]
                )  # numpy >= 2: faster than scores[...] +=
        return scores

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays and of the terms' UTF-8 text."""
        arrays = self.offsets.nbytes + self.texts.nbytes + self.impacts.nbytes
        return arrays + sum(len(term.encode()) for term in self.terms)


def build_bm25(
    texts: Sequence[str], *, stem: bool = False, codes: bool = False, k1: float = K1, b: float = B
) -> Bm25Index:
    """Index ``texts`` for BM25, Lucene's variant.

    Formula:
        score(q, d) = sum over the terms t of q of idf(t) * tf / (tf + k1 * (1 - b + b * length(d) / mean length))
        idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)); lengths count terms after stop words are gone.

    Args:
        texts: N texts.
        stem: See ``word_tokenizer``.
        codes: See ``word_tokenizer``.
        k1: How slowly a repeated term saturates.
        b: How much a long text is held against it, 0 to 1.
    Source:
        Kamphuis et al. 2020, "Which BM25 do you mean?", ECIR: variant "Lucene (accurate)".
    """
    tokenize = word_tokenizer(stem=stem, codes=codes)
    terms: dict[str, int] = {}
    numbered = [[terms.setdefault(word, len(terms)) for word in tokenize(text)] for text in texts]
    lengths = np.array([len(numbers) for numbers in numbered], dtype=np.int64)  # (N,)
    size, occurrences = len(texts), int(lengths.sum())
    term_of = np.fromiter(chain.from_iterable(numbered), dtype=np.int64, count=occurrences)
    text_of = np.repeat(np.arange(size), lengths)
    # One number per (term, text) pair, sorted: postings by term, texts ascending.
    pairs, counts = np.unique(term_of * max(size, 1) + text_of, return_counts=True)
    posting_term, posting_text = np.divmod(pairs, max(size, 1))
    frequencies = np.bincount(posting_term, minlength=len(terms))  # texts that hold the term
    idf = np.log1p((size - frequencies + 0.5) / (frequencies + 0.5))
    norm = k1 * (1 - b + b * lengths / max(occurrences / max(size, 1), 1e-12))
    impacts = idf[posting_term] * counts / (counts + norm[posting_text])
    offsets = np.concatenate([[0], np.cumsum(frequencies)])
    return Bm25Index(size, terms, offsets, posting_text.astype(np.int32), impacts.astype(np.float32), tokenize)
