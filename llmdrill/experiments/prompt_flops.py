"""Operations of a prompt as the lab's engine runs it: the output head for the last token only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.estimate.flops import prefill_flops

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord


def prompt_flops(record: ModelRecord, *, tokens: float, cached_tokens: float = 0.0) -> float:
    """Return the operations of reading ``tokens`` tokens after ``cached_tokens`` that the cache holds.

    Error:
        As ``prefill_flops``, but without the output head's part of it.
    Source:
        ``prefill_flops``; the head takes 2 * vocab_size * hidden for each token it is not run for.

    >>> from llmdrill.experiments.record import record_of
    >>> from llmdrill.lab.shapes import named_shape
    >>> record = record_of(named_shape("smollm2-135m"))
    >>> round(prompt_flops(record, tokens=64, cached_tokens=448) / prompt_flops(record, tokens=512), 3)
    0.134
    """
    head = 2.0 * record.vocab_size * record.hidden * max(0.0, tokens - 1)
    return prefill_flops(record, input_tokens=tokens, cached_tokens=cached_tokens) - head
