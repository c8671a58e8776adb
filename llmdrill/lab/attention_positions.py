"""Sinusoidal positions, RoPE and ALiBi beyond the length that a model was trained on: three tiny real trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.lab.byte_text import draw_pieces
from llmdrill.lab.interval import half_width
from llmdrill.lab.tiny_transformer import Positions, TinyShape, TinyTransformer, piece_losses, train_tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.byte_text import ByteText
    from llmdrill.lab.tiny_transformer import Training

POSITIONS: Final[tuple[Positions, ...]] = ("sinusoidal", "rope", "alibi")


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """One trained model, read at several lengths.

    Attributes:
        lengths: Bytes of context before the last byte scored.
        nats: Loss on the same last bytes at each length.
        rise_half_width_nats: Of the 95 % interval, over pieces of text, of the loss at the last length minus that at
            the trained one.
        scored_bytes: How many those are.
    """

    positions: Positions
    lengths: tuple[int, ...]
    nats: tuple[float, ...]
    rise_half_width_nats: float
    scored_bytes: int


def measure_positions(
    text: ByteText,
    shape: TinyShape,
    plan: Training,
    *,
    lengths: Sequence[int],
    pieces: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Extrapolation, ...]:
    """Train one model per kind of position, same seed and text, and score the same held-out bytes at every length.

    Each piece ends with the same bytes and begins earlier the longer it is: the last half of the trained length is
    scored, so a longer piece differs in its context alone. The trained length is among the lengths.
    """
    last = plan.tokens // 2
    rng = torch.Generator().manual_seed(seed)
    drawn = draw_pieces(text.held_out, pieces=pieces, tokens=max(lengths), rng=rng)  # (B, longest + 1)
    found = []
    for positions in POSITIONS:
        model = TinyTransformer(replace(shape, positions=positions), seed=seed)
        train_tiny(
            model,
            text.trained,
            plan,
            seed=seed,
            say=lambda line, name=positions: say(f"{name}: {line}"),  # type: ignore[misc]
        )
        losses = [piece_losses(model, drawn[:, -(length + 1) :], last=last) for length in lengths]  # each (B,)
        rise = half_width(losses[-1] - losses[lengths.index(plan.tokens)])
        nats = tuple(float(one.mean()) for one in losses)
        found.append(Extrapolation(positions, tuple(lengths), nats, rise, pieces * last))
    return tuple(found)
