"""The cycle of generation: what each step reads and chooses, engines that take over, and the clocks around requests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.lab.cycle import first_step, hand_over, next_steps  # noqa: E402
from llmdrill.lab.cycle_run import bytes_of_step  # noqa: E402
from llmdrill.lab.decoder import generate, random_decoder  # noqa: E402
from llmdrill.lab.engine_choice import choose_engine  # noqa: E402
from llmdrill.lab.native.binding import native_status  # noqa: E402
from llmdrill.lab.native.engine import NativeDecoder  # noqa: E402
from llmdrill.lab.process_age import process_age_s  # noqa: E402
from llmdrill.lab.request_run import RequestPlan, TimedRequest, time_rounds  # noqa: E402
from llmdrill.lab.shapes import NAMED_SHAPES  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab

TINY = random_decoder(NAMED_SHAPES["tiny"], seed=3)
PROMPT = [7, 1, 200, 4, 90]


def cycle(steps: int, *, stop_id: int | None = None, decoder: Any = TINY) -> list[Any]:
    session = TINY.start(sequences=1, capacity_tokens=len(PROMPT) + steps)
    first = first_step(session, PROMPT)
    return [first, *next_steps(hand_over(session, decoder), first, steps=steps - 1, stop_id=stop_id)]


def test_the_cycle_chooses_what_greedy_generation_chooses_and_reads_what_it_chose() -> None:
    steps = cycle(8)
    assert [one.chosen_id for one in steps] == list(generate(TINY, [PROMPT], max_new_tokens=8)[0])
    assert steps[0].read_ids == tuple(PROMPT)
    assert [one.read_ids for one in steps[1:]] == [(one.chosen_id,) for one in steps[:-1]]


def test_probabilities_are_the_softmax_over_the_whole_text_so_far() -> None:
    steps = cycle(4)
    ids = PROMPT + [one.chosen_id for one in steps[:-1]]
    every = TINY.logits(torch.tensor([ids]))[0].softmax(dim=-1)
    for place, step in enumerate(steps, start=len(PROMPT) - 1):
        best = every[place].topk(2)
        assert step.probability == pytest.approx(float(best.values[0]), rel=1e-3)
        assert step.runner_up_probability == pytest.approx(float(best.values[1]), rel=1e-3)
        assert step.runner_up_id != step.chosen_id


def test_a_stop_token_ends_the_cycle_after_it_was_chosen() -> None:
    free = [one.chosen_id for one in cycle(8)]
    stopped = [one.chosen_id for one in cycle(8, stop_id=free[2])]
    assert stopped == free[: free.index(free[2]) + 1]


def test_the_native_engine_goes_on_where_torch_stopped() -> None:
    if native_status().library is None:
        pytest.skip("no compiler here")
    chosen = choose_engine(TINY, engine="native", precision="fp32")
    assert [one.chosen_id for one in cycle(12, decoder=chosen.decoder)] == [one.chosen_id for one in cycle(12)]


def test_without_a_compiler_torch_decodes_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    chosen = choose_engine(TINY, engine="auto", precision=None)
    assert chosen.decoder is TINY
    assert "/nowhere/cc" in str(chosen.reason)
    with pytest.raises(UsageError, match=r"/nowhere/cc.*--engine torch"):
        choose_engine(TINY, engine="native", precision=None)


def test_torch_has_no_int8() -> None:
    with pytest.raises(UsageError, match="no int8"):
        choose_engine(TINY, engine="torch", precision="int8")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_native_step_reads_the_packed_weights_and_the_cache(precision: Any) -> None:
    if native_status().library is None:
        pytest.skip("no compiler here")
    decoder = choose_engine(TINY, engine="native", precision=precision).decoder
    assert isinstance(decoder, NativeDecoder)
    assert bytes_of_step(decoder, context_tokens=10) - bytes_of_step(decoder, context_tokens=0) == 10 * 2 * 2 * 2 * 64


def test_a_torch_step_reads_every_weight_and_the_cache_as_the_tensors_have_them() -> None:
    session = TINY.start(sequences=1, capacity_tokens=8)
    session.prefill([PROMPT])
    layers = [one for layer in TINY.weights.layers for one in (getattr(layer, name) for name in layer.__slots__)]
    tensors = [TINY.weights.embedding, TINY.weights.norm, *(one for one in layers if one is not None)]
    expected = sum(one.nbytes for one in tensors) + session.cache.used_bytes
    assert bytes_of_step(TINY, context_tokens=len(PROMPT)) == expected


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=40))
def test_tpot_is_the_mean_of_the_gaps_between_tokens_and_ttft_is_in_neither(gaps: list[float]) -> None:
    request = TimedRequest(tuple(itertools.accumulate(gaps)))
    assert request.ttft_s == gaps[0]
    assert request.gaps_s == pytest.approx(gaps[1:])
    assert request.tpot_s == pytest.approx(sum(gaps[1:]) / len(gaps[1:]))


def plan(**changed: Any) -> RequestPlan:
    usual = {"prompt": lambda: PROMPT, "output_tokens": 5, "prompt_test_tokens": 6, "generation_test_tokens": 3}
    return RequestPlan(**usual | {"working_set_bytes": 1 << 16} | changed)


def test_every_round_reads_each_quantity_once_and_warm_up_is_left_out() -> None:
    ticks = itertools.count()
    rounds = time_rounds(TINY, plan(), warm_up=1, repeats=3, seed=0, now=lambda: float(next(ticks)))
    assert [len(one.arrivals_s) for one in rounds.requests] == [5, 5, 5]
    assert rounds.requests[0].arrivals_s == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert rounds.prompt_test_s == rounds.generation_test_s == (1.0, 1.0, 1.0)
    assert rounds.bandwidth_bytes_per_s == ((1 << 16),) * 3
    assert len(rounds.peak_flops_per_s) == 3


def test_one_output_token_has_no_time_per_output_token() -> None:
    with pytest.raises(UsageError, match="at least two"):
        plan(output_tokens=1)


def test_a_test_longer_than_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match="2048"):
        time_rounds(TINY, plan(prompt_test_tokens=4096), warm_up=0, repeats=1, seed=0)


def test_the_age_of_a_process_counts_from_its_start_in_the_kernels_ticks(tmp_path: Path) -> None:
    age, later = process_age_s(), process_age_s()
    if age is None or later is None:
        pytest.skip("this system does not tell")
    assert 0 < age <= later < age + 60
    stat = tmp_path / "stat"
    stat.write_text("7 (a) odd (name) S " + " ".join(["0"] * 18) + " 0 0 0", encoding="utf-8")
    uptime = process_age_s(stat)
    assert uptime is not None
    assert uptime >= age  # a process that started with the machine is older than this one


@pytest.mark.parametrize("text", [None, "", "7 (short) S 0 0", "no brackets", "7 (words) " + "x " * 30])
def test_an_age_that_cannot_be_read_is_unknown(tmp_path: Path, text: str | None) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text, encoding="utf-8")
    assert process_age_s(stat) is None
