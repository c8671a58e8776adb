"""Batches of an epoch: files in a new order each time, on end, cut into sequences that are shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.prepare import Part


@dataclass(slots=True)
class Place:
    """Where in the endless stream of batches a run is."""

    epoch: int = 0
    sequences: int = 0  # of this epoch, already used


def epoch_sequences(part: Part, *, length: int, seed: int, epoch: int) -> NDArray[np.uint16]:
    """Return the sequences (N, length + 1) of one epoch; the last token of each is only predicted."""
    rng = np.random.default_rng([seed, epoch, length])
    ends = np.append(part.starts[1:], len(part.tokens))
    order = rng.permutation(len(part.starts))
    stream = np.concatenate([part.tokens[part.starts[at] : ends[at]] for at in order])
    stream = stream[int(rng.integers(min(length, len(stream) - length))) :]
    count = (len(stream) - 1) // length
    windows = np.lib.stride_tricks.sliding_window_view(stream, length + 1)[::length][:count]
    return windows[rng.permutation(count)]


def batches(part: Part, place: Place, *, length: int, sequences: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches (sequences, length + 1) from ``place`` on, without end, keeping ``place`` up to date."""
    while True:
        rows = epoch_sequences(part, length=length, seed=seed, epoch=place.epoch)
        while place.sequences + sequences <= len(rows):
            picked = rows[place.sequences : place.sequences + sequences]
            place.sequences += sequences
            yield torch.from_numpy(picked.astype(np.int64))
        place.epoch, place.sequences = place.epoch + 1, 0
