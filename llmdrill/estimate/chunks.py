"""How many chunks a corpus is cut into."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive

if TYPE_CHECKING:
    from collections.abc import Iterable


def chunk_count(documents_tokens: Iterable[float], *, size_tokens: float, overlap_tokens: float = 0) -> int:
    """Return how many chunks a sliding window cuts from documents of these lengths.

    Formula:
        sum over documents of max(1, ceil((tokens - overlap_tokens) / (size_tokens - overlap_tokens)));
        an empty document gives none.

    Args:
        documents_tokens: Length of each document.
        size_tokens: Tokens of a chunk.
        overlap_tokens: Tokens that neighbouring chunks share.

    Returns:
        Chunks.

    Raises:
        NumberError: If the overlap is not below the size, or a number is negative.

    Error:
        Exact for fixed windows; cutting at headings or sentences gives more, shorter chunks.
    Source:
        Arithmetic: each chunk after the first brings size - overlap new tokens.

    >>> chunk_count([1000, 100, 0], size_tokens=256, overlap_tokens=32)
    6
    """
    require_positive(size_tokens=size_tokens)
    require_not_negative(overlap_tokens=overlap_tokens)
    if overlap_tokens >= size_tokens:
        raise NumberError(f"overlap_tokens ({overlap_tokens:g}) must be below size_tokens ({size_tokens:g})")
    lengths = list(documents_tokens)
    require_not_negative(**{"documents_tokens": min(lengths, default=0)})  # noqa: PIE804 - the plural is the list's
    step = size_tokens - overlap_tokens
    return sum(max(1, math.ceil((tokens - overlap_tokens) / step)) for tokens in lengths if tokens)
