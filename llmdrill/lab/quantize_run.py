"""Quantise a decoder in many ways, and measure what each costs and saves: what `llmdrill lab quantize` measures.

Shapes in comments: B windows, T tokens of a window, V vocabulary.
"""

from __future__ import annotations

import random
import sysconfig
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.clock import timed_alternately
from llmdrill.lab.gptq import quantize_gptq
from llmdrill.lab.held_out import held_out_sums, held_out_texts
from llmdrill.lab.interval import half_width
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder, native_or_torch
from llmdrill.lab.quantize import (
    Quantized,
    Scheme,
    named_tensors,
    round_alone,
    round_everything,
    round_layers,
    unpacking,
)
from llmdrill.lab.score import draw_windows, line_ends, score_windows, size_bytes
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor

    from llmdrill.lab.clock import Timing
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.native.engine import NativePrecision
    from llmdrill.lab.score import LineEnds
    from llmdrill.lab.tokenizer import Tokenizer

SWEEP_TOKENS: Final = 256  # of a window, where one matrix at a time is rounded: all logits of fp32 are kept
CALIBRATION_FILES: Final = 40
TIMED_CONTEXT_TOKENS: Final = 64
Method = Literal["none", "nearest", "nearest, everything", "int8 activations", "gptq"]


@dataclass(frozen=True, slots=True)
class QuantizeConfig:
    """What to run.

    Attributes:
        model: A folder or hub id; None for the embedded decoder.
        windows: Of held-out text; every variant is judged on all of them.
        sweep_windows: Of these, for one matrix at a time.
        calibration_windows: Of other text, for GPTQ.
        window_tokens: Of each.
        groups: Columns that share a scale in int4, each size tried.
        decode_tokens: Of each timed run.
        repeats: Timed runs of each engine.
    """

    model: str | None = None
    windows: int = 16
    sweep_windows: int = 4
    calibration_windows: int = 8
    window_tokens: int = 512
    groups: tuple[int, ...] = (32, 64, 128)
    decode_tokens: int = 32
    repeats: int = 5

    def __post_init__(self) -> None:
        least = {"windows": 2, "sweep_windows": 1, "calibration_windows": 1, "window_tokens": 16, "repeats": 1}
        for name, fewest in least.items():
            if getattr(self, name) < fewest:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be at least {fewest}")
        if not self.groups or min(self.groups) < 2:
            raise UsageError("groups of at least 2 columns share a scale: name at least one size")


@dataclass(frozen=True, slots=True)
class Quality:
    """What a variant makes of the held-out windows, and how that differs from fp32.

    Attributes:
        nats_per_token: Mean over all tokens but the first of each window.
        loss_nats: By how much that is more than in fp32.
        loss_half_width_nats: Of the 95 % interval of the loss, over windows.
        bits_per_byte: Of the text of these tokens.
        next_token_share: Of tokens that were held likeliest.
        line_ends: Rest of a line completed exactly.
    """

    nats_per_token: float
    loss_nats: float
    loss_half_width_nats: float
    bits_per_byte: float
    next_token_share: float
    line_ends: LineEnds


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to store the weights; ``seconds`` is what making it took, None if not timed; ``scheme`` None for fp32."""

    name: str
    method: Method
    scheme: Scheme | None
    weight_bytes: int
    quality: Quality
    seconds: float | None


@dataclass(frozen=True, slots=True)
class OneMatrix:
    """What rounding one matrix alone does.

    Attributes:
        name: Layer and matrix, ``0.qkv``; or ``embedding``, ``head``.
        divergence_nats: Mean Kullback-Leibler divergence of the next-token distribution from that of fp32.
        loss_nats: Mean rise of what the text's own tokens cost.
        parameters: In the matrix.
    """

    name: str
    divergence_nats: float
    loss_nats: float
    parameters: int


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a decoding step (the mean of each timed run), and the bytes of the weights that it works from."""

    engine: str
    weight_bytes: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class QuantizeRun:
    """All that was seen.

    Attributes:
        decoder: In fp32.
        variants: fp32 first.
        one_by_one: Each matrix rounded alone, with ``sweep_scheme``.
        steps: Of each engine.
        tokens: Judged of each variant.
        exact_int8: Rounding to int8 rows changed no weight: they were stored so.
        native_reason: Why there is no native engine; None if there is one.
    """

    decoder: Decoder
    variants: tuple[Variant, ...]
    one_by_one: tuple[OneMatrix, ...]
    sweep_scheme: Scheme
    steps: tuple[StepTime, ...]
    tokens: int
    exact_int8: bool
    native_reason: str | None

    def variant(self, name: str) -> Variant | None:
        """Return the variant of that name, or None."""
        return next((one for one in self.variants if one.name == name), None)


