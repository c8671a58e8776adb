"""Training compute: 6ND, how much data a model wants, the loss to expect, and what the device time costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UnknownNameError
from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive, require_share
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL_PASSES: Final = 6.0  # per parameter and token: a multiply-add forward, two backward (activations and weights)
FROZEN_PASSES: Final = 4.0  # no gradient of the weights is needed where the weights stay as they are
CHINCHILLA_TOKENS_PER_PARAMETER: Final = 20.0
# The H100 median of mosaicml/llm-foundry@8c8dd48f:scripts/train/benchmarking/README.md (1B to 7B models) is 0.41, and
# Llama 3 405B reached 0.38 to 0.43 on up to 16,384 H100 (arXiv:2407.21783).
ASSUMED_MFU: Final = 0.40
SECONDS_PER_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """Constants of L(N, D) = entropy + a / N^alpha + b / D^beta, in nats per token.

    Attributes:
        entropy: E, what no model gets below.
    """

    name: str
    entropy: float
    a: float
    b: float
    alpha: float
    beta: float
    source: str


HOFFMANN: Final = ScalingLaw(
    "hoffmann", 1.69, 406.4, 410.7, 0.34, 0.28, "Hoffmann et al. 2022, arXiv:2203.15556, equation 10"
)
BESIROGLU: Final = ScalingLaw(
    "besiroglu", 1.8172, 482.01, 2085.43, 0.3478, 0.3658, "Besiroglu et al. 2024, arXiv:2404.10102, equation 3"
)
SCALING_LAWS: Final[Mapping[str, ScalingLaw]] = {law.name: law for law in (HOFFMANN, BESIROGLU)}


@dataclass(frozen=True, slots=True)
class Allocation:
    """How a compute budget is best split, by one scaling law."""

    parameters: float
    tokens: float
    loss: float


def find_scaling_law(name: str) -> ScalingLaw:
    """Return the scaling law called ``name``.

    Raises:
        UnknownNameError: With the nearest names.
    """
    if name.lower() not in SCALING_LAWS:
        raise UnknownNameError("scaling law", name, SCALING_LAWS)
    return SCALING_LAWS[name.lower()]


def training_flops(*, parameters: float, tokens: float, trainable_parameters: float | None = None) -> float:
    """Return the operations of training.

    Formula:
        6 * parameters * tokens; beside frozen weights (4 * parameters + 6 * trainable_parameters) * tokens: two for the
        forward pass and two for the gradients of the activations of all of them, two for the gradients of the weights
        that train.

    Args:
        parameters: Those that a token is multiplied with: the active ones of a mixture of experts. Adapters are not
            among them.
        tokens: Seen in training, repeated ones counted each time.
        trainable_parameters: Of adapters beside frozen weights; None if all weights train.

    Returns:
        FLOP.

    Raises:
        NumberError: If a number is negative.

    Error:
        Without attention's scores (see attention_share) and without what recomputation does twice: full recomputation
        adds a forward pass, a third more (half more beside frozen weights). The Chinchilla model's own count is
        5.76e23, 2 % below 6ND.
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, section 2.1: C = 6ND; 70B parameters and 1.4T tokens as in Hoffmann et al.
        2022, arXiv:2203.15556.

    >>> training_flops(parameters=70e9, tokens=1.4e12)
    5.88e+23
    """
    require_not_negative(parameters=parameters, tokens=tokens)
    if trainable_parameters is None:
        return FULL_PASSES * parameters * tokens
    require_not_negative(trainable_parameters=trainable_parameters)
    return (FROZEN_PASSES * parameters + FULL_PASSES * trainable_parameters) * tokens


def attention_share(*, parameters: float, layers: int, attention_width: float, sequence_tokens: float) -> float:
    """Return what attention's scores and weighted values add to 6ND, as a share of it.

    Formula:
        12 * layers * attention_width * sequence_tokens / (6 * parameters)

    Args:
        parameters: As for training_flops.
        layers: Layers with attention.
        attention_width: heads * head_dim.
        sequence_tokens: Length of a training sequence.

    Returns:
        A share of 6ND.

    Raises:
        NumberError: If parameters is not positive or another number is negative.

    Error:
        Counts the whole score matrix, as published MFU figures do; a kernel that skips the masked half does half of it.
        With it, the throughputs of 49 published runs (512 to 65,536 tokens) follow from their MFU within 0.1 %.
    Source:
        mosaicml/llm-foundry@8c8dd48f:scripts/train/benchmarking/README.md: mpt-7b at 65,536 tokens.

    >>> round(attention_share(parameters=6_918_905_856, layers=32, attention_width=4096, sequence_tokens=65_536), 2)
    2.48
    """
    require_positive(parameters=parameters)
    require_not_negative(layers=layers, attention_width=attention_width, sequence_tokens=sequence_tokens)
    return 2 * FULL_PASSES * layers * attention_width * sequence_tokens / (FULL_PASSES * parameters)


def chinchilla_tokens(*, parameters: float, tokens_per_parameter: float = CHINCHILLA_TOKENS_PER_PARAMETER) -> float:
    """Return the training tokens that make the best of the compute, by the rule of thumb.

    Formula:
        20 * parameters

    Args:
        parameters: Of the model.
        tokens_per_parameter: 20; small models that will serve many requests are trained on far more.

    Returns:
        Tokens.

    Raises:
        NumberError: If a number is not positive.

    Error:
        The refit's 80 % confidence region at Chinchilla's budget spans 4 to 40 tokens per parameter (Besiroglu et al.
        2024). It minimises training compute alone: what serving costs is not in it.
    Source:
        Hoffmann et al. 2022, arXiv:2203.15556: 70B parameters, 1.4T tokens.

    >>> chinchilla_tokens(parameters=70e9)
    1400000000000.0
    """
    require_positive(parameters=parameters, tokens_per_parameter=tokens_per_parameter)
    return parameters * tokens_per_parameter


def training_loss(law: ScalingLaw, *, parameters: float, tokens: float) -> float:
    """Return the loss that a scaling law expects.

    Formula:
        entropy + a / parameters^alpha + b / tokens^beta

    Args:
        law: hoffmann as printed, or besiroglu, its correction.
        parameters: Of the model.
        tokens: Seen in training, each once.

    Returns:
        Cross-entropy in nats per token, on the data and with the tokenizer of the paper.

    Raises:
        NumberError: If a number is not positive.

    Error:
        The printed exponents of Hoffmann et al. are rounded: that alone raises the data term by about 13 % at 1e11
        tokens (Besiroglu et al., section 3.1). Absolute losses hold for that data and tokenizer only.
    Source:
        Hoffmann et al. 2022, arXiv:2203.15556, equation 10; Besiroglu et al. 2024, arXiv:2404.10102, equation 3.

    >>> round(training_loss(BESIROGLU, parameters=70e9, tokens=1.4e12), 3)
    1.974
    """
    require_positive(parameters=parameters, tokens=tokens)
    return law.entropy + law.a / math.pow(parameters, law.alpha) + law.b / math.pow(tokens, law.beta)


def compute_optimal(law: ScalingLaw, *, flops: float) -> Allocation:
    """Return the model size and the data that give the lowest loss for a compute budget.

    Formula:
        parameters = G * (flops / 6)^(beta / (alpha + beta)), tokens = flops / (6 * parameters),
        G = (alpha * a / (beta * b))^(1 / (alpha + beta)).

    Args:
        law: The scaling law.
        flops: The budget, as 6ND counts it.

    Returns:
        Parameters, tokens and the loss there.

    Raises:
        NumberError: If flops is not positive.

    Error:
        As training_loss: at Chinchilla's budget hoffmann gives 32B and 93 tokens per parameter, besiroglu 72B and 18.
    Source:
        Hoffmann et al. 2022, arXiv:2203.15556, approach 3; Besiroglu et al. 2024, arXiv:2404.10102: the refit's
        exponent beta / (alpha + beta) is 0.5126 and its optimum about 20 tokens per parameter.

    >>> best = compute_optimal(BESIROGLU, flops=5.76e23)
    >>> f"{best.parameters:.2e} parameters, {best.tokens / best.parameters:.1f} tokens each"
    '7.22e+10 parameters, 18.4 tokens each'
    """
    require_positive(flops=flops)
    both = law.alpha + law.beta
    scale = math.pow(law.alpha * law.a / (law.beta * law.b), 1 / both)
    parameters = scale * math.pow(flops / FULL_PASSES, law.beta / both)
    tokens = flops / (FULL_PASSES * parameters)
    return Allocation(parameters, tokens, training_loss(law, parameters=parameters, tokens=tokens))


def device_hours(*, flops: float, peak_flops_per_s: float, mfu: float = ASSUMED_MFU) -> float:
    """Return the hours that one device would need: GPU-hours.

    Formula:
        flops / (peak_flops_per_s * mfu * 3600)

    Args:
        flops: Of the training.
        peak_flops_per_s: Dense peak of one device in the precision used.
        mfu: Share of the peak that training reaches, pipeline bubbles and communication included.

    Returns:
        Hours of one device; divide by the devices for the time on the wall.

    Raises:
        NumberError: If a number is negative, or the peak or the MFU is zero or the MFU above one.

    Error:
        That of the MFU: 46 published bf16 runs of 1B to 13B models reach 0.26 to 0.46 on H100 (median 0.41) and 0.47 to
        0.64 on A100 (median 0.52); long sequences and many devices reach less. Restarts and evaluation come on top.
    Source:
        Definition of MFU; its distribution from mosaicml/llm-foundry@8c8dd48f:scripts/train/benchmarking/README.md:
        mpt-7b at 2,048 tokens on 512 H100 reaches an MFU of 42.2 % and 9,670 tokens/s each.

    >>> size = 6_658_859_008
    >>> extra = attention_share(parameters=size, layers=32, attention_width=4096, sequence_tokens=2048)
    >>> flops = training_flops(parameters=size, tokens=9670) * (1 + extra)
    >>> round(3600 * device_hours(flops=flops, peak_flops_per_s=989.5e12, mfu=0.422), 3)  # seconds
    1.0
    """
    require_not_negative(flops=flops)
    require_positive(peak_flops_per_s=peak_flops_per_s, mfu=mfu)
    require_share(mfu=mfu)
    return flops / (peak_flops_per_s * mfu * SECONDS_PER_HOUR)


def training_usd(*, device_hours: float, usd_per_hour: float) -> float:
    """Return what the device time costs.

    Formula:
        device_hours * usd_per_hour

    Args:
        device_hours: Hours of one device.
        usd_per_hour: Rent of one device.

    Returns:
        USD.

    Raises:
        NumberError: If a number is negative.

    Error:
        Exact for the final run's rent; failed runs, ablations, storage, network and people are not in it.
    Source:
        DeepSeek-AI 2024, arXiv:2412.19437: 2.788M H800 hours at $2 are $5.576M.

    >>> training_usd(device_hours=2_788_000, usd_per_hour=2)
    5576000
    """
    require_not_negative(device_hours=device_hours, usd_per_hour=usd_per_hour)
    return device_hours * usd_per_hour


def pipeline_bubble_share(*, stages: int, microbatches: int) -> float:
    """Return the share of time that pipeline stages stand idle.

    Formula:
        (stages - 1) / (microbatches + stages - 1)

    Args:
        stages: p, devices in a row.
        microbatches: m, parts that a step's batch is cut into.

    Returns:
        A share of the step.

    Raises:
        NumberError: If a number is below one.

    Error:
        Assumes equal stages and free communication; an interleaved schedule of v chunks a device divides the idle time
        by v.
    Source:
        Huang et al. 2019, GPipe, arXiv:1811.06965, section 2: (K - 1) / (M + K - 1), negligible from M = 4K on.
        Narayanan et al. 2021, arXiv:2104.04473, section 2.2 divides by the ideal time instead: (p - 1) / m.

    >>> round(pipeline_bubble_share(stages=8, microbatches=32), 3)
    0.179
    """
    if stages < 1 or microbatches < 1:
        raise NumberError(f"stages and microbatches must be one or more, got {stages:g} and {microbatches:g}")
    return (stages - 1) / (microbatches + stages - 1)


def explain_training_flops(*, parameters: float, tokens: float, trainable_parameters: float | None = None) -> Explained:
    """Return training_flops with its formula and the numbers put in."""
    value = training_flops(parameters=parameters, tokens=tokens, trainable_parameters=trainable_parameters)
    formula, filled = "6 × parameters × tokens", f"6 × {figure(parameters)} × {figure(tokens)}"
    if trainable_parameters is not None:
        formula = "(4 × parameters + 6 × trainable_parameters) × tokens"
        filled = f"(4 × {figure(parameters)} + 6 × {figure(trainable_parameters)}) × {figure(tokens)}"
    source = "Kaplan et al. 2020, arXiv:2001.08361, section 2.1"
    return Explained("training_flops", value, "count", formula, f"{filled} = {value:.6g} FLOP", source)


def explain_device_hours(*, flops: float, peak_flops_per_s: float, mfu: float) -> Explained:
    """Return device_hours with its formula and the numbers put in."""
    value = device_hours(flops=flops, peak_flops_per_s=peak_flops_per_s, mfu=mfu)
    return Explained(
        name="gpu_hours",
        value=value,
        unit="count",
        formula="training_flops / (peak_flops_per_s × mfu × 3600)",
        filled=f"{flops:.6g} / ({peak_flops_per_s:.6g} × {figure(mfu)} × 3600) = {figure(value)} h",
        source="Definition of MFU",
    )


def explain_training_loss(law: ScalingLaw, *, parameters: float, tokens: float) -> Explained:
    """Return training_loss with its formula and the numbers put in."""
    value = training_loss(law, parameters=parameters, tokens=tokens)
    return Explained(
        name="training_loss_nats",
        value=value,
        unit="count",
        formula="E + A / parameters^α + B / tokens^β",
        filled=(
            f"{law.entropy} + {law.a} / {parameters:.6g}^{law.alpha} + {law.b} / {tokens:.6g}^{law.beta}"
            f" = {figure(value)} nats per token"
        ),
        source=law.source,
    )
