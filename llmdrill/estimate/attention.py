"""Scaled dot-product attention by hand: every matrix on the way, why scores are scaled, and how the work grows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Row = tuple[float, ...]
Matrix = tuple[Row, ...]
PAPER: Final = "Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1"

# A worked example whose scores are whole numbers and whose √d_k is 2: four tokens of four numbers each.
EXAMPLE_QUERIES: Final[Matrix] = ((1, 0, 2, 0), (0, 2, 0, 2), (2, 1, 1, 0), (1, 1, 1, 3))
EXAMPLE_KEYS: Final[Matrix] = ((1, 1, 2, 0), (0, 2, 1, 2), (2, 0, 1, 1), (1, 0, 0, 3))
EXAMPLE_VALUES: Final[Matrix] = ((1, 0, 0, 2), (0, 1, 0, 4), (0, 0, 1, 6), (1, 1, 1, 8))


@dataclass(frozen=True, slots=True)
class Attended:
    """Every step of attention over one head.

    Attributes:
        scores: Q Kᵀ; minus infinity where the causal mask hides a key.
        scaled: The scores times the scale.
        weights: Softmax of each scaled row.
        output: weights · V.
    """

    scores: Matrix
    scaled: Matrix
    weights: Matrix
    output: Matrix


@dataclass(frozen=True, slots=True)
class Saturation:
    """How far a row of weights is from an even spread.

    Attributes:
        entropy_bits: log2(keys) for an even spread, 0 for all on one key.
        most: The largest weight.
        gradient: 1 - sum of squared weights: the trace of the softmax's Jacobian, 0 where nothing can be learned.
    """

    entropy_bits: float
    most: float
    gradient: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """What random queries and keys show at one d_k: variances of their dot products, and mean saturation of rows."""

    d_k: int
    variance: float
    scaled_variance: float
    plain: Saturation
    scaled: Saturation


def softmax(scores: Sequence[float]) -> Row:
    """Return the softmax of a row.

    Formula:
        exp(s_i - max) / sum of exp(s_j - max)

    Args:
        scores: At least one of them finite; minus infinity gives weight 0.

    Returns:
        Weights that add up to 1.

    Raises:
        NumberError: If no score is finite, or one is no number or plus infinity.

    Error:
        Exact up to rounding; subtracting the largest score first keeps exp from overflowing.
    Source:
        Arithmetic.

    >>> [round(one, 4) for one in softmax([2, 1, 0])]
    [0.6652, 0.2447, 0.09]
    """
    if not scores or any(math.isnan(one) or one == math.inf for one in scores) or max(scores) == -math.inf:
        raise NumberError("softmax needs at least one finite score, and neither NaN nor plus infinity")
    top = max(scores)
    powers = [math.exp(one - top) for one in scores]
    total = math.fsum(powers)
    return tuple(one / total for one in powers)


def attend(
    queries: Matrix, keys: Matrix, values: Matrix, *, scale: float | None = None, causal: bool = False
) -> Attended:
    """Return every step of scaled dot-product attention.

    Formula:
        softmax(Q Kᵀ * scale) V, scale = 1 / sqrt(d_k); under the causal mask token i sees keys 1 … i.

    Args:
        queries: (tokens, d_k).
        keys: (keys, d_k).
        values: (keys, d_v).
        scale: None for 1 / sqrt(d_k), 1 for no scaling.
        causal: Hide later keys.

    Returns:
        Scores, scaled scores, weights and output.

    Raises:
        NumberError: If the shapes do not fit each other, or a number is not finite.

    Error:
        Exact up to rounding in double precision; a model computes in 16 or 8 bits.
    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1, equation 1.

    >>> attend(((1.0, 1.0),), ((2.0, 0.0), (0.0, 2.0)), ((1.0,), (3.0,))).output  # equal scores: the mean
    ((2.0,),)
    """
    _require_shapes(queries, keys, values)
    factor = 1 / math.sqrt(len(keys[0])) if scale is None else scale
    require_positive(scale=factor)
    scores = tuple(
        tuple(_dot(query, key) if not causal or at <= token else -math.inf for at, key in enumerate(keys))
        for token, query in enumerate(queries)
    )
    scaled = tuple(tuple(one * factor for one in row) for row in scores)
    weights = tuple(softmax(row) for row in scaled)
    columns = tuple(zip(*values, strict=True))
    output = tuple(tuple(_dot(row, column) for column in columns) for row in weights)
    return Attended(scores, scaled, weights, output)


def split_heads(matrix: Matrix, *, heads: int) -> tuple[Matrix, ...]:
    """Return a matrix cut into heads: each takes its share of every row.

    Formula:
        head h holds columns h * d / heads … (h + 1) * d / heads

    Args:
        matrix: (tokens, d).
        heads: A divisor of d.

    Returns:
        One matrix (tokens, d / heads) per head.

    Raises:
        NumberError: If heads is not a divisor of d.

    Error:
        Exact. A model projects the input with a matrix per head first; cutting the projected rows is the same.
    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.

    >>> split_heads(((1, 2, 3, 4),), heads=2)
    (((1, 2),), ((3, 4),))
    """
    width = len(matrix[0])
    if heads < 1 or width % heads:
        raise NumberError(f"heads must divide the width {width}, got {heads}")
    size = width // heads
    return tuple(tuple(row[at : at + size] for row in matrix) for at in range(0, width, size))


def saturation(weights: Row) -> Saturation:
    """Return how far a row of weights is from an even spread.

    Formula:
        entropy = -sum of w * log2(w); most = max w; gradient = 1 - sum of w² (the trace of diag(w) - w wᵀ).

    Args:
        weights: Non-negative, adding up to 1.

    Returns:
        All three; 0 bits and gradient 0 mean that one key has all the weight.

    Raises:
        NumberError: If there is no weight, or one is outside 0 … 1.

    Error:
        Exact.
    Source:
        Arithmetic; the softmax's Jacobian is diag(w) - w wᵀ.

    >>> saturation((0.25, 0.25, 0.25, 0.25))
    Saturation(entropy_bits=2.0, most=0.25, gradient=0.75)
    """
    if not weights or any(not 0 <= one <= 1 for one in weights):
        raise NumberError("weights must be shares of one, and at least one")
    entropy = -math.fsum(one * math.log2(one) for one in weights if one)
    return Saturation(max(0.0, entropy), max(weights), max(0.0, 1 - math.fsum(one * one for one in weights)))


def dot_product_variance(*, d_k: int) -> float:
    """Return the variance of the dot product of two random vectors.

    Formula:
        d_k: a sum of d_k products, each of mean 0 and variance 1.

    Args:
        d_k: Length of the vectors, whose components are independent with mean 0 and variance 1.

    Returns:
        The variance; after division by sqrt(d_k) it is 1.

    Raises:
        NumberError: If d_k is not positive.

    Error:
        Exact for such vectors. Trained queries and keys are correlated: their scores spread more.
    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1, footnote.

    >>> dot_product_variance(d_k=64)
    64.0
    """
    require_positive(d_k=d_k)
    return float(d_k)


def draw_dot_products(*, d_k: int, rows: int, keys: int, rng: random.Random) -> Drawn:
    """Return what random queries and keys show: the variance of scores, and how far their rows saturate.

    Formula:
        Sample variance of q·k and of q·k / sqrt(d_k), q and k standard normal; mean saturation of softmax rows.

    Args:
        d_k: Length of the vectors.
        rows: Queries drawn, each against its own keys; at least 1.
        keys: Keys of a row, at least 2.
        rng: Seeded by the caller.

    Returns:
        Measured variances and mean saturations.

    Raises:
        NumberError: If a count is too small.

    Error:
        Standard error of the variance is about variance * sqrt(2 / rows * (1 / keys + 1 / d_k)): a row shares a query.
    Source:
        Arithmetic; the law it shows is dot_product_variance.

    >>> import random
    >>> 60 < draw_dot_products(d_k=64, rows=500, keys=4, rng=random.Random(1)).variance < 68
    True
    """
    require_positive(d_k=d_k, rows=rows)
    if keys < 2:
        raise NumberError(f"keys must be at least 2, got {keys}")
    drawn = [_random_scores(d_k, keys, rng) for _ in range(rows)]
    flat = [one for row in drawn for one in row]
    mean = math.fsum(flat) / len(flat)
    variance = math.fsum((one - mean) ** 2 for one in flat) / (len(flat) - 1)
    root = math.sqrt(d_k)
    return Drawn(
        d_k=d_k,
        variance=variance,
        scaled_variance=variance / d_k,
        plain=mean_saturation([softmax(row) for row in drawn]),
        scaled=mean_saturation([softmax([one / root for one in row]) for row in drawn]),
    )


def _random_scores(d_k: int, keys: int, rng: random.Random) -> list[float]:
    query = [rng.gauss(0, 1) for _ in range(d_k)]
    return [sum(one * rng.gauss(0, 1) for one in query) for _ in range(keys)]


def mean_saturation(rows: Sequence[Row]) -> Saturation:
    """Return the mean of each measure of saturation over rows of weights.

    Formula:
        The sum over rows / rows.

    Args:
        rows: At least one.

    Returns:
        Mean entropy, mean largest weight, mean gradient.

    Raises:
        NumberError: If there is no row.

    Error:
        Exact.
    Source:
        Arithmetic.

    >>> mean_saturation([(1.0, 0.0), (0.5, 0.5)])
    Saturation(entropy_bits=0.5, most=0.75, gradient=0.25)
    """
    if not rows:
        raise NumberError("a mean needs at least one row")
    each = [saturation(row) for row in rows]
    return Saturation(
        entropy_bits=math.fsum(one.entropy_bits for one in each) / len(each),
        most=math.fsum(one.most for one in each) / len(each),
        gradient=math.fsum(one.gradient for one in each) / len(each),
    )


def attention_matrix_flops(*, tokens: float, width: float) -> float:
    """Return the operations of Q Kᵀ and of weights · V of one layer, every token seeing every token.

    Formula:
        4 * tokens² * width (2 per multiply-add; once for the scores, once for the values): n² · d.

    Args:
        tokens: n, the length of the sequence.
        width: d, all heads together.

    Returns:
        FLOP; twice the tokens, four times the work.

    Raises:
        NumberError: If a number is not positive.

    Error:
        The softmax (about 5 operations a score and head) and the projections (8 * tokens * width²) are not counted. A
        causal kernel that skips masked blocks does half.
    Source:
        Vaswani et al. 2017, arXiv:1706.03762, table 1: complexity per layer O(n² · d).

    >>> attention_matrix_flops(tokens=2048, width=4096) / attention_matrix_flops(tokens=1024, width=4096)
    4.0
    """
    require_positive(tokens=tokens, width=width)
    return 4.0 * tokens**2 * width


def projection_flops(*, tokens: float, width: float) -> float:
    """Return the operations of the four projections (queries, keys, values, output) of one layer.

    Formula:
        8 * tokens * width² (2 per multiply-add, four square matrices): linear in tokens.

    Args:
        tokens: The length of the sequence.
        width: d.

    Returns:
        FLOP; attention_matrix_flops overtakes it at tokens = 2 * width.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Too high with grouped-query attention, whose keys and values are narrower.
    Source:
        Arithmetic.

    >>> projection_flops(tokens=8192, width=4096) == attention_matrix_flops(tokens=8192, width=4096)
    True
    """
    require_positive(tokens=tokens, width=width)
    return 8.0 * tokens * width**2


def explain_attention_flops(*, tokens: float, width: float) -> Explained:
    """Return attention_matrix_flops with its formula and the numbers put in."""
    value = attention_matrix_flops(tokens=tokens, width=width)
    return Explained(
        name="attention_flops",
        value=value,
        unit="count",
        formula="4 × tokens² × width",
        filled=f"4 × {figure(tokens)}² × {figure(width)} = {figure(value)} FLOP",
        source="Vaswani et al. 2017, arXiv:1706.03762, table 1",
    )


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _require_shapes(queries: Matrix, keys: Matrix, values: Matrix) -> None:
    for name, matrix in (("queries", queries), ("keys", keys), ("values", values)):
        if not matrix or not matrix[0] or any(len(row) != len(matrix[0]) for row in matrix):
            raise NumberError(f"{name} must be a matrix: at least one row, and rows of one length")
        if not all(math.isfinite(one) for row in matrix for one in row):
            raise NumberError(f"{name} must hold finite numbers")
    if len(queries[0]) != len(keys[0]):
        raise NumberError(f"queries and keys must be equally wide, got {len(queries[0])} and {len(keys[0])}")
    if len(keys) != len(values):
        raise NumberError(f"every key needs its value, got {len(keys)} keys and {len(values)} values")
