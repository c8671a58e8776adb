"""A lognormal distribution by its median and 95th percentile: token counts and latencies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.estimate.checks import NumberError, require_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95: Final = 1.6448536269514722  # standard normal quantile of 0.95


@dataclass(frozen=True, slots=True)
class Lognormal:
    """exp of a normal distribution with mean ``mu`` and standard deviation ``sigma``."""

    mu: float
    sigma: float

    @property
    def p50(self) -> float:
        """The median."""
        return math.exp(self.mu)

    @property
    def p95(self) -> float:
        """The 95th percentile."""
        return math.exp(self.mu + Z95 * self.sigma)

    @property
    def mean(self) -> float:
        """The expectation, exp(mu + sigma² / 2): above the median, which is why averages mislead."""
        return math.exp(self.mu + self.sigma**2 / 2)

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Return ``n`` draws, shape (n,)."""
        draws: NDArray[Any] = rng.lognormal(self.mu, self.sigma, n)
        return draws


def lognormal(*, p50: float, p95: float) -> Lognormal:
    """Return the lognormal distribution with this median and 95th percentile.

    Formula:
        mu = ln p50, sigma = ln(p95 / p50) / 1.6449
    Args:
        p50: Median, in any unit.
        p95: 95th percentile, in the same unit.

    Returns:
        The distribution.

    Raises:
        NumberError: If p50 is not positive or p95 is below it.

    Error:
        Exact at the two percentiles; a real distribution's tail beyond p95 may be heavier.
    Source:
        Quantiles of the normal distribution.

    >>> round(lognormal(p50=500, p95=2000).mean, 1)
    713.2
    """
    require_positive(p50=p50, p95=p95)
    if p95 < p50:
        raise NumberError(f"p95 ({p95:g}) must not be below p50 ({p50:g})")
    return Lognormal(mu=math.log(p50), sigma=math.log(p95 / p50) / Z95)
