"""Pre-LN against Post-LN at initialisation: how large hidden states are, and how the last layer's gradient scales."""

from __future__ import annotations

import math
from typing import Final, Literal

from llmdrill.estimate.checks import require_not_negative, require_positive

POST_LN_SQUARE: Final = 1.5  # what Post-LN normalises: the normed input (1) and what the feed-forward adds (1/2)


def hidden_square(*, layers: float, attention_share: float) -> float:
    """Return the expected squared length of a Pre-LN transformer's hidden state at initialisation, by its width.

    Formula:
        1 + layers * (1/2 + attention_share): the input, and per layer what feed-forward and attention add.

    Args:
        layers: Passed so far.
        attention_share: What attention adds, from 0 (the values of many tokens average out) to 1 (each token sees only
            itself or its likes): the two bounds of the lemma.

    Returns:
        The mean of the squared values; Post-LN stays at 3/2 before each normalisation, whatever the depth.

    Raises:
        NumberError: If layers is negative, or the share outside 0 … 1.

    Error:
        Exact in expectation for Xavier initialisation, inputs of variance 1 and a feed-forward as wide as the model;
        a wider one adds less than 1/2.
    Source:
        Xiong et al. 2020, arXiv:2002.04745, lemma 2.

    >>> hidden_square(layers=12, attention_share=0), hidden_square(layers=12, attention_share=1)
    (7.0, 19.0)
    """
    require_not_negative(layers=layers, attention_share=attention_share, rest=1 - attention_share)
    return 1 + layers * (0.5 + attention_share)


def last_gradient_ratio(norm: Literal["pre", "post"], *, layers: float, than_layers: float) -> float:
    """Return how the gradient of the last feed-forward changes with depth at initialisation.

    Formula:
        Pre-LN: sqrt(than_layers / layers). Post-LN: 1.

    Args:
        norm: Where the layer normalisation is.
        layers: Depth of one model.
        than_layers: Depth of the model that it is compared with.

    Returns:
        Frobenius norm of the one's gradient over that of the other.

    Raises:
        NumberError: If a depth is not positive.

    Error:
        The theorem is an upper bound for large depth, with uniform attention: d * sqrt(ln d) for Post-LN, and
        d * sqrt(ln d / layers) for Pre-LN. Shallow models fall more slowly, since the input's own size counts.
    Source:
        Xiong et al. 2020, arXiv:2002.04745, theorem 1.

    >>> last_gradient_ratio("pre", layers=24, than_layers=6), last_gradient_ratio("post", layers=24, than_layers=6)
    (0.5, 1.0)
    """
    require_positive(layers=layers, than_layers=than_layers)
    return math.sqrt(than_layers / layers) if norm == "pre" else 1.0
