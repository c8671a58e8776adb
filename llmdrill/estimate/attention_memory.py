"""What attention holds in memory on its way: the whole matrix of scores, or one tile of it."""

from __future__ import annotations

import math
from typing import Final

from llmdrill.estimate.checks import require_positive

FULL_COPIES: Final = 2  # the scores are still there while the softmax writes the weights


def score_matrix_bytes(
    *, tokens: float, heads: float, bytes_per_value: float = 4.0, copies: float = FULL_COPIES
) -> float:
    """Return the memory of attention that writes out the scores of every pair of tokens.

    Formula:
        copies * heads * tokens² * bytes_per_value

    Args:
        tokens: n, of one sequence.
        heads: Worked on at once.
        bytes_per_value: 4 for fp32, 2 for fp16 and bf16.
        copies: 2 where softmax writes its weights beside the scores, 1 where it writes over them.

    Returns:
        Bytes, inputs and output left out; twice the tokens, four times the bytes.

    Raises:
        NumberError: If a number is not positive.

    Error:
        A mask that is added to the scores as a tensor of its own costs another copy.
    Source:
        Dao et al. 2022, arXiv:2205.14135, section 2.2, algorithm 0: S and P are each tokens × tokens.

    >>> score_matrix_bytes(tokens=4096, heads=32, bytes_per_value=2)
    2147483648.0
    """
    require_positive(tokens=tokens, heads=heads, bytes_per_value=bytes_per_value, copies=copies)
    return float(copies * heads * tokens**2 * bytes_per_value)


def tiled_attention_bytes(
    *, tokens: float, heads: float, head_dim: float, tile_tokens: float, bytes_per_value: float = 4.0
) -> float:
    """Return the memory of attention that works on one tile of scores at a time, its output included.

    Formula:
        heads * bytes_per_value * (tokens * head_dim + tile² + 3 * tile * head_dim): the output, one tile of scores, and
        the rows that belong to it: scaled queries, the sum so far and what the tile adds.

    Args:
        tokens: n, of one sequence.
        heads: Worked on at once.
        head_dim: Values of one head.
        tile_tokens: Queries and keys of one tile; the whole sequence if it is shorter.
        bytes_per_value: 4 for fp32.

    Returns:
        Bytes, inputs left out: linear in the tokens.

    Raises:
        NumberError: If a number is not positive.

    Error:
        The running maximum and sum of each query of the tile are left out: a few values of hundreds.
    Source:
        Dao et al. 2022, arXiv:2205.14135, algorithm 1: blocks of rows and one tile of scores at a time; theorem 1:
        O(tokens) memory beyond inputs and output.

    >>> tiled_attention_bytes(tokens=4096, heads=1, head_dim=64, tile_tokens=128)
    1212416.0
    """
    require_positive(tokens=tokens, heads=heads, head_dim=head_dim, tile_tokens=tile_tokens)
    tile = min(tokens, tile_tokens)
    return heads * bytes_per_value * (tokens * head_dim + math.pow(tile, 2) + 3 * tile * head_dim)
