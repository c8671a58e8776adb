"""Turn text into a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from llmdrill.catalog.load import find_price
from llmdrill.errors import UnknownNameError
from llmdrill.estimate.lognormal import lognormal
from llmdrill.fields import Positive, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, StageBase, explain, spread

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained

LOCAL_S: Final = (0.012, 0.040)
API_S: Final = (0.080, 0.250)
LOCAL_WHY: Final = "a local embedding is assumed to take 12 ms (p95 40 ms): a small encoder, one short text"
API_WHY: Final = "an embedding over an API is assumed to take 80 ms (p95 250 ms), the way there included"
OFFLINE_TIMES_PER_MONTH: Final = 1.0
OFFLINE_WHY: Final = "the whole corpus is assumed to be embedded once a month"


class Embedding(StageBase):
    """Settings of an embedding."""

    sentence: ClassVar[str] = "The text becomes a vector; offline it is the whole corpus that does."
    kind: Literal["embedding"]
    model: str
    served: Literal["local", "api"] = "local"
    usd_per_million_tokens: Usd | None = None
    dimensions: Positive | None = None

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of one text."""
        (p50_s, p95_s), why = (LOCAL_S, LOCAL_WHY) if self.served == "local" else (API_S, API_WHY)
        return spread(p50_s=p50_s, p95_s=p95_s, basis="assumed", why=why)

    def cost(self, at: Situation) -> Cost:
        """Return tokens times price: the corpus once a month if offline. A local model costs only its machine."""
        if self.served == "local":
            return Cost()
        price, source = self._price(at)
        if price is None:
            return Cost(None, None, notes=(f"no price of '{self.model}' is known: give usd_per_million_tokens",))
        if self.offline:
            return self._corpus_cost(at, price, source)
        tokens = lognormal(p50=at.workload.input_tokens.p50, p95=at.workload.input_tokens.p95).mean
        return Cost(tokens * price / 1e6, shown=(_shown(tokens, price, source),))

    def _corpus_cost(self, at: Situation, price: float, source: str) -> Cost:
        if at.corpus.tokens is None:
            return Cost(0.0, None, notes=("the cost of embedding the corpus is unknown: nobody said how large it is",))
        tokens = at.corpus.tokens * OFFLINE_TIMES_PER_MONTH
        return Cost(0.0, tokens * price / 1e6, (_shown(tokens, price, source),), (OFFLINE_WHY,))

    def _price(self, at: Situation) -> tuple[float | None, str]:
        if self.usd_per_million_tokens is not None:
            return self.usd_per_million_tokens, "your figure"
        try:
            price = find_price(self.model, date=at.date)
        except UnknownNameError:
            return None, ""
        return price.input_usd_per_mtok, f"{price.source}, {price.date}"


def _shown(tokens: float, price: float, source: str) -> Explained:
    filled = f"{tokens:.6g} × {price:g} / 1e6"
    return explain("usd", tokens * price / 1e6, "usd", "tokens × usd_per_million_tokens / 1e6", filled, source)
