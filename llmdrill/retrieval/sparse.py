"""BM25 as Lucene computes it, over posting lists in numpy arrays."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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


def word_tokenizer(*, stem: bool = False, codes: bool = False, stop_words: bool = True) -> Tokenizer:
    """Return a function that cuts a text into lower-case search terms.

    Args:
        stem: Reduce words to their stems with Snowball's English stemmer.
        codes: Keep codes and versions such as E-4021 and 2.4.1 whole; without it E-4021 becomes 4021.
        stop_words: Leave out Lucene's English stop words.

    Raises:
        MissingExtraError: If stemming is asked for and PyStemmer is not installed.

    >>> word_tokenizer()("What does E-4021 mean?"), word_tokenizer(codes=True)("E-4021, a 14-day trial")
    (['what', 'does', '4021', 'mean'], ['e-4021', '14', 'day', 'trial'])
    """
    find = (CODES_AND_WORDS if codes else WORDS).findall
    stems: Callable[[list[str]], list[str]] = _stemmer() if stem else list
    left_out = STOP_WORDS if stop_words else frozenset[str]()
    return lambda text: stems([word for word in find(text.lower()) if word not in left_out])


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
    texts: Iterable[str],
    *,
    stem: bool = False,
    codes: bool = False,
    stop_words: bool = True,
    k1: float = K1,
    b: float = B,
) -> Bm25Index:
    """Index ``texts`` for BM25, Lucene's variant, in one pass: about 40 bytes at most for each (term, text) pair.

    Formula:
        score(q, d) = sum over the terms t of q of idf(t) * tf / (tf + k1 * (1 - b + b * length(d) / mean length))
        idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)); lengths count terms, after stop words are gone.

    Args:
        texts: N texts.
        stem: See ``word_tokenizer``.
        codes: See ``word_tokenizer``.
        stop_words: See ``word_tokenizer``.
        k1: How slowly a repeated term saturates.
        b: How much a long text is held against it, 0 to 1.
    Source:
        Kamphuis et al. 2020, "Which BM25 do you mean?", ECIR: variant "Lucene (accurate)".
    """
    tokenize = word_tokenizer(stem=stem, codes=codes, stop_words=stop_words)
    terms: defaultdict[str, int] = defaultdict()
    terms.default_factory = terms.__len__  # a new word gets the next number
    term_of, times_of, distinct, lengths = array("i"), array("i"), array("i"), array("i")
    for text in texts:
        times = Counter(tokenize(text))
        term_of.extend(map(terms.__getitem__, times))
        times_of.extend(times.values())
        distinct.append(len(times))
        lengths.append(times.total())
    terms.default_factory = None
    size, length_of = len(lengths), np.asarray(lengths)
    frequencies = np.bincount(np.asarray(term_of), minlength=len(terms))  # texts that hold the term
    idf = np.log1p((size - frequencies + 0.5) / (frequencies + 0.5))
    norm = k1 * (1 - b + b * length_of / max(length_of.sum() / max(size, 1), 1e-12))
    order = _by_term(np.asarray(term_of))
    text_of = np.repeat(np.arange(size, dtype=np.int32), distinct)[order]
    impacts = np.asarray(times_of)[order].astype(np.float64)
    impacts /= impacts + norm[text_of]
    impacts *= np.repeat(idf, frequencies)
    return Bm25Index(
        size, dict(terms), np.concatenate([[0], np.cumsum(frequencies)]), text_of, impacts.astype(np.float32), tokenize
    )


def _by_term(term_of: np.ndarray) -> np.ndarray:
    """Return the order that brings postings of the same term together, (P,); within a term they stay in order."""
    keys = (term_of.astype(np.int64) << 32) | np.arange(len(term_of))
    keys.sort()  # in place, and faster than a stable argsort
    keys &= 0xFFFFFFFF
    return keys
