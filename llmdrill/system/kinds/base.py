"""What every kind of stage shares: its common settings, the situation it runs in, and what one run of it takes."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from llmdrill.estimate.explain import Explained
from llmdrill.estimate.lognormal import lognormal
from llmdrill.fields import FileModel, Identifier, Prose, Seconds, Share, Usd, Whole
from llmdrill.units import format_quantity

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from llmdrill.system.scenario import Workload
    from llmdrill.units import Dimension

Array = npt.NDArray[np.float64]
Basis = Literal["formula", "catalogue", "yours", "assumed"]
SOURCES: Final[dict[Basis, str]] = {
    "formula": "by definition",
    "catalogue": "the catalogue",
    "yours": "stated in the design, not measured here",
    "assumed": "assumed: no measurement stands behind it",
}
WEAKNESS: Final[tuple[Basis, ...]] = ("formula", "catalogue", "yours", "assumed")  # a sum is as weak as its weakest


@dataclass(frozen=True, slots=True)
class Corpus:
    """How much there is to search; None where nobody said."""

    tokens: float | None = None
    documents: float | None = None
    chunks: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What a stage can see of the design around it, and the n requests drawn.

    Attributes:
        name: The stage's own name.
        stages: The whole design.
        before: Online stages before this one, nearest first.
        after: Stage → the stages it waits for.
        workload: The scenario's load.
        input_tokens: Of the person's own text, one per drawn request, (n,).
        output_tokens: Of the answer, one per drawn request, (n,).
        reach_share: Share of all requests that reach and run this stage.
        corpus: What there is to search.
        date: Day of the prices; None for the catalogue's.
    """

    name: str
    stages: Mapping[str, StageBase]
    before: tuple[str, ...]
    after: Mapping[str, tuple[str, ...]]
    workload: Workload
    input_tokens: Array
    output_tokens: Array
    reach_share: float
    corpus: Corpus
    date: dt.date | None = None

    @property
    def peak_per_s(self) -> float:
        """Runs of this stage per second in the busy hour."""
        return self.workload.peak_requests_per_s * self.reach_share

    def at(self, name: str) -> Situation:
        """Return the situation of another stage of the same design, at this one's rate."""
        before = self.before[self.before.index(name) + 1 :] if name in self.before else self.before
        return replace(self, name=name, before=before)


@dataclass(frozen=True, slots=True)
class Timing:
    """What one try takes, for each of n requests: seconds (n,) to the end and, if it streams, to the first token."""

    total_s: Array
    first_s: Array | None = None


