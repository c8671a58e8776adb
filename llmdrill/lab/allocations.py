"""How many bytes of tensors a piece of work holds at once: counted by torch's own allocator, not by formula."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def peak_tensor_bytes(work: Callable[[], Any]) -> int:
    """Return the most bytes of CPU tensors that ``work`` allocated and held at one time, its result included.

    Inputs made before count nothing; temporaries inside torch's kernels do. Run the work once before, so that torch
    does not load libraries while it is watched.

    Source:
        PyTorch's profiler with ``profile_memory``: every allocation and release of the CPU allocator, in order.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes a line on stderr when it starts
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        held = work()  # kept until the watching ends
    results = watched.profiler.kineto_results if watched.profiler else None
    events = [event for event in results.events() if event.name() == "[memory]"] if results else []
    del held
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(changes), default=0)