def run_quantize(
    config: QuantizeConfig,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> QuantizeRun:
    """Quantise the decoder in every way, and judge each on the same held-out windows.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If the windows do not fit the model or the text.

    Source:
        Frantar et al. 2023, GPTQ, arXiv:2210.17323, section 5: round-to-nearest and GPTQ compared by perplexity.
    """
    decoder, tokenizer = load_decoder(config.model), load_tokenizer(config.model)
    if config.window_tokens > decoder.shape.max_positions:
        raise UsageError(f"windows of {config.window_tokens} tokens: this model has {decoder.shape.max_positions}")
    judge = _Judge(decoder, tokenizer, config, seed=seed)
    calibration = draw_windows(
        [tokenizer.encode(text) for text in calibration_texts(seed=seed)],
        windows=config.calibration_windows,
        tokens=config.window_tokens,
        seed=seed,
    )
    variants = [Variant("fp32", "none", None, decoder.weight_bytes, judge.quality(), 0.0)]
    for name, method, scheme in _ways(config.groups):
        say(f"{name}: quantising, then reading {judge.tokens} tokens")
        started = now()
        made = _made(decoder, method, scheme, calibration)
        seconds = now() - started
        quality = judge.quality(made.decoder.logits)
        variants.append(Variant(name, method, scheme, made.weight_bytes, quality, seconds))
    say("int8 weights and activations in the native engine")
    native = native_or_torch(decoder, precision="int8")
    if isinstance(native.decoder, NativeDecoder):
        quality = judge.quality(lambda rows: _all_logits(native.decoder, rows))
        size_bytes = variants[1].weight_bytes
        variants.insert(2, Variant("int8 rows, int8 inputs", "int8 activations", Scheme(8), size_bytes, quality, None))
    sweep_scheme = Scheme(4, max(config.groups))
    return QuantizeRun(
        decoder=decoder,
        variants=tuple(variants),
        one_by_one=tuple(_one_by_one(decoder, judge.windows[: config.sweep_windows, :SWEEP_TOKENS], sweep_scheme, say)),
        sweep_scheme=sweep_scheme,
        steps=_step_times(decoder, config, now),
        tokens=judge.tokens,
        exact_int8=_is_exact(decoder, round_everything(decoder, Scheme(8))),
        native_reason=native.reason,
    )


def calibration_texts(*, seed: int, most_files: int = CALIBRATION_FILES) -> tuple[str, ...]:
    """Return modules of the running Python that are not held out: the embedded model was trained on most of them.

    Raises:
        UsageError: If the standard library is not there as files of source.
    """
    folder, held_out = Path(sysconfig.get_path("stdlib")), held_out_sums()
    paths = [path for path in sorted(folder.glob("*.py")) if path.name not in held_out]
    random.Random(seed).shuffle(paths)  # noqa: S311 - a sample, not a secret
    if not paths:
        raise UsageError(f"{folder}: no source of the standard library here, and calibration text is read from there")
    return tuple(path.read_text(encoding="utf-8", errors="replace") for path in paths[:most_files])


def _ways(groups: tuple[int, ...]) -> Iterator[tuple[str, Method, Scheme]]:
    yield "int8 rows", "nearest, everything", Scheme(8)
    yield "int8 groups", "nearest", Scheme(8, max(groups), zero_point=True)
    for group in sorted(groups, reverse=True):
        yield f"int4 g{group}", "nearest", Scheme(4, group)
        yield f"int4 g{group} zero", "nearest", Scheme(4, group, zero_point=True)
    yield f"int4 g{max(groups)} zero GPTQ", "gptq", Scheme(4, max(groups), zero_point=True)


def _made(decoder: Decoder, method: Method, scheme: Scheme, calibration: Tensor) -> Quantized:
    if method == "gptq":
        return quantize_gptq(decoder, scheme, calibration)
    return round_everything(decoder, scheme) if method == "nearest, everything" else round_layers(decoder, scheme)


class _Judge:
    """The held-out windows, and what fp32 makes of them."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, config: QuantizeConfig, *, seed: int) -> None:
        texts = [tokenizer.encode(one.text) for one in held_out_texts()]
        self.windows = draw_windows(texts, windows=config.windows, tokens=config.window_tokens, seed=seed)
        self.tokens = self.windows[:, 1:].numel()
        self._decoder, self._tokenizer, self._seed = decoder, tokenizer, seed
        self._bytes = sum(size_bytes(tokenizer, token) for token in self.windows[:, 1:].flatten().tolist())
        self._base = score_windows(decoder, self.windows)

    def quality(self, logits: Callable[[Tensor], Tensor] | None = None) -> Quality:
        """Judge an engine by its logits (B, T) → (B, T, V); None is fp32 itself."""
        scores = self._base if logits is None else score_windows(self._decoder, self.windows, logits=logits)
        nats = scores.nats[:, 1:].double()
        by_window = (nats - self._base.nats[:, 1:]).mean(dim=1)  # (B,)
        return Quality(
            nats_per_token=float(nats.mean()),
            loss_nats=float(by_window.mean()),
            loss_half_width_nats=half_width(by_window),
            bits_per_byte=float(nats.sum() / torch.tensor(2.0).log() / self._bytes),
            next_token_share=float((scores.likeliest == scores.ids)[:, 1:].double().mean()),
            line_ends=line_ends(scores, self._tokenizer, seed=self._seed),
        )


def _all_logits(decoder: Decoder, rows: Tensor) -> Tensor:
    """Return the logits (B, T, V) of an engine that reads whole texts with its decoding step."""
    return decoder.start(sequences=len(rows), capacity_tokens=rows.shape[1]).verify(rows)


def _one_by_one(decoder: Decoder, windows: Tensor, scheme: Scheme, say: Callable[[str], None]) -> Iterator[OneMatrix]:
    base = decoder.logits(windows[:, :-1]).log_softmax(dim=-1)  # (B, T, V)
    truth = windows[:, 1:, None]
    for name, tensor in named_tensors(decoder).items():
        if tensor.ndim != 2:
            continue
        say(f"{name} alone in int4")
        changed = round_alone(decoder, name, scheme)
        said = changed.decoder.logits(windows[:, :-1]).log_softmax(dim=-1)
        divergence = functional.kl_div(said, base, reduction="none", log_target=True).sum(dim=-1).mean()
        loss = (base.gather(2, truth) - said.gather(2, truth)).mean()
        yield OneMatrix(name, float(divergence), float(loss), tensor.numel())


def _is_exact(decoder: Decoder, made: Quantized) -> bool:
    """Return whether no weight changed by more than the rounding of fp32 itself."""
    after = named_tensors(made.decoder)
    return all(torch.allclose(after[name], one, rtol=1e-5, atol=1e-9) for name, one in named_tensors(decoder).items())


def _step_times(decoder: Decoder, config: QuantizeConfig, now: Callable[[], float]) -> tuple[StepTime, ...]:
    """Time the engines' decoding steps, a run of each in turn."""
    int4 = round_layers(decoder, Scheme(4, max(config.groups), zero_point=True))
    engines = {
        "torch, fp32": (decoder, decoder.weight_bytes),
        "torch, int4 unpacked": (int4.decoder, int4.weight_bytes),
    }
    natives: tuple[NativePrecision, ...] = ("fp32", "int8")
    for precision in natives:
        chosen = native_or_torch(decoder, precision=precision).decoder
        if isinstance(chosen, NativeDecoder):
            engines[f"native, {precision}"] = (chosen, chosen.step_bytes(context_tokens=0))
    modes = {"torch, int4 unpacked": unpacking(int4)}
    works = {
        name: _steps(engine, config.decode_tokens, modes.get(name, nullcontext()))
        for name, (engine, _) in engines.items()
    }
    timings = timed_alternately(works, repeats=config.repeats, now=now)
    return tuple(StepTime(name, size, timings[name].per(config.decode_tokens)) for name, (_, size) in engines.items())


def _steps(decoder: Decoder, tokens: int, mode: AbstractContextManager[object]) -> Callable[[], None]:
    """Return what generates so many tokens behind the same context, again at every call."""
    session = decoder.start(sequences=1, capacity_tokens=TIMED_CONTEXT_TOKENS + tokens)
    first = session.prefill([[0] * TIMED_CONTEXT_TOKENS]).argmax(dim=-1)

    def generate() -> None:
        session.cache.keep(TIMED_CONTEXT_TOKENS)
        picked = first
        with mode:
            for _ in range(tokens):
                picked = session.decode(picked).argmax(dim=-1)

    return generate
