"""Schedules of a queue: every one gives each request its own tokens, and steps and slots are those of arithmetic."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from loud_decoder import loud_decoder  # noqa: E402

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.batching import ratio_in_order  # noqa: E402
from llmdrill.lab.decoder import generate  # noqa: E402
from llmdrill.lab.native.engine import native_or_torch  # noqa: E402
from llmdrill.lab.scheduler import (  # noqa: E402
    QueueRun,
    Request,
    same_answers_share,
    serve_alone,
    serve_continuously,
    serve_static,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.lab.decoder import Decoder

pytestmark = pytest.mark.lab

PROMPTS, OUTPUTS = (3, 9, 1, 6, 14, 2, 5), (7, 2, 12, 1, 5, 9, 3)
SCHEDULES = (serve_static, serve_continuously)


@pytest.fixture(scope="module", params=["torch", "native"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    base = loud_decoder()
    chosen = native_or_torch(base, precision="fp32")
    if request.param == "native" and chosen.reason:
        pytest.skip(chosen.reason)
    return chosen.decoder if request.param == "native" else base


@pytest.fixture(scope="module")
def queue(decoder: Decoder) -> tuple[Request, ...]:
    rng = torch.Generator().manual_seed(0)
    drawn = (torch.randint(decoder.shape.vocab, (count,), generator=rng).tolist() for count in PROMPTS)
    return tuple(Request(tuple(ids), count) for ids, count in zip(drawn, OUTPUTS, strict=True))


@pytest.mark.parametrize("slots", [2, 3, 16])
@pytest.mark.parametrize("serve", SCHEDULES)
def test_each_request_gets_the_tokens_it_gets_alone(
    decoder: Decoder, queue: tuple[Request, ...], serve: Callable[..., QueueRun], slots: int
) -> None:
    run = serve(decoder, queue, slots=slots)
    for answer, request in zip(run.answers, queue, strict=True):
        (alone,) = generate(decoder, [request.prompt], max_new_tokens=request.output_tokens)
        assert tuple(answer.tokens) == alone
    assert same_answers_share(run, serve_alone(decoder, queue)) == 1


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_static_batches_waste_what_the_closed_form_says(
    decoder: Decoder, queue: tuple[Request, ...], slots: int
) -> None:
    longer = tuple(Request(one.prompt, one.output_tokens + 1) for one in queue)  # prefill gives the first token
    run = serve_static(decoder, longer, slots=slots)
    assert run.wasted_slots_share == pytest.approx(1 - 1 / ratio_in_order(OUTPUTS, batch=slots))


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_a_continuous_schedule_takes_no_more_steps_than_static_and_no_fewer_than_full_slots(
    decoder: Decoder, queue: tuple[Request, ...], slots: int
) -> None:
    static, continuous = (serve(decoder, queue, slots=slots) for serve in SCHEDULES)
    wanted = sum(OUTPUTS) - len(OUTPUTS)
    assert math.ceil(wanted / slots) <= continuous.steps <= static.steps
    assert continuous.wasted_slots_share == pytest.approx(1 - wanted / (continuous.steps * slots))


def test_alone_nothing_is_wasted(decoder: Decoder, queue: tuple[Request, ...]) -> None:
    run = serve_alone(decoder, queue)
    assert (run.wasted_slots_share, run.steps) == (0, sum(OUTPUTS) - len(OUTPUTS))


@pytest.mark.parametrize("serve", SCHEDULES)
def test_times_are_those_of_the_clock_and_count_the_wait_in_the_queue(
    decoder: Decoder, queue: tuple[Request, ...], serve: Callable[..., QueueRun]
) -> None:
    ticks = itertools.count()
    run = serve(decoder, queue, slots=2, now=lambda: float(next(ticks)))
    firsts = [one.ttft_s for one in run.answers]
    assert firsts == sorted(firsts)
    assert firsts[0] >= 1
    assert max(one.arrivals_s[-1] for one in run.answers) <= run.seconds
    assert run.tokens_per_s == sum(OUTPUTS) / run.seconds
    one = run.answers[0]
    assert one.tpot_s == (one.arrivals_s[-1] - one.arrivals_s[0]) / (OUTPUTS[0] - 1)
    assert run.answers[3].tpot_s is None  # a single token


def test_a_slot_that_stays_idle_for_long_does_not_run_out_of_room(decoder: Decoder) -> None:
    queue = [Request((1, 2, 3), 12), Request((1,), 9), Request((2,), 12)]  # the first slot waits for the third request
    run = serve_continuously(decoder, queue, slots=2)
    assert run.steps == 8 + 11
    assert same_answers_share(run, serve_alone(decoder, queue)) == 1


def test_what_does_not_fit_the_context_is_refused(decoder: Decoder) -> None:
    long = Request((1,) * decoder.shape.max_positions, 2)
    with pytest.raises(UsageError, match="tokens of context"):
        serve_continuously(decoder, [long], slots=2)
    with pytest.raises(UsageError, match="at least one token"):
        Request((), 1)
