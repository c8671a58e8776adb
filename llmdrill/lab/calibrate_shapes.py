"""The decoders that a machine is calibrated with, and those that its profile is then held against.

Probes vary one thing at a time where they can: width and rows; a deep narrow one for dispatch, a slim one with many
heads for attention, one with a KV head a head for reading the cache, a tall one for the output matrix, a big one whose
weights fit no cache. No held-out shape is a probe: other widths, depths, head sizes, vocabularies, contexts and
batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.lab.calibrate import HeldOut, Pass, Probe
from llmdrill.lab.shapes import DecoderShape, named_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.lab.calibrate import Engine, Precision

SET_BYTES: Final = tuple(size << 20 for size in (1, 2, 4, 8, 16, 32, 64, 128, 256))  # from a core's cache to memory
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "bf16", "int8")


def shape_of(
    layers: int, hidden: int, heads: tuple[int, int], intermediate: int, vocab: int, *, head_dim: int = 64
) -> DecoderShape:
    """Return the shape of a Llama-family decoder of so many query and KV heads, tied, for at most 2,048 tokens."""
    query_heads, kv_heads = heads
    return DecoderShape(
        layers=layers,
        hidden=hidden,
        heads=query_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=vocab,
        rope_theta=10_000.0,
        norm_eps=1e-5,
        tied=True,
        max_positions=2048,
    )


def prefills(*tokens: int) -> tuple[Pass, ...]:
    """Return a prefill of each length."""
    return tuple(Pass("prefill", count) for count in tokens)


def steps(*contexts: int, sequences: int = 1) -> tuple[Pass, ...]:
    """Return a decode step at each context."""
    return tuple(Pass("decode", count, sequences) for count in contexts)


def probes(*, native: bool) -> tuple[Probe, ...]:
    """Return every probe: torch in fp32 and bf16, and the native step in fp32, bf16 and int8 where there is one."""
    own = [probe for precision in PRECISIONS for probe in _native_probes(precision)] if native else []
    return (*_torch_probes("fp32"), *_torch_probes("bf16"), *own)


def _torch_probes(precision: Precision) -> Iterator[Probe]:
    def probe(name: str, shape: DecoderShape, *passes: Pass) -> Probe:
        return Probe(name, shape, "torch", precision, passes)

    mid, wide = shape_of(2, 576, (9, 3), 1536, 1024), shape_of(2, 1024, (16, 4), 2816, 1024)
    yield probe("slim", shape_of(4, 256, (4, 4), 704, 256), *prefills(*ROWS), *steps(16, 512))
    yield probe("mid", mid, *prefills(*ROWS), *steps(16, 1000), *steps(16, sequences=4), *steps(16, sequences=16))
    yield probe("wide", wide, *prefills(*ROWS[:-1]), *steps(16), *steps(16, sequences=8), *steps(16, sequences=32))
    yield probe("heads", shape_of(2, 64, (16, 4), 64, 64), *prefills(1, 128, 512, 1024), *steps(16, 1024))
    yield probe("mha", shape_of(3, 256, (16, 16), 256, 64), *steps(100, 1000), *steps(400, sequences=8))
    yield probe("deep", shape_of(16, 128, (2, 1), 256, 64), *prefills(1, 16, 128), *steps(16))
    yield probe("big", shape_of(8, 640, (10, 5), 1728, 4096), *prefills(1, 32), *steps(16))
    yield probe("tall", shape_of(1, 256, (4, 2), 704, 32_768), *prefills(1, 64), *steps(16))


def _native_probes(precision: Precision) -> Iterator[Probe]:
    def probe(name: str, shape: DecoderShape, *passes: Pass) -> Probe:
        return Probe(name, shape, "native", precision, passes)

    wide = shape_of(2, 1024, (16, 4), 2816, 1024)
    several = (*steps(16, sequences=8), *steps(16, sequences=16), *steps(16, sequences=32))
    yield probe("slim", shape_of(4, 256, (4, 4), 704, 256), *steps(16, 512), *steps(16, sequences=8))
    yield probe("mid", shape_of(3, 576, (9, 3), 1536, 1024), *steps(16, 1000), *several)
    yield probe("wide", wide, *steps(16), *steps(16, sequences=8), *steps(16, sequences=32))
    yield probe("heads", shape_of(4, 64, (16, 4), 64, 64), *steps(16, 256, 1024), *steps(512, sequences=8))
    yield probe("mha", shape_of(3, 256, (16, 16), 256, 64), *steps(100, 1000), *steps(400, sequences=8))
    yield probe("deep", shape_of(24, 128, (2, 1), 256, 64), *steps(16))
    yield probe("big", shape_of(16 if precision == "int8" else 8, 640, (10, 5), 1728, 4096), *steps(16, 500))
    yield probe("tall", shape_of(1, 256, (4, 2), 704, 32_768), *steps(16))


def held_out(*, native: bool) -> tuple[HeldOut, ...]:
    """Return requests to shapes that are no probes."""
    engine: Engine = "native" if native else "torch"
    last: Precision = "int8" if native else "fp32"
    shallow, odd = shape_of(4, 768, (12, 12), 2048, 8192), shape_of(6, 448, (7, 7), 1200, 8192)
    narrow, broad = shape_of(16, 320, (5, 1), 864, 4096), shape_of(3, 1280, (20, 4), 3456, 2048)
    small_heads, embedded = shape_of(10, 384, (12, 3), 1024, 16_384, head_dim=32), shape_of(5, 384, (6, 2), 832, 4096)
    return (
        HeldOut("smollm2-135m", named_shape("smollm2-135m"), engine, last, 256, 32),
        HeldOut("4x768-mha", shallow, engine, "fp32", 384, 32),
        HeldOut("4x768-mha", shallow, "torch", "fp32", 96, 16),
        HeldOut("16x320-mqa", narrow, engine, last, 96, 64),
        HeldOut("16x320-mqa", narrow, engine, last, 200, 32, 4),
        HeldOut("3x1280-gqa", broad, engine, "bf16", 200, 32),
        HeldOut("3x1280-gqa", broad, "torch", "fp32", 48, 16),
        HeldOut("6x448-mha", odd, engine, "bf16", 700, 32),
        HeldOut("10x384-d32", small_heads, engine, last, 300, 32),
        HeldOut("5x384-gqa", embedded, engine, last, 150, 64),
    )
