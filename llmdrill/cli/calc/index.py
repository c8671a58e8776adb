"""`llmdrill calc index`: memory, build time and query work of a vector index."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, whole
from llmdrill.errors import UsageError
from llmdrill.estimate.index_memory import IndexDesign, IndexKind, Library, VectorType
from llmdrill.units import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.index_memory import IndexPart
    from llmdrill.table import Table

_MOST_LINKS: Final = 1024
_CODE_DIMENSIONS: Final = (8, 4, 2, 1)  # dimensions of one code where none are given: the most that divide them all


@dataclass(frozen=True, slots=True)
class _Effort:
    ef_construction: int
    ef_search: int
    probes: int
    cores: float


def index(
    *,
    vectors: Annotated[str, typer.Option(help="How many, such as 1M.")],
    dimensions: Annotated[str, typer.Option(help="Of one vector, such as 768.")],
    kind: Annotated[
        IndexKind, typer.Option(help="flat, an HNSW graph, or inverted lists of vectors or codes.")
    ] = "flat",
    dtype: Annotated[VectorType, typer.Option(help="How the vectors' values are kept.")] = "fp32",
    links: Annotated[str, typer.Option(help="HNSW: M, links of a vector on each upper level.")] = "32",
    ef_construction: Annotated[str, typer.Option(help="HNSW: candidates kept while building.")] = "40",
    ef_search: Annotated[str, typer.Option(help="HNSW: candidates kept in a search.")] = "16",
    lists: Annotated[str | None, typer.Option(help="IVF: lists; default the square root of the vectors.")] = None,
    probes: Annotated[str, typer.Option(help="IVF: lists read by a query.")] = "1",
    subquantizers: Annotated[
        str | None, typer.Option(help="IVF-PQ: m, codes of a vector; default one per 8 dimensions.")
    ] = None,
    bits: Annotated[str, typer.Option(help="IVF-PQ: bits of a code.")] = "8",
    library: Annotated[Library, typer.Option(help="HNSW: whose layout.")] = "faiss",
    ids: Annotated[bool, typer.Option("--ids", help="Keep 8-byte ids of your own in flat and HNSW.")] = False,
    originals: Annotated[
        bool, typer.Option("--originals", help="Keep the fp32 vectors beside, to score the best again.")
    ] = False,
    cores: Annotated[str, typer.Option(help="Processor cores that build.")] = "1",
) -> Answer:
    """Memory, build time and query work of a vector index."""
    n, d = whole("vectors", vectors), whole("dimensions", dimensions)
    design = IndexDesign(
        kind=kind,
        vectors=n,
        dimensions=d,
        dtype=dtype,
        links=_links(links),
        lists=math.isqrt(n) if lists is None else whole("lists", lists),
        subquantizers=_codes(d) if subquantizers is None else whole("subquantizers", subquantizers),
        code_bits=whole("bits", bits),
        library=library,
        ids=ids,
        originals=originals,
    )
    effort = _Effort(
        whole("ef-construction", ef_construction),
        whole("ef-search", ef_search),
        whole("probes", probes),
        quantity("cores", cores, "count"),
    )
    notes = _notes(design, given_lists=lists is not None, given_codes=subquantizers is not None)
    return _answer(design, effort, notes)


def _answer(design: IndexDesign, effort: _Effort, notes: tuple[str, ...]) -> Answer:
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.index_memory import explain_index_memory, index_parts
    from llmdrill.estimate.index_work import explain_work

    parts = index_parts(design)
    work = explain_work(
        design,
        ef_construction=effort.ef_construction,
        ef_search=effort.ef_search,
        probes=effort.probes,
        cores=effort.cores,
    )
    total, n = explain_index_memory(parts), design.vectors
    each = Explained(
        "bytes_per_vector",
        total.value / n,
        "bytes",
        "index_bytes / vectors",
        f"{total.value:,.0f} / {n:,} = {total.value / n:,.6g} B",
        "Arithmetic",
    )
    return Answer(
        calculator="index",
        lines=_lines(design, total, each, work),
        figures=(total, each, *work),
        inputs=_inputs(design, effort),
        notes=notes,
        unknown=() if design.kind != "flat" else ("build_s", "build_low_s", "build_high_s"),
        tables=(_parts_table(parts), _others(design, effort)),
    )


def _links(text: str) -> int:
    links = whole("links", text)
    if not 2 <= links <= _MOST_LINKS:
        raise UsageError(f"--links must be from 2 to {_MOST_LINKS:,}, got {text}")
    return links


def _codes(dimensions: int) -> int:
    return next(dimensions // each for each in _CODE_DIMENSIONS if dimensions % each == 0)


def _lines(design: IndexDesign, total: Explained, each: Explained, work: Sequence[Explained]) -> tuple[str, ...]:
    value = {one.name: one.value for one in work}
    head = f"{format_bytes(total.value)}: {each.value:,.4g} B per vector"
    asked = f"a query makes {format_count(value['query_distances'])} comparisons"
    if design.kind == "flat":
        return head, f"{asked}: every vector; building only copies"
    low, high = format_seconds(value["build_low_s"]), format_seconds(value["build_high_s"])
    return head, f"build: about {format_seconds(value['build_s'])} ({low} to {high}); {asked}"


def _inputs(design: IndexDesign, effort: _Effort) -> dict[str, object]:
    graph, lists = design.kind == "hnsw", design.kind.startswith("ivf")
    codes = design.kind == "ivf-pq"
    return {
        "kind": design.kind,
        "vectors": design.vectors,
        "dimensions": design.dimensions,
        "dtype": None if codes else design.dtype,
        "library": design.library,
        "links": design.links if graph else None,
        "ef_construction": effort.ef_construction if graph else None,
        "ef_search": effort.ef_search if graph else None,
        "lists": design.lists if lists else None,
        "probes": effort.probes if lists else None,
        "subquantizers": design.subquantizers if codes else None,
        "code_bits": design.code_bits if codes else None,
        "ids": design.ids,
        "originals": design.originals,
        "cores": effort.cores,
    }


def _notes(design: IndexDesign, *, given_lists: bool, given_codes: bool) -> tuple[str, ...]:
    notes = ["texts and metadata are not counted; arrays that grew by adding bit by bit take up to twice their bytes"]
    if design.kind == "hnsw":
        notes.append("distances of a graph depend on the data: up to 5 times as many where vectors have no structure")
    if design.kind != "flat":
        notes.append("assumed: one core of a shared x86 server as measured (fp32), cores that scale perfectly")
    if design.kind.startswith("ivf") and not given_lists:
        notes.append(f"assumed: {design.lists:,} lists, the square root of the vectors; --lists")
    if design.kind == "ivf-pq" and not given_codes:
        notes.append(f"assumed: {design.subquantizers} codes a vector; --subquantizers")
    return tuple(notes)


def _parts_table(parts: Sequence[IndexPart]) -> Table:
    from llmdrill.table import Table

    total = sum(part.size_bytes for part in parts)
    rows = tuple((part.name, part.size_bytes, part.size_bytes / total) for part in parts)
    return Table("parts", ("part", "bytes", "share"), rows)


def _others(design: IndexDesign, effort: _Effort) -> Table:
    """Return other ways to keep the same vectors, where they are possible."""
    from llmdrill.errors import LlmdrillError
    from llmdrill.estimate.index_memory import index_parts
    from llmdrill.estimate.index_work import query_distances
    from llmdrill.table import Table

    plain = replace(design, kind="flat", dtype="fp32", library="faiss", originals=False)
    ways = {
        "flat fp32": plain,
        "flat fp16": replace(plain, dtype="fp16"),
        "flat int8": replace(plain, dtype="int8"),
        "flat binary": replace(plain, dtype="binary"),
        "flat binary, originals beside": replace(plain, dtype="binary", originals=True),
        f"hnsw fp32, M {design.links}": replace(plain, kind="hnsw"),
        f"ivf-flat fp32, {design.lists:,} lists": replace(plain, kind="ivf-flat"),
        f"ivf-pq, {design.subquantizers} × {design.code_bits} bit": replace(plain, kind="ivf-pq"),
    }
    flat = 4.0 * design.vectors * design.dimensions
    rows = []
    for name, way in ways.items():
        try:
            size = sum(part.size_bytes for part in index_parts(way))
            asked = query_distances(way, ef_search=effort.ef_search, probes=effort.probes)
        except LlmdrillError:  # this way does not exist for these numbers
            continue
        rows.append((name, size, size / flat, asked))
    return Table("ways to keep them", ("index", "bytes", "share_of_fp32", "query_distances"), tuple(rows))
