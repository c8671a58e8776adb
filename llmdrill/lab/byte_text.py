"""Bytes that tiny models are trained on: source of the running Python's own standard library."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from llmdrill.errors import UsageError

HELD_OUT_EVERY: Final = 8  # one module in so many is held out, chosen by the hash of its name
FEWEST_BYTES: Final = 100_000
BYTE_VALUES: Final = 256


@dataclass(frozen=True, slots=True, eq=False)
class ByteText:
    """Text as bytes.

    Attributes:
        trained: (bytes,) of all modules but the held-out ones, one after the other.
        held_out: (bytes,) of the modules that no training sees.
        modules: How many there are in all.
    """

    trained: Tensor
    held_out: Tensor
    modules: int


def library_text(folder: Path | None = None) -> ByteText:
    """Return the top-level modules of the standard library of the running Python, cut into trained and held-out ones.

    Raises:
        UsageError: If there is too little source to train on.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    paths = sorted(folder.glob("*.py"))
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for path in paths:
        parts[_held_out(path.name)].append(path.read_bytes())
    trained, held_out = (bytearray(b"".join(part)) for part in parts)
    if min(len(trained), len(held_out)) < FEWEST_BYTES:
        raise UsageError(f"{folder}: too little source of the standard library here to train a tiny model on")
    as_bytes = [torch.frombuffer(part, dtype=torch.uint8).long() for part in (trained, held_out)]
    return ByteText(as_bytes[0], as_bytes[1], len(paths))


def draw_pieces(text: Tensor, *, pieces: int, tokens: int, rng: torch.Generator) -> Tensor:
    """Return random pieces (B, T + 1) of a text: T bytes to read, and each one's next to guess.

    Raises:
        UsageError: If the text is shorter than a piece.
    """
    if len(text) <= tokens:
        raise UsageError(f"a text of {len(text)} bytes has no piece of {tokens + 1}")
    starts = torch.randint(len(text) - tokens, (pieces, 1), generator=rng)  # (B, 1)
    return text[starts + torch.arange(tokens + 1)]


def _held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT_EVERY == 0


def byte_entropy_nats(text: Tensor) -> float:
    """Return the entropy of single bytes: the loss of a model that knows how often each occurs, and nothing else."""
    shares = torch.bincount(text, minlength=BYTE_VALUES).double() / len(text)
    return float(torch.special.entr(shares).sum())
