"""A run that is killed and resumed gives the losses of one that was not; the parts are what they are said to be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.batches import Place, batches, epoch_sequences  # noqa: E402
from training.export import export, load_model, quantize_rows, tensors_of  # noqa: E402
from training.measure import bits_per_byte, completion, score_tokens  # noqa: E402
from training.model import PRESETS, Decoder  # noqa: E402
from training.ngram import NgramModel  # noqa: E402
from training.optimizer import Muon, Rates, orthogonalized, rate_factor  # noqa: E402
from training.prepare import Part  # noqa: E402
from training.tokenizer import Tokenizer  # noqa: E402
from training.train import BEFORE_DECAY, CHECKPOINT, Plan, Run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

VOCABULARY = PRESETS["tiny"].vocabulary
PLAN = Plan(preset="tiny", steps=12, sequence=16, batch_tokens=64, micro_tokens=32, warmup_steps=3, log_steps=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def part() -> Part:
    """Return a text with something to learn: counting, with noise, in files of different lengths."""
    rng = np.random.default_rng(0)
    tokens = (np.arange(2000) % 50 + rng.integers(0, 2, 2000)).astype(np.uint16)
    return Part(tokens, np.array([0, 300, 700, 1500]), np.ones(VOCABULARY, dtype=np.uint16))


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def run(plan: Plan, part: Part, folder: Path) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(plan, part, folder, device="cpu")


def trained(plan: Plan, part: Part, folder: Path) -> Run:
    one = run(plan, part, folder)
    one.train()
    return one


# --- the run ------------------------------------------------------------------------------------------------------


def test_a_resumed_run_has_the_losses_of_one_that_was_never_interrupted(part: Part, tmp_path: Path) -> None:
    whole = trained(PLAN, part, tmp_path / "whole")
    first = run(PLAN, part, tmp_path / "parts")
    log = first.log

    def kill_after_five(**figures: object) -> None:
        log(**figures)
        first.stopping = first.progress.step == 5

    first.log = kill_after_five  # type: ignore[method-assign]
    first.train()
    second = run(PLAN, part, tmp_path / "parts")
    second.load(tmp_path / "parts" / CHECKPOINT, new_phase=False)
    assert second.progress.step == 5
    second.train()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 12
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name])


def test_training_learns(part: Part, tmp_path: Path) -> None:
    trained(replace(PLAN, steps=60), part, tmp_path)
    found = losses(tmp_path)
    assert found[-1] < 0.5 * found[0]


def test_small_pieces_of_a_batch_add_up_to_the_batch(part: Part, tmp_path: Path) -> None:
    trained(replace(PLAN, micro_tokens=64), part, tmp_path / "one")
    trained(replace(PLAN, micro_tokens=16), part, tmp_path / "four")
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "four"), abs=2e-3)


def test_a_new_phase_decays_from_any_checkpoint_at_another_length(part: Part, tmp_path: Path) -> None:
    trained(replace(PLAN, decay_share=0.0), part, tmp_path / "flat")
    phase = run(replace(PLAN, decay_share=1.0, steps=4, sequence=32), part, tmp_path / "decay")
    phase.load(tmp_path / "flat" / CHECKPOINT, new_phase=True)
    assert phase.progress.share(phase.plan) == 0
    assert phase.place.epoch > 0  # a fresh epoch, because the sequences are cut anew
    phase.train()
    assert phase.progress.step == 12 + 4
    assert phase.optimizers.muon.param_groups[0]["lr"] == pytest.approx(PLAN.rates.muon / 4)  # the last of 4 steps


def test_the_state_before_the_decay_is_kept(part: Part, tmp_path: Path) -> None:
    trained(replace(PLAN, decay_share=0.25), part, tmp_path)
    assert torch.load(tmp_path / BEFORE_DECAY, weights_only=True)["progress"]["step"] == 9


def test_the_rate_rises_stays_and_falls() -> None:
    factors = [rate_factor(step=at + 1, warmup_steps=10, progress=at / 100, decay_share=0.2) for at in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert set(factors[10:80]) == {1.0}
    assert factors[90] == pytest.approx(0.5)
    assert factors[100] == 0.0


# --- the stream of batches ----------------------------------------------------------------------------------------


def test_an_epoch_reads_the_text_once_in_an_order_of_its_own(part: Part) -> None:
    first, again, second = (epoch_sequences(part, length=16, seed=1, epoch=epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(second)], second[: len(first)])
    assert len(part.tokens) - 2 * 16 <= first[:, :-1].size <= len(part.tokens)


def test_the_stream_goes_on_from_any_place(part: Part) -> None:
    place = Place()
    stream = batches(part, place, length=16, sequences=8, seed=0)
    for _ in range(20):
        next(stream)
    elsewhere = batches(part, replace(place), length=16, sequences=8, seed=0)
    assert place.epoch > 0
    assert torch.equal(next(stream), next(elsewhere))


# --- the optimizer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (40, 16)])
def test_the_step_is_about_orthogonal_with_the_gradients_own_directions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    gradient = torch.randn(size)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    found = orthogonalized(gradient)
    values = torch.linalg.svdvals(found)
    assert 0.5 < float(values.min()) < float(values.max()) < 1.5
    turned = u.T @ found @ v.T
    assert float((turned - turned.diagonal().diag()).abs().max()) < 1e-3


@pytest.mark.parametrize("size", [(24, 24), (40, 16)])
def test_muon_steps_as_torchs_own_does(size: tuple[int, int]) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon of its own")
    torch.manual_seed(0)
    mine, theirs = (torch.nn.Parameter(torch.ones(size)) for _ in range(2))
    rates = Rates(muon=0.1, weight_decay=0.5)
    ours = Muon([mine], rates)
    oracle = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.5, momentum=0.95, adjust_lr_fn="original")
    for _ in range(3):
        mine.grad = torch.randn(size)
        theirs.grad = mine.grad.clone()
        ours.step()
        oracle.step()
    assert float((mine - theirs).detach().norm() / (theirs - 0.857375).detach().norm()) < 0.03  # it works in bf16


# --- measuring ----------------------------------------------------------------------------------------------------


def test_windows_cover_every_token_once_and_give_what_the_whole_text_gives(part: Part) -> None:
    torch.manual_seed(0)
    model = Decoder(PRESETS["tiny"])
    short = Part(part.tokens[:101], part.starts[:1], part.token_bytes)
    whole = score_tokens(model, short, length=100, stride=100)
    windows = score_tokens(model, short, length=100, stride=30)
    assert torch.allclose(whole.bits[1:], windows.bits[1:], atol=1e-4)
    for length, stride in ((16, 16), (16, 8), (30, 7)):
        scores = score_tokens(model, short, length=length, stride=stride)
        assert int(scores.bits.isnan().sum()) == 1
        assert bits_per_byte(scores.bits, short) == pytest.approx(float(scores.bits[1:].sum()) / 100)


def test_a_model_that_knows_nothing_costs_the_logarithm_of_its_vocabulary(part: Part) -> None:
    model = Decoder(PRESETS["tiny"])
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    scores = score_tokens(model, part, length=64, stride=64)
    assert bits_per_byte(scores.bits, part) == pytest.approx(math.log2(VOCABULARY))


def test_a_line_is_completed_if_every_token_to_its_end_is_right() -> None:
    breaks = np.zeros(10, dtype=bool)
    breaks[[8, 9]] = True
    tokens = np.array([8, 1, 2, 8, 1, 2, 3, 9, 1, 2, 8], dtype=np.uint16)
    part = Part(tokens, np.array([0]), np.ones(10, dtype=np.uint16))
    said = torch.from_numpy(tokens.astype(np.int64))
    said[7] = 8  # another break is as good an end
    said[9] = 5  # the third line's only token that can be asked for
    scores = score_tokens(Decoder(replace(PRESETS["tiny"], vocabulary=10)), part, length=10, stride=10)
    found = completion(replace(scores, likeliest=said), part, line_breaks=breaks, seed=0)
    assert found.lines == 3
    assert found.line_end_share == pytest.approx(2 / 3)
    assert found.next_token_share == pytest.approx(9 / 11)


def test_the_ngram_models_probabilities_add_up_to_one_after_any_context(part: Part) -> None:
    model = NgramModel(part.tokens, order=3, vocabulary=VOCABULARY)
    for context in ([5, 6], [49, 300], [300, 5]):
        rows = np.array([[*context, token] for token in range(VOCABULARY)], dtype=np.uint16)
        probabilities = [model.probabilities(row)[-1] for row in rows]
        assert sum(probabilities) == pytest.approx(1.0)
        assert min(probabilities) > 0


def test_a_longer_context_predicts_counting_better(part: Part) -> None:
    bits = [
        -np.log2(NgramModel(part.tokens, order=n, vocabulary=VOCABULARY).probabilities(part.tokens)) for n in (1, 2)
    ]
    assert bits[1].mean() < 0.5 * bits[0].mean()


# --- export -------------------------------------------------------------------------------------------------------


def test_the_engine_of_the_lab_gives_the_trained_models_logits(part: Part, tmp_path: Path) -> None:
    from llmdrill.lab.load_decoder import load_decoder

    one = trained(PLAN, part, tmp_path)
    Tokenizer({bytes([byte]): byte for byte in range(256)}).save(tmp_path)
    folder = export(tmp_path / CHECKPOINT, tmp_path, tmp_path / "model", precision="fp32")
    ids = torch.from_numpy(part.tokens[:40].astype(np.int64))[None]
    expected = one.model(ids).detach()
    assert float(expected.abs().max()) > 0.5
    assert torch.allclose(load_decoder(folder).logits(ids), expected, atol=1e-4)
    assert torch.equal(load_model(folder)(ids), load_model(tmp_path / CHECKPOINT)(ids))


def test_int8_rows_are_within_half_a_step_and_their_folder_reads_back(part: Part, tmp_path: Path) -> None:
    one = trained(PLAN, part, tmp_path)
    Tokenizer({bytes([byte]): byte for byte in range(256)}).save(tmp_path)
    matrix = one.model.embed_tokens.weight.detach()
    whole, scales = quantize_rows(matrix)
    assert float(((whole * scales[:, None] - matrix).abs() / scales[:, None]).max()) <= 0.5001
    folder = export(tmp_path / CHECKPOINT, tmp_path, tmp_path / "model", precision="int8")
    assert torch.equal(load_model(folder).embed_tokens.weight, whole * scales[:, None])
    tensors = tensors_of(one.model.state_dict(), "int8")
    assert tensors["model.layers.0.mlp.gate_proj.weight"].dtype == torch.int8
    assert tensors["model.norm.weight"].dtype == torch.float32


@pytest.mark.parametrize(("preset", "parameters"), [("8m", 8_335_488), ("1m", 1_078_144)])
def test_the_presets_have_their_size(preset: str, parameters: int) -> None:
    shape = PRESETS[preset]
    assert sum(weight.numel() for weight in Decoder(shape).parameters()) == shape.parameters == parameters
