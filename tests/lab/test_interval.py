"""Intervals of a mean over few windows."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.lab.interval import half_width, student_t  # noqa: E402

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (11, 2.201), (30, 2.042), (1000, 1.962)]
)
def test_t_is_that_of_the_tables(degrees: int, expected: float) -> None:
    assert student_t(degrees) == pytest.approx(expected, abs=6e-4)


def test_nineteen_of_twenty_intervals_hold_the_mean_however_few_the_values() -> None:
    drawn = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    held = sum(abs(float(values.mean())) <= half_width(values) for values in drawn)
    assert held / len(drawn) == pytest.approx(0.95, abs=0.015)


def test_a_single_window_is_refused() -> None:
    with pytest.raises(UsageError, match="gives no interval"):
        half_width(torch.tensor([1.0]))
