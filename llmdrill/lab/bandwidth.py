"""What this machine can do at most: bytes read per second at a working-set size, and FLOP per second of a product."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import random_decoder
from llmdrill.lab.native.engine import HugePages, NativeDecoder, native_or_torch
from llmdrill.lab.shapes import named_shape

if TYPE_CHECKING:
    from collections.abc import Callable

READING_S: Final = 0.004  # a reading takes at least this long, so that small sets are read many times over
PEAK_ROWS: Final = 1024  # of the square product whose rate is the peak
LEAST_BYTES: Final = 4096


class Reader:
    """Memory of one size that is read end to end, again and again, and nothing else is done with it.

    A decode step reads its weights the same way, so this is its ceiling: what fits a cache stays there from one round
    to the next. With the native step's threads and its pages where there is a compiler, else a sum by torch.

    Attributes:
        engine: ``native`` or ``torch``: who reads.
    """

    def __init__(self, *, size_bytes: int, threads: int | None = None) -> None:
        if size_bytes < LEAST_BYTES:
            raise UsageError(f"{size_bytes} is too little to time: at least {LEAST_BYTES}")
        self.size_bytes = size_bytes - size_bytes % LEAST_BYTES
        self._memory = HugePages(self.size_bytes).zeros(self.size_bytes // 4, dtype=torch.float32).fill_(1.0)
        chosen = native_or_torch(random_decoder(named_shape("tiny"), seed=0), precision="fp32", threads=threads)
        self._native = chosen.decoder if isinstance(chosen.decoder, NativeDecoder) else None
        self.engine = "torch" if self._native is None else "native"

    def read(self) -> None:
        """Read all of it once."""
        if self._native is None:
            self._memory.sum()
        else:
            self._native.read(self._memory)

    def bytes_per_s(self, *, now: Callable[[], float] = time.perf_counter) -> float:
        """Return the rate of one reading: as many rounds as fill ``READING_S``, at least one, after one unread.

        What fits a cache is there from the second round on; whatever ran before has driven it out.
        """
        self.read()
        rounds, start = 0, now()
        while True:
            self.read()
            rounds += 1
            seconds = now() - start
            if seconds >= READING_S:
                return rounds * self.size_bytes / seconds


def read_bandwidth(
    *,
    size_bytes: int,
    threads: int | None = None,
    repeats: int = 9,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the bytes per second at which a working set of that size is read, the median of ``repeats``.

    Args:
        size_bytes: Of the set: of a decode step, its weights and cache.
        threads: Of the native step; default torch's.
        repeats: Readings after one that warms up.
        now: The clock.

    Raises:
        UsageError: If the size is under a page.

    Error:
        A call costs a few microseconds, so under about 1 MiB the rate is too low.
    Source:
        Arithmetic. Only reads are counted, because a decode step only reads.
    """
    reader = Reader(size_bytes=size_bytes, threads=threads)
    reader.bytes_per_s(now=now)
    return median(reader.bytes_per_s(now=now) for _ in range(repeats))


def peak_flops(
    dtype: torch.dtype = torch.float32, *, repeats: int = 5, now: Callable[[], float] = time.perf_counter
) -> float:
    """Return the FLOP per second of a large square matrix product in ``dtype`` on torch's threads, the best of them.

    Formula:
        2 * rows^3 / seconds, rows = 1024: large enough that reading costs nothing.
    """
    a, b = (torch.ones(PEAK_ROWS, PEAK_ROWS, dtype=dtype) for _ in range(2))  # (rows, rows)
    best = float("inf")
    for _ in range(repeats + 1):
        start = now()
        torch.nn.functional.linear(a, b)
        best = min(best, now() - start)
    return 2 * PEAK_ROWS**3 / best