Sampler = Callable[[np.random.Generator, int], Timing]


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one try of a stage takes: a sampler, what it rests on, and the formulas shown.

    ``ttft`` and ``tpot`` are set for language models; ``over_capacity`` says why there is no figure.
    """

    sample: Sampler
    basis: Basis
    shown: tuple[Explained, ...] = ()
    ttft: Callable[[np.random.Generator, int], Array] | None = None
    tpot: Callable[[np.random.Generator, int], Array] | None = None
    over_capacity: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage costs: per run (an expectation) and per month whatever the load. None: the price is unknown."""

    run_usd: float | None = 0.0
    month_usd: float | None = 0.0
    shown: tuple[Explained, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """Accelerator and index memory of a stage, all replicas. None: not known."""

    held_bytes: float | None = 0.0
    shown: tuple[Explained, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exit:
    """One way a run that succeeded can go on: answered here, dropped unseen, or on to a route."""

    share: float
    kind: Literal["go", "answered", "dropped", "route"] = "go"
    route: str = ""


class StageBase(FileModel):
    """Settings every stage may have. A kind adds its own, and says how long, how dear and how large it is."""

    sentence: ClassVar[str] = ""
    person: ClassVar[bool] = False  # a run of it takes a person's time

    kind: str
    after: tuple[Identifier, ...] = ()
    offline: bool = False
    asynchronous: bool = False
    probability: Share = 1.0
    timeout: Seconds | None = None
    retries: Whole = 0
    backoff: Seconds = 0.0
    failure_share: Share = 0.0
    fallback: Identifier | None = None
    rate_limit_per_s: float | None = None
    usd_cap_per_request: Usd | None = None
    latency_p50: Seconds | None = None
    latency_p95: Seconds | None = None
    why: Prose | None = None

    @model_validator(mode="after")
    def _common(self) -> Self:
        if (self.latency_p50 is None) != (self.latency_p95 is None):
            raise ValueError("latency_p50 and latency_p95 go together: give both or neither")
        ordered("latency", self.latency_p50, self.latency_p95)
        if self.timeout == 0:
            raise ValueError("a timeout of 0 s lets nothing through; leave it out for none")
        return self

    @abstractmethod
    def latency(self, at: Situation) -> Latency:
        """Return how long one try takes."""

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - kinds that cost something look at it
        """Return what a run costs. Free unless a kind says otherwise."""
        return Cost()

    def memory(self, at: Situation) -> Memory:  # noqa: ARG002 - as above
        """Return the memory held. None unless a kind says otherwise."""
        return Memory()

    def exits(self) -> tuple[Exit, ...]:
        """Return how runs go on; the shares add up to one."""
        return (Exit(1.0),)

    def passages(self) -> int | None:
        """Return how many passages this stage hands on; None if it hands on none of its own."""
        return None


def explain(  # noqa: PLR0917 - the fields of Explained in their order
    name: str, value: float, unit: Dimension, formula: str, filled: str, source: str
) -> Explained:
    """Return a figure with its formula; ``filled``, the numbers put in, gets the result behind it."""
    return Explained(name, value, unit, formula, f"{filled} = {format_quantity(value, unit)}", source)


def ordered(what: str, p50: float | None, p95: float | None) -> None:
    """Refuse a 95th percentile below the median, and a median of zero with a 95th above it."""
    if p50 is None or p95 is None:
        return
    if p95 < p50:
        raise ValueError(f"{what}_p95 ({p95:g} s) is below {what}_p50 ({p50:g} s)")
    if p50 == 0 and p95 > 0:
        raise ValueError(f"{what}_p50 is 0 and {what}_p95 is not: a lognormal needs a median above 0")


def passing(passes: float, kind: Literal["answered", "dropped"] = "answered") -> tuple[Exit, ...]:
    """Return the exits of a stage that sends only ``passes`` of its runs on."""
    return tuple(out for out in (Exit(passes), Exit(1.0 - passes, kind)) if out.share > 0)


def draw_lognormal(rng: np.random.Generator, n: int, *, p50: float, p95: float) -> Array:
    """Draw n values (n,) of the lognormal with this median and 95th percentile; constant if they are equal."""
    if p50 <= 0 or p95 <= p50:
        return np.full(n, p50)
    return lognormal(p50=p50, p95=p95).draw(rng, n)


def spread(*, p50_s: float, p95_s: float, basis: Basis, times: float = 1.0, why: str = "") -> Latency:
    """Return a lognormal latency; ``times`` such runs one after the other.

    The sentence ``why`` says what an assumed figure assumes.
    """
    whole = max(1, round(times))

    def sample(rng: np.random.Generator, n: int) -> Timing:
        total = draw_lognormal(rng, n, p50=p50_s, p95=p95_s)
        for _ in range(whole - 1):
            total = total + draw_lognormal(rng, n, p50=p50_s, p95=p95_s)
        return Timing(total)

    each = f"{whole} × " if whole > 1 else ""
    shown = Explained(
        name="latency_p50_s",
        value=whole * p50_s,
        unit="seconds",
        formula=f"{each}lognormal(p50, p95)",
        filled=f"{each}lognormal({p50_s:g} s, {p95_s:g} s)",
        source=SOURCES[basis],
    )
    return Latency(sample, basis, (shown,), notes=(why,) if why and basis == "assumed" else ())


def weakest(bases: Iterable[Basis]) -> Basis:
    """Return the weakest thing a figure rests on.

    >>> weakest(["formula", "assumed", "yours"])
    'assumed'
    """
    return max(bases, key=WEAKNESS.index, default="formula")


def stage_rng(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of one stage: another stage more or less does not change what this one draws."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def of_kind(stages: Mapping[str, Any], kind: str) -> Any:  # noqa: ANN401 - the caller knows the kind
    """Return the first stage of a kind, or None."""
    return next((stage for stage in stages.values() if stage.kind == kind), None)
