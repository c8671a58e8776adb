"""The parameters of a drill: what they may be, and one draw of them."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from llmdrill.fields import FileModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Value = float | int | str


class Choices(FileModel):
    """A parameter that is one of a list."""

    choices: tuple[Value, ...] = Field(min_length=2)

    def draw(self, rng: random.Random) -> Value:
        """Return one of them."""
        return rng.choice(self.choices)

    def ends(self) -> tuple[Value, ...]:
        """Return every value."""
        return self.choices


class Steps(FileModel):
    """A whole number from ``low`` to ``high`` in steps, both ends included where the step meets them."""

    low: int
    high: int
    step: int = Field(gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Steps:
        if self.high < self.low + self.step:
            raise ValueError(f"from {self.low} to {self.high} in steps of {self.step} there is one value only")
        return self

    def draw(self, rng: random.Random) -> Value:
        """Return one of them, each as likely."""
        return rng.randrange(self.low, self.high + 1, self.step)

    def ends(self) -> tuple[Value, ...]:
        """Return the lowest and the highest."""
        return self.low, self.low + (self.high - self.low) // self.step * self.step


class Range(FileModel):
    """A real number from ``low`` to ``high``, rounded to so many significant digits."""

    low: float
    high: float
    digits: int = Field(gt=0, le=6)
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if self.high <= self.low or (self.scale == "log" and self.low <= 0):
            raise ValueError("low must be below high, and on a log scale above 0")
        return self

    def draw(self, rng: random.Random) -> Value:
        """Return a number, uniform on its scale; a whole one as such."""
        if self.scale == "log":
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = rng.uniform(self.low, self.high)
        return self._rounded(drawn)

    def ends(self) -> tuple[Value, ...]:
        """Return the lowest and the highest."""
        return self._rounded(self.low), self._rounded(self.high)

    def _rounded(self, number: float) -> Value:
        rounded = float(f"{number:.{self.digits}g}")
        return int(rounded) if rounded.is_integer() else rounded


Parameter = Steps | Range | Choices
Case = dict[str, Value]


def draw_values(
    cases: Sequence[Mapping[str, Value]], parameters: Mapping[str, Parameter], *, rng: random.Random
) -> dict[str, Value]:
    """Return one draw: a row of ``cases``, and each parameter by itself."""
    row = dict(rng.choice(cases)) if cases else {}
    return row | {name: parameter.draw(rng) for name, parameter in parameters.items()}


def corner_values(
    cases: Sequence[Mapping[str, Value]], parameters: Mapping[str, Parameter], *, most: int = 256
) -> Iterator[dict[str, Value]]:
    """Yield every case with every parameter at its ends, and random draws beyond ``most``: what a validator tries."""
    rows = [dict(case) for case in cases] or [{}]
    corners = math.prod((len(parameter.ends()) for parameter in parameters.values()), start=len(rows))
    if corners > most:
        rng = random.Random(0)  # noqa: S311 - no secret
        for row in rows:
            yield row | {name: parameter.ends()[0] for name, parameter in parameters.items()}
            yield row | {name: parameter.ends()[-1] for name, parameter in parameters.items()}
        yield from (draw_values(cases, parameters, rng=rng) for _ in range(most))
        return
    for row in rows:
        yield from (row | combined for combined in _combinations(list(parameters.items())))


def _combinations(parameters: Sequence[tuple[str, Parameter]]) -> Iterator[dict[str, Value]]:
    if not parameters:
        yield {}
        return
    name, parameter = parameters[0]
    for rest in _combinations(parameters[1:]):
        for value in parameter.ends():
            yield {name: value} | rest
