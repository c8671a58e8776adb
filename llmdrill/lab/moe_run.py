"""A mixture-of-experts layer measured against its dense twins, and its routing after a short real training.

Shapes in comments: N tokens, C width.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from llmdrill.lab.byte_text import draw_pieces
from llmdrill.lab.clock import timed_alternately
from llmdrill.lab.moe import DenseFeedForward, ExpertFeedForward
from llmdrill.lab.room import need_memory
from llmdrill.lab.tiny_transformer import TinyShape, TinyTransformer, mean_loss, train_tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from llmdrill.lab.byte_text import ByteText
    from llmdrill.lab.clock import Timing
    from llmdrill.lab.tiny_transformer import Training

Layer = Literal["experts", "dense_same_flops", "dense_same_parameters"]
LAYERS: Final[tuple[Layer, ...]] = ("experts", "dense_same_flops", "dense_same_parameters")
WARM_UP: Final = 2  # unread runs of every layer
FP32_BYTES: Final = 4
IDLE_SHARE: Final = 0.1  # of an even load
CAPACITY_FACTOR: Final = 1.25  # of Switch: room of an expert, of an even load


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """One layer of experts.

    Attributes:
        width: C, of the residual stream.
        hidden: Inner width of one expert.
        experts: How many there are.
        per_token: How many a token is sent to.
    """

    width: int
    hidden: int
    experts: int
    per_token: int

    def hidden_of(self, layer: Layer) -> int:
        """Return the inner width of a dense twin, or of one expert."""
        return (
            self.hidden
            * {"experts": 1, "dense_same_flops": self.per_token, "dense_same_parameters": self.experts}[layer]
        )


@dataclass(frozen=True, slots=True)
class LayerReading:
    """One layer at one number of tokens.

    Attributes:
        flops: Of the matrix products that torch dispatched, counted.
        read_bytes: Of the weights that the layer touched, mean over the repeats' batches.
        touched_experts: Mean over the repeats' batches; None of a dense layer.
    """

    layer: Layer
    tokens: int
    timing: Timing
    flops: int
    read_bytes: float
    touched_experts: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """How a trained model's router spreads held-out text, per layer of experts.

    Attributes:
        balance_weight: Of the balancing loss in training.
        load_shares: One row per layer: the share of assignments that each expert got, in the order of the experts.
        touched_shares: One per entry of ``batches``: share of experts that so many consecutive bytes touch, mean over
            layers and windows.
        held_out_nats: Mean loss on text that it never saw.
    """

    balance_weight: float
    load_shares: tuple[tuple[float, ...], ...]
    batches: tuple[int, ...]
    touched_shares: tuple[float, ...]
    held_out_nats: float

    @property
    def largest_over_mean(self) -> float:
        """Return the fullest expert's load against an even one, mean over layers: what the slowest expert waits for."""
        return sum(max(row) * len(row) for row in self.load_shares) / len(self.load_shares)

    @property
    def overflow_share(self) -> float:
        """Return the share of assignments that a layer of fixed capacity drops, mean over layers; this one drops none.

        Source:
            Fedus et al. 2021 (Switch), arXiv:2101.03961, equation 3: capacity = tokens / experts * capacity factor.
        """
        over = [sum(max(0.0, share - CAPACITY_FACTOR / len(row)) for share in row) for row in self.load_shares]
        return sum(over) / len(over)

    @property
    def idle_experts(self) -> int:
        """Return how many experts got less than a tenth of an even load, over all layers."""
        return sum(1 for row in self.load_shares for share in row if share * len(row) < IDLE_SHARE)


def build_layers(shape: ExpertShape, *, seed: int) -> dict[Layer, nn.Module]:
    """Return the layer of experts and its two dense twins, with random weights.

    Raises:
        UsageError: If they do not fit into the memory that is free.
    """
    matrices = 2 * shape.experts + shape.per_token
    need_memory(
        matrices * 2 * shape.width * shape.hidden * FP32_BYTES,
        what=f"a layer of {shape.experts} experts with its twins",
    )
    rng = torch.Generator().manual_seed(seed)
    experts = ExpertFeedForward(
        width=shape.width, hidden=shape.hidden, experts=shape.experts, per_token=shape.per_token, rng=rng
    )
    twins = {layer: DenseFeedForward(width=shape.width, hidden=shape.hidden_of(layer), rng=rng) for layer in LAYERS[1:]}
    return {"experts": experts, **twins}


