"""Pre-LN against Post-LN: what layers hold and which gradients they get at initialisation, and a small real training.

Shapes in comments: L layers, C width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.lab.byte_text import draw_pieces
from llmdrill.lab.moe import DenseFeedForward
from llmdrill.lab.tiny_transformer import Norm, TinyShape, TinyTransformer, mean_loss, train_tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from llmdrill.lab.byte_text import ByteText
    from llmdrill.lab.tiny_transformer import Training

NORMS: Final[tuple[Norm, Norm]] = ("pre", "post")


@dataclass(frozen=True, slots=True)
class Initial:
    """A model that has learnt nothing yet, mean over seeds.

    Attributes:
        gradient_norms: (L,), Frobenius norm of the gradient of each layer's second feed-forward matrix.
        squared_norms: (L,), mean squared length of what each layer sums before its last normalisation (Post-LN) or
            hands on (Pre-LN), divided by the width.
    """

    norm: Norm
    layers: int
    gradient_norms: tuple[float, ...]
    squared_norms: tuple[float, ...]

    @property
    def last_gradient(self) -> float:
        """Return the gradient of the last layer, of which the theorem speaks."""
        return self.gradient_norms[-1]


@dataclass(frozen=True, slots=True)
class Trained:
    """One training run.

    Attributes:
        losses: Nats a byte, step by step.
        held_out_nats: Mean loss on text that it never saw.
        gradient_norms: (L,), as in ``Initial``, after the training.
    """

    norm: Norm
    warm_up_steps: int
    losses: tuple[float, ...]
    held_out_nats: float
    gradient_norms: tuple[float, ...]

    def smoothed(self, points: int) -> Curve:
        """Return the losses as at most ``points`` means of equally many steps, each at its last step."""
        size = max(1, -(-len(self.losses) // points))
        parts = [self.losses[at : at + size] for at in range(0, len(self.losses), size)]
        ends = tuple(min(at + size, len(self.losses)) for at in range(0, len(self.losses), size))
        return Curve(ends, tuple(sum(part) / len(part) for part in parts))


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses over steps."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]

    @property
    def at(self) -> tuple[float, ...]:
        """Return the steps as positions of a picture."""
        return tuple(float(step) for step in self.steps)


def at_initialisation(
    shape: TinyShape, text: Tensor, *, depths: Sequence[int], tokens: int, pieces: int, seeds: int, seed: int
) -> dict[Norm, tuple[Initial, ...]]:
    """Return gradients and sizes by layer of freshly drawn models of each depth, mean over ``seeds`` of them.

    Every model reads the same pieces of ``text`` (bytes,). The feed-forward should be as wide as the model: then the
    sizes are what the paper's lemma says.

    Source:
        Xiong et al. 2020, arXiv:2002.04745, theorem 1 and lemma 2.
    """
    drawn = draw_pieces(text, pieces=pieces, tokens=tokens, rng=torch.Generator().manual_seed(seed))
    return {
        norm: tuple(
            _mean_initial(replace(shape, norm=norm, layers=depth), drawn, range(seed, seed + seeds)) for depth in depths
        )
        for norm in NORMS
    }


def _mean_initial(shape: TinyShape, pieces: Tensor, seeds: Sequence[int]) -> Initial:
    runs = [_one_initial(TinyTransformer(shape, seed=seed), pieces) for seed in seeds]
    gradients, squares = (_mean_by_layer([run[which] for run in runs]) for which in (0, 1))
    return Initial(shape.norm, shape.layers, gradients, squares)


def gradient_norms(model: TinyTransformer, pieces: Tensor) -> tuple[float, ...]:
    """Return the Frobenius norm of the gradient of each layer's second feed-forward matrix (L,), input to output."""
    model.zero_grad()
    torch.autograd.backward(model.loss(pieces))
    norms = tuple(float(one.norm()) for one in _second_gradients(model))
    model.zero_grad()
    return norms


def train_norms(
    shape: TinyShape,
    text: ByteText,
    plan: Training,
    *,
    held_out_pieces: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Trained, ...]:
    """Train Pre-LN and Post-LN, each with the plan's warm-up and with none: same seed, same text, same order."""
    rng = torch.Generator().manual_seed(seed)
    pieces = draw_pieces(text.held_out, pieces=held_out_pieces, tokens=plan.tokens, rng=rng)
    runs = []
    for norm in NORMS:
        for steps in (0, plan.warm_up_steps):
            model = TinyTransformer(replace(shape, norm=norm), seed=seed)
            name = f"{norm}-LN, {steps} steps of warm-up: "
            losses = train_tiny(
                model,
                text.trained,
                replace(plan, warm_up_steps=steps),
                seed=seed,
                say=lambda text, name=name: say(name + text),  # type: ignore[misc]
            )
            runs.append(Trained(norm, steps, losses, mean_loss(model, pieces), gradient_norms(model, pieces)))
    return tuple(runs)


def _one_initial(model: TinyTransformer, pieces: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return gradients and squared sizes by layer; the sizes are read by hooks on the way."""
    sizes: list[float] = []

    def keep(x: Tensor) -> None:
        sizes.append(float(x.detach().square().mean()))

    def of_input(_: nn.Module, inputs: tuple[Tensor]) -> None:
        keep(inputs[0])

    def of_output(_: nn.Module, __: tuple[Tensor], output: Tensor) -> None:
        keep(output)

    if model.shape.norm == "post":
        hooks = [layer.feed_forward_norm.register_forward_pre_hook(of_input) for layer in model.tiny_layers()]
    else:
        hooks = [layer.register_forward_hook(of_output) for layer in model.tiny_layers()]
    norms = gradient_norms(model, pieces)
    for hook in hooks:
        hook.remove()
    return norms, tuple(sizes)


def _second_gradients(model: TinyTransformer) -> list[Tensor]:
    ways = [layer.feed_forward for layer in model.tiny_layers()]
    grads = [one.down.grad for one in ways if isinstance(one, DenseFeedForward)]
    return [one for one in grads if one is not None]


def _mean_by_layer(runs: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(values) / len(values) for values in zip(*runs, strict=True))
