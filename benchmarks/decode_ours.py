"""Our engines as benchmarks/decode.py compares them: torch in two precisions, the native step in three."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from decode_answer import stepped

from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights, random_decoder
from llmdrill.lab.native.engine import HugePages, NativeDecoder, native_or_torch
from llmdrill.lab.shapes import named_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from decode_answer import Answer

    from llmdrill.lab.shapes import DecoderShape

OUR_ENGINES = (("torch", "fp32"), ("torch", "bf16"), ("native", "fp32"), ("native", "bf16"), ("native", "int8"))
LOUDER = 2.5  # so that the layers, not the embedding of the last token, decide what comes next


@dataclass(frozen=True, slots=True)
class OurEngine:
    """The torch engine or the native one."""

    decoder: Decoder

    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer:
        session = self.decoder.start(sequences=1, capacity_tokens=len(prompt) + tokens)
        return stepped(
            lambda: int(session.prefill([prompt]).argmax()),
            lambda token: int(session.decode(torch.tensor([token])).argmax()),
            tokens=tokens,
        )

    def batch_step_s(self, prompt: Sequence[int], *, sequences: int, steps: int) -> float:
        """Return the median time of a step of so many sequences at once."""
        session = self.decoder.start(sequences=sequences, capacity_tokens=len(prompt) + steps)
        chosen, seconds = session.prefill([prompt] * sequences).argmax(-1), []
        for _ in range(steps):
            start = time.perf_counter()
            chosen = session.decode(chosen).argmax(-1)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def bandwidth_bytes_per_s(self, size_bytes: int) -> float:
        """Return the median of a few plain readings of so many bytes, by the threads that decode."""
        if not isinstance(self.decoder, NativeDecoder):
            raise TypeError("only the native engine reads plainly")
        memory = HugePages(size_bytes + 8).zeros(size_bytes // 8, dtype=torch.int64).fill_(1)
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            self.decoder.read(memory)
            seconds.append(time.perf_counter() - start)
        return memory.nbytes / statistics.median(seconds[1:])


def our_engine(engine: str, precision: str, shape_name: str, threads: int) -> OurEngine:
    """Build an engine on the weights of ``weights``; below fp32 the native one keeps its cache in bf16 as prefill."""
    decoder = weights(named_shape(shape_name))
    base = decoder if precision == "fp32" else changed(decoder, lambda one: one.to(torch.bfloat16))
    if engine == "torch":
        return OurEngine(base)
    chosen = native_or_torch(base, precision=precision, threads=threads)  # type: ignore[arg-type]
    if chosen.reason is not None:
        raise RuntimeError(chosen.reason)
    return OurEngine(chosen.decoder)


def weights(shape: DecoderShape) -> Decoder:
    """Return random weights whose next token is not simply the last one again, as tied ones would have it."""
    decoder = random_decoder(shape, seed=0)
    return changed(decoder, lambda matrix: matrix * LOUDER if matrix.ndim > 1 else matrix, layers_alone=True)


def changed(decoder: Decoder, change: Callable[[torch.Tensor], torch.Tensor], *, layers_alone: bool = False) -> Decoder:
    """Return a decoder with every tensor changed, or those of the layers alone."""
    old = decoder.weights
    layers = tuple(LayerWeights(**changed_fields(layer, change)) for layer in old.layers)
    if layers_alone:
        whole = DecoderWeights(old.embedding, layers, old.norm, old.head)
    else:
        embedding = change(old.embedding)
        head = embedding if decoder.shape.tied else change(old.head)
        whole = DecoderWeights(embedding, layers, change(old.norm), head)
    return Decoder(decoder.shape, whole, random_weights=True)


def changed_fields(layer: LayerWeights, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    """Return a layer's tensors changed; a bias that is not there stays so."""
    tensors = {name: getattr(layer, name) for name in layer.__dataclass_fields__}
    return {name: None if one is None else change(one) for name, one in tensors.items()}