@torch.inference_mode()
def measure_layers(
    shape: ExpertShape,
    *,
    batches: Sequence[int],
    repeats: int,
    seed: int,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[LayerReading, ...]:
    """Time the three layers by number of tokens, alternately, each repeat on tokens of its own.

    The tokens are independent, so the router sends them evenly; real text does not (see ``measure_balance``).
    """
    layers = build_layers(shape, seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    return tuple(
        reading
        for tokens in batches
        for reading in _at(layers, tokens, repeats=repeats, width=shape.width, rng=rng, now=now)
    )


def _at(
    layers: dict[Layer, nn.Module],
    tokens: int,
    *,
    repeats: int,
    width: int,
    rng: torch.Generator,
    now: Callable[[], float],
) -> list[LayerReading]:
    rounds = WARM_UP + repeats
    need_memory(rounds * tokens * width * FP32_BYTES, what=f"{rounds} batches of {tokens} tokens")
    batches = [torch.randn(tokens, width, generator=rng) for _ in range(rounds)]  # each (N, C)

    def on_each_in_turn(layer: nn.Module) -> Callable[[], object]:
        own = iter(batches)
        return lambda: layer(next(own))

    works: dict[str, Callable[[], object]] = {name: on_each_in_turn(layer) for name, layer in layers.items()}
    timings = timed_alternately(works, warm_up=WARM_UP, repeats=repeats, now=now)
    mean_touched = sum(_touched(layers["experts"], x) for x in batches[WARM_UP:]) / repeats
    return [
        LayerReading(
            layer=name,
            tokens=tokens,
            timing=timings[name],
            flops=counted_flops(layer, batches[0]),
            read_bytes=read_bytes(layer, mean_touched),
            touched_experts=mean_touched if name == "experts" else None,
        )
        for name, layer in layers.items()
    ]


def counted_flops(layer: nn.Module, x: Tensor) -> int:
    """Return the FLOPs of the matrix products that torch dispatched for x (N, C), 2 a multiply-add."""
    counter = FlopCounterMode(display=False)
    with counter:
        layer(x)
    return counter.get_total_flops()


def read_bytes(layer: nn.Module, touched_experts: float) -> float:
    """Return the bytes of weights that a pass reads: of a layer of experts, the router and the experts touched."""
    if not isinstance(layer, ExpertFeedForward):
        return float(sum(one.nbytes for one in layer.parameters()))
    return float(layer.router.nbytes + touched_experts * (layer.up[0].nbytes + layer.down[0].nbytes))


def _touched(layer: nn.Module, x: Tensor) -> int:
    return layer.route(x).touched if isinstance(layer, ExpertFeedForward) else 0


@dataclass(frozen=True, slots=True)
class TrainedLayers:
    """Tiny models trained alike: with experts, balanced and not, and their dense twins.

    Attributes:
        balances: One per weight of the balancing loss.
        dense_nats: Held-out loss of each dense twin.
        parameters: Of the model with experts, and of each twin.
    """

    balances: tuple[Balance, ...]
    dense_nats: dict[Layer, float]
    parameters: dict[Layer, int]


def train_layers(
    shape: TinyShape,
    text: ByteText,
    plan: Training,
    *,
    weights: Sequence[float],
    batches: Sequence[int],
    held_out_pieces: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> TrainedLayers:
    """Train the model of experts once per weight of the balancing loss, and the dense twins: same seed, same text."""
    rng = torch.Generator().manual_seed(seed)
    pieces = draw_pieces(text.held_out, pieces=held_out_pieces, tokens=plan.tokens, rng=rng)
    balances, parameters, dense_nats = [], {}, {}
    for weight in weights:
        model = _trained(shape, text, replace(plan, balance_weight=weight), seed, say)
        balances.append(measure_balance(model, pieces, batches=batches, balance_weight=weight))
        parameters[LAYERS[0]] = model.parameter_count
    for layer in LAYERS[1:]:
        times = shape.per_token if layer == "dense_same_flops" else shape.experts
        model = _trained(replace(shape, experts=0, feed_forward=shape.feed_forward * times), text, plan, seed, say)
        dense_nats[layer], parameters[layer] = mean_loss(model, pieces), model.parameter_count
    return TrainedLayers(tuple(balances), dense_nats, parameters)


@torch.no_grad()
def measure_balance(
    model: TinyTransformer, pieces: Tensor, *, batches: Sequence[int], balance_weight: float
) -> Balance:
    """Return how the model's routers spread the bytes of pieces (B, T + 1), and its loss on them."""
    nats = float(model.loss(pieces))
    routings = [one.routing for one in model.expert_layers() if one.routing is not None]
    rows = [(routing.counts / routing.counts.sum()).tolist() for routing in routings]
    experts = model.shape.experts
    shares = []
    for batch in batches:
        windows = [
            window for routing in routings for window in torch.split(routing.chosen, batch) if len(window) == batch
        ]
        shares.append(sum(len(torch.unique(window)) for window in windows) / (len(windows) * experts))
    return Balance(balance_weight, tuple(tuple(row) for row in rows), tuple(batches), tuple(shares), nats)


def _trained(
    shape: TinyShape, text: ByteText, plan: Training, seed: int, say: Callable[[str], None]
) -> TinyTransformer:
    model = TinyTransformer(shape, seed=seed)
    name = (
        f"{shape.experts} experts, balance {plan.balance_weight:g}" if shape.experts else f"dense {shape.feed_forward}"
    )
    train_tiny(model, text.trained, plan, seed=seed, say=lambda line: say(f"{name}: {line}"))
    return model
