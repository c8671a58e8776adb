"""Find the nearest vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import model_validator

from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.index_memory import BITS, IndexDesign, explain_index_memory, index_parts
from llmdrill.fields import Count, Positive, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import (
    Cost,
    Latency,
    Memory,
    Situation,
    StageBase,
    Timing,
    draw_lognormal,
    explain,
    spread,
)
from llmdrill.system.kinds.passages import chunk_count, vector_dimensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.index_memory import VectorType

SCAN_BYTES_PER_S: Final = 10e9
CALL_S: Final = (0.002, 0.006)
UNSIZED_S: Final = (0.010, 0.040)
HNSW_S: Final = (0.004, 0.015)
VALUE_TYPES: Final[Mapping[float, VectorType]] = {bits / 8: dtype for dtype, bits in BITS.items()}
HNSW_LINKS: Final = 32  # assumed M: neighbours of a vector on the upper levels, twice that on the lowest
SCAN_WHY: Final = (
    "a flat search is assumed to scan 10 GB/s (one processor core over memory) after a call of 2 ms (p95 6 ms)"
)
UNSIZED_WHY: Final = "the size of the index is not known: a search is assumed to take 10 ms (p95 40 ms)"
HNSW_WHY: Final = "a graph search is assumed to take 4 ms (p95 15 ms), whatever the size of the index"


class VectorSearch(StageBase):
    """Settings of a vector search."""

    sentence: ClassVar[str] = "The k chunks whose vectors are nearest; flat compares with all, hnsw walks a graph."
    kind: Literal["vector_search"]
    k: Positive
    index: Literal["flat", "hnsw"] = "flat"
    bytes_per_value: Count = 4.0
    usd_per_month: Usd = 0.0

    @model_validator(mode="after")
    def _of_a_known_type(self) -> Self:
        _value_type(self.bytes_per_value)
        return self

    def passages(self) -> int:
        """Return k."""
        return self.k

    def latency(self, at: Situation) -> Latency:
        """Return the time of a scan (flat) or of a walk (hnsw); both rest on an assumed speed."""
        if self.index == "hnsw":
            return spread(p50_s=HNSW_S[0], p95_s=HNSW_S[1], basis="assumed", why=HNSW_WHY)
        chunks, dimensions = chunk_count(at), vector_dimensions(at)
        if chunks is None or dimensions is None:
            return spread(p50_s=UNSIZED_S[0], p95_s=UNSIZED_S[1], basis="assumed", why=UNSIZED_WHY)
        scan_s = chunks * dimensions * self.bytes_per_value / SCAN_BYTES_PER_S
        filled = f"{chunks:.6g} × {dimensions} × {self.bytes_per_value:g} B / 10 GB/s"
        formula = "call + chunks × dimensions × bytes_per_value / scan rate"
        shown = explain("scan_s", scan_s, "seconds", formula, filled, "assumed scan rate")
        return Latency(
            lambda rng, n: Timing(scan_s + draw_lognormal(rng, n, p50=CALL_S[0], p95=CALL_S[1])),
            "assumed",
            (shown,),
            notes=(SCAN_WHY,),
        )

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price a month
        """Return the price a month."""
        return Cost(0.0, self.usd_per_month)

    def memory(self, at: Situation) -> Memory:
        """Return the bytes of the vectors and, for hnsw, of the links."""
        chunks, dimensions = chunk_count(at), vector_dimensions(at)
        if chunks is None or dimensions is None:
            return Memory(None, notes=("the index memory is unknown: the number of chunks or dimensions is not given",))
        links = HNSW_LINKS if self.index == "hnsw" else 0
        vectors = max(1, round(chunks))
        shown = explain_index(vectors=vectors, dimensions=dimensions, links=links, each_bytes=self.bytes_per_value)
        return Memory(shown.value, (shown,))


def explain_index(*, vectors: int, dimensions: int, links: int, each_bytes: float) -> Explained:
    """Return the memory of a vector index with its formula: flat if it has no links, else a graph."""
    kind: Literal["flat", "hnsw"] = "hnsw" if links else "flat"
    dtype = _value_type(each_bytes)
    return explain_index_memory(
        index_parts(IndexDesign(kind, vectors=vectors, dimensions=dimensions, dtype=dtype, links=links))
    )


def _value_type(each_bytes: float) -> VectorType:
    if each_bytes not in VALUE_TYPES:
        known = ", ".join(f"{one:g} ({dtype})" for one, dtype in VALUE_TYPES.items())
        raise NumberError(f"bytes_per_value must be one of {known}, got {each_bytes:g}")
    return VALUE_TYPES[each_bytes]
