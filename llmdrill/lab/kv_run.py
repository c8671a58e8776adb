"""What a key-value cache costs: the bytes of its tensor, and of a fresh process that fills it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.lab.room import available_bytes
from llmdrill.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.load_decoder import Precision
    from llmdrill.lab.shapes import DecoderShape

READABLE_BYTES: Final = 32 << 20  # a smaller cache drowns in what else a process does
PROCESSES_AT_ONCE: Final = 2
SPARE_SHARE: Final = 0.9  # of the free memory that caches may fill


@dataclass(frozen=True, slots=True)
class CachePoint:
    """One cache to be allocated and filled."""

    shape: DecoderShape
    context_tokens: int
    sequences: int
    dtype: Precision

    @property
    def needed_bytes(self) -> int:
        """Return what it will take; asked before it is taken, and no result."""
        per_token = self.shape.kv_bytes_per_token // (1 if self.dtype == "fp32" else 2)
        return per_token * self.context_tokens * self.sequences


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """What a process of its own saw of one cache.

    Attributes:
        tensor_bytes: Of the tensor that holds keys and values.
        rss_bytes: By how much the process grew while every position was written; None where the system does not tell.
    """

    tensor_bytes: int
    rss_bytes: int | None


def sweep_points(main: CachePoint) -> dict[str, CachePoint]:
    """Return the main cache and its neighbours: half the context, half and twice the batch, heads, type."""
    other: Precision = "bf16" if main.dtype == "fp32" else "fp32"
    points = {
        "as asked": main,
        "half the context": replace(main, context_tokens=max(1, main.context_tokens // 2)),
        "half the batch": replace(main, sequences=max(1, main.sequences // 2)),
        "twice the batch": replace(main, sequences=2 * main.sequences),
        "MHA": replace(main, shape=replace(main.shape, kv_heads=main.shape.heads)),
        "MQA": replace(main, shape=replace(main.shape, kv_heads=1)),
        other: replace(main, dtype=other),
    }
    return {name: point for name, point in points.items() if name == "as asked" or point != main}


def measure_caches(points: Sequence[CachePoint], *, say: Callable[[str], None] = lambda _: None) -> list[CacheBytes]:
    """Fill each cache in a fresh process, and return what it took there.

    Raises:
        UsageError: If the caches are larger than the memory that is free, or such a process fails.

    Source:
        Arithmetic: two readings of /proc/self/smaps_rollup around the writing of every position, in pages not yet used.
    """
    largest, free = max(point.needed_bytes for point in points) * PROCESSES_AT_ONCE, available_bytes()
    if free is not None and largest > SPARE_SHARE * free:
        raise UsageError(
            f"caches of {format_bytes(largest)} are to be filled, but {format_bytes(free)} of memory are free: ask for"
            " a smaller --context or --batch"
        )
    with ThreadPoolExecutor(PROCESSES_AT_ONCE) as pool:
        found = []
        for number, one in enumerate(pool.map(_in_a_process, points), start=1):
            say(f"cache {number} of {len(points)}, each in a process of its own")
            found.append(one)
    return found


def _in_a_process(point: CachePoint) -> CacheBytes:
    asked = json.dumps({**asdict(point), "shape": {**asdict(point.shape), "long_rope": None}})
    command = (sys.executable, "-m", "llmdrill.lab.kv_child", asked)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very package
    if done.returncode:
        why = (done.stderr.splitlines() or [f"status {done.returncode}"])[-1]
        raise UsageError(f"the process that fills a cache of {format_bytes(point.needed_bytes)} failed: {why}")
    return CacheBytes(**json.loads(done.stdout))
