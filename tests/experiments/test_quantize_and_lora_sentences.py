"""The two sentences of `lab quantize` and `lab lora` follow from the figures, whatever comes out."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from llmdrill.experiments.lora import _meaning as lora_meaning
from llmdrill.experiments.quantize import _meaning as quantize_meaning
from llmdrill.lab.clock import Timing
from llmdrill.lab.decoder import random_decoder
from llmdrill.lab.lora_run import Judged, LoraRun, Loss, Trained
from llmdrill.lab.quantize import Scheme
from llmdrill.lab.quantize_run import OneMatrix, Quality, QuantizeRun, Variant
from llmdrill.lab.score import LineEnds
from llmdrill.lab.shapes import NAMED_SHAPES

pytestmark = pytest.mark.lab

TINY = random_decoder(NAMED_SHAPES["tiny"], seed=0)


def quantized(*, int8: float, groups: float, nearest: float, gptq: float, exact: bool) -> QuantizeRun:
    def variant(name: str, method: str, scheme: Scheme | None, size: int, loss: float) -> Variant:
        quality = Quality(2.0 + loss, loss, 0.0, 1.0, 0.5, LineEnds(1, 2))
        return Variant(name, method, scheme, size, quality, 0.0)  # type: ignore[arg-type]

    int4 = Scheme(4, 64, zero_point=True)
    variants = (
        variant("fp32", "none", None, 1000, 0.0),
        variant("int8 rows", "nearest, everything", Scheme(8), 250, int8),
        variant("int8 groups", "nearest", Scheme(8, 64, zero_point=True), 300, groups),
        variant("int4 g64 zero", "nearest", int4, 200, nearest),
        variant("int4 g64 zero GPTQ", "gptq", int4, 200, gptq),
    )
    matrices = (OneMatrix("0.qkv", 0.1, 0.2, 9), OneMatrix("1.down", 0.3, -0.2, 9))
    return QuantizeRun(TINY, variants, matrices, Scheme(4, 64), (), 100, exact_int8=exact, native_reason=None)


@pytest.mark.parametrize(
    ("exact", "int8", "groups", "words"),
    [
        (False, 0.002, 9.0, "int8 saves 75% of the bytes of fp32 and costs nothing that shows: +0.0020"),
        (False, 0.2, 0.0, "int8 saves 75% of the bytes of fp32 and can be seen: +0.2000"),
        (True, 0.0, 0.03, "int8 on a new grid, in groups, saves 70% of the bytes of fp32 and can be seen: +0.0300"),
    ],
)
def test_the_sentence_on_int8_tells_bytes_and_loss_of_the_same_weights(
    exact: bool, int8: float, groups: float, words: str
) -> None:
    first, second = quantize_meaning(quantized(int8=int8, groups=groups, nearest=0.1, gptq=0.4, exact=exact))
    assert words in first
    assert "costs +0.1000 nats rounded to nearest and +0.4000 by GPTQ" in second
    assert second.endswith("1.down alone moves the predictions most.")


def adapted(*, adapters: int, change: float) -> LoraRun:
    def trained(rank: int | None, size: int) -> Trained:
        judged = Judged("any", Loss(3.0 + change, change, 0.1), Loss(2.0 - change, -change, 0.1))
        return Trained(rank, judged, size, 4 * size, 8 * size, Timing((1.0,)), (3.0,), None)

    before = Judged("before", Loss(3.0, 0.0, 0.0), Loss(2.0, 0.0, 0.0))
    prompt = Judged("prompt", Loss(3.5, 0.5, 0.1), None)
    return LoraRun(TINY, before, (trained(8, adapters), trained(None, 1000)), (prompt, prompt), 7, 3, 100, 50)


@pytest.mark.parametrize(("adapters", "share"), [(20, "2% of the bytes"), (1500, "150% of the bytes")])
@pytest.mark.parametrize("change", [-0.4, 0.4])
def test_the_sentences_on_adapters_hold_for_more_bytes_and_for_losses_that_rise(
    adapters: int, share: str, change: float
) -> None:
    first, second = lora_meaning(adapted(adapters=adapters, change=change))
    new, old = ("falls", "rises") if change < 0 else ("rises", "falls")
    assert f"the loss in the new style {new} by 0.400 nats a token, with all weights it {new} by 0.400" in first
    assert "in the prompt it rises by 0.500" in first
    assert f"it {old} by 0.400 with adapters and {old} by 0.400 with all weights" in second
    assert f"the adapters' gradients and optimizer state take {share}" in second
