"""Send each request to one of several sources or models."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

from llmdrill.errors import UsageError
from llmdrill.fields import Share  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Exit, Latency, Situation, StageBase, spread
from llmdrill.units import parse_quantity

P50_S: Final = 0.015
P95_S: Final = 0.045
WHY: Final = "a router is assumed to take 15 ms (p95 45 ms): one embedding and a few dot products"


class Router(StageBase):
    """Settings of a router."""

    sentence: ClassVar[str] = (
        "Each request goes to one of the routes, in equal shares or as written (`small=0.8, large=0.2`); "
        "a route that is no stage of the design is a source inside the next stage."
    )
    kind: Literal["router"]
    routes: str
    accuracy: Share | None = None

    @model_validator(mode="after")
    def _readable(self) -> Self:
        shares = parse_routes(self.routes)
        if abs(sum(shares.values()) - 1.0) > 1e-6:
            raise ValueError(f"the shares of the routes add up to {sum(shares.values()):g}, not to 1")
        return self

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a routing decision."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def exits(self) -> tuple[Exit, ...]:
        """Return one exit a route."""
        return tuple(Exit(share, "route", name) for name, share in parse_routes(self.routes).items())


def parse_routes(text: str) -> dict[str, float]:
    """Return route → share; routes without a share split what is left equally.

    >>> parse_routes("small=0.8, large")
    {'small': 0.8, 'large': 0.19999999999999996}
    """
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("a router needs routes: names with commas between them")
    try:
        given = {name.strip(): parse_quantity(share, "share") for name, sign, share in parts if sign}
    except UsageError as error:
        raise ValueError(str(error)) from error
    open_names = [name.strip() for name, sign, _ in parts if not sign]
    left = (1.0 - sum(given.values())) / len(open_names) if open_names else 0.0
    if left < 0 or any(share < 0 for share in given.values()):
        raise ValueError("the shares of the routes add up to more than 1")
    return {name.strip(): given.get(name.strip(), left) for name, _, _ in parts}
