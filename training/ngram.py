"""An interpolated modified Kneser-Ney n-gram model over tokens: what counting alone can do with the same text.

Chen and Goodman's smoothing, with the discounts as SRILM's make-kn-discounts computes them from the counts of counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKEN_BITS: Final = 12  # five tokens fit into 64 bits


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one order, and of their contexts (the n-gram without its last token)."""

    grams: NDArray[np.uint64]  # sorted
    counts: NDArray[np.int64]  # of the highest order: occurrences; below: distinct tokens seen before
    contexts: NDArray[np.uint64]  # sorted
    totals: NDArray[np.float64]  # of a context's counts
    held_back: NDArray[np.float64]  # what the discounts of a context's n-grams come to
    discounts: NDArray[np.float64]  # (4,) for counts of 0, 1, 2, 3 and more


class NgramModel:
    """Trained once from a stream of tokens; then asked for the probability of every token of another stream."""

    def __init__(self, tokens: NDArray[np.uint16], *, order: int, vocabulary: int) -> None:
        if vocabulary > 1 << TOKEN_BITS or order * TOKEN_BITS > 64:
            raise ValueError(f"{order} tokens of a vocabulary of {vocabulary} do not fit into 64 bits")
        self.order, self.vocabulary = order, vocabulary
        grams, counts = np.unique(windows(tokens, order), return_counts=True)
        orders = [_order(grams, counts)]
        for length in range(order - 1, 0, -1):  # a shorter n-gram counts once for every token seen before it
            grams, counts = np.unique(grams & np.uint64((1 << (TOKEN_BITS * length)) - 1), return_counts=True)
            orders.append(_order(grams, counts))
        self.orders = orders[::-1]

    def probabilities(self, tokens: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Return the probability (N,) of each token after those before it; the first ones know fewer."""
        found = np.full(len(tokens), 1.0 / self.vocabulary)
        for length, order in enumerate(self.orders, start=1):
            found[length - 1 :] = _interpolated(order, windows(tokens, length), found[length - 1 :])
        return found


def windows(tokens: NDArray[np.uint16], length: int) -> NDArray[np.uint64]:
    """Return every run of ``length`` tokens as one number, the last token in its lowest bits.

    >>> windows(np.array([1, 2, 3], dtype=np.uint16), 2).tolist() == [(1 << 12) + 2, (2 << 12) + 3]
    True
    """
    count = len(tokens) - length + 1
    found = np.zeros(max(0, count), dtype=np.uint64)
    for at in range(length):
        found = (found << np.uint64(TOKEN_BITS)) | tokens[at : at + count].astype(np.uint64)
    return found


def _order(grams: NDArray[np.uint64], counts: NDArray[np.int64]) -> _Order:
    discounts = _discounts(counts)
    contexts, starts = np.unique(grams >> np.uint64(TOKEN_BITS), return_index=True)
    totals = np.add.reduceat(counts, starts).astype(np.float64)
    held_back = np.add.reduceat(discounts[np.minimum(counts, 3)], starts)
    return _Order(grams, counts, contexts, totals, held_back, discounts)


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what is taken from counts of 0, 1, 2 and more (D1, D2, D3+), within their bounds."""
    n1, n2, n3, n4 = (max(1, int((counts == times).sum())) for times in (1, 2, 3, 4))
    ratio = n1 / (n1 + 2 * n2)
    raw = (0.0, 1 - 2 * ratio * n2 / n1, 2 - 3 * ratio * n3 / n2, 3 - 4 * ratio * n4 / n3)
    return np.clip(raw, (0, 0.1, 0.1, 0.1), (0, 0.95, 1.95, 2.95))


def _interpolated(order: _Order, asked: NDArray[np.uint64], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p(token | context) for every n-gram, given those of the context without its first token."""
    context, known = _find(order.contexts, asked >> np.uint64(TOKEN_BITS))
    gram, seen = _find(order.grams, asked)
    counts = np.where(seen, order.counts[gram], 0)
    own = np.maximum(0.0, counts - order.discounts[np.minimum(counts, 3)])
    total = order.totals[context]
    return np.where(known, (own + order.held_back[context] * shorter) / total, shorter)


def _find(table: NDArray[np.uint64], asked: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each number stands in a sorted table, and whether it does."""
    at = np.minimum(np.searchsorted(table, asked), len(table) - 1)
    return at, table[at] == asked
