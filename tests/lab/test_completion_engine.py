"""The completer: healing spells the prompt again, the prefix cache changes nothing but time, a request can be left."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.typing_trace import Typed, TypingPolicy, TypingTrace, keys_of, replay_typing

if TYPE_CHECKING:
    from llmdrill.lab.completion import Completer
    from llmdrill.lab.completion_run import Bench
    from llmdrill.lab.typing_trace import DrivenTyping

pytest.importorskip("torch")
pytestmark = pytest.mark.lab

SOURCE = "import os\n\n\ndef shorten(text, width):\n    if len(text) > width:\n        return text[:width]\n    retu"


@pytest.fixture(scope="module")
def bench() -> Bench:
    from llmdrill.lab.completion_cases import SourceText
    from llmdrill.lab.completion_run import Bench
    from llmdrill.lab.decoder import random_decoder
    from llmdrill.lab.shapes import named_shape

    bench = Bench(None, texts=[SourceText("shorten.py", SOURCE * 40)])
    # One precision for prompt and steps, so that both ways to read it agree; what is written does not matter here.
    bench.decoder = random_decoder(replace(named_shape("tiny"), vocab=4096, max_positions=1024), seed=3)
    return bench


def completer(bench: Bench, *, context: int = 64, seconds: float = 1.0) -> Completer:
    """Return a completer whose clock gains ``seconds`` at every reading."""
    from llmdrill.lab.completion import Lengths

    ticks = itertools.count()
    return bench.completer(Lengths(context, 8), now=lambda: seconds * next(ticks))


def test_a_word_is_taken_back_whole_and_its_bytes_are_asked_for_again(bench: Bench) -> None:
    prompt = completer(bench).pack(SOURCE)
    spelled = b"".join(completer(bench).vocabulary.bytes[token] for token in prompt.ids[1:])  # behind end-of-text
    assert prompt.healed.strip() == b"retu"
    assert spelled + prompt.healed == SOURCE.encode()
    assert completer(bench).pack(SOURCE, heal=False).healed == b""


def test_a_line_break_with_its_indentation_is_never_taken_back(bench: Bench) -> None:
    prompt = completer(bench).pack(SOURCE.rpartition("retu")[0])
    assert prompt.healed == b""
    assert completer(bench).vocabulary.bytes[prompt.ids[-1]].endswith(b"\n    ")


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(30, len(SOURCE)))
def test_wherever_the_cut_is_prompt_and_healed_bytes_are_the_text(bench: Bench, cut: int) -> None:
    one = completer(bench)
    prompt = one.pack(SOURCE[:cut])
    assert (
        b"".join(one.vocabulary.bytes.get(token, b"") for token in prompt.ids) + prompt.healed == SOURCE[:cut].encode()
    )


def test_the_first_tokens_spell_what_was_taken_back(bench: Bench) -> None:
    one = completer(bench)
    request = one.request(SOURCE)
    while not request.done:
        request.step()
    written = b"".join(
        one.vocabulary.bytes[token] for token in [*one.cached[len(request.prompt.ids) :], request.last_id]
    )
    assert written.startswith(request.prompt.healed)
    assert written[len(request.prompt.healed) :].decode().partition("\n")[0].rstrip() == request.completion().text


def test_allowed_tokens_begin_with_the_wanted_bytes_or_are_their_beginning(bench: Bench) -> None:
    vocabulary = completer(bench).vocabulary
    wanted = b" ret"
    expected = {token for token, text in vocabulary.bytes.items() if text.startswith(wanted) or wanted.startswith(text)}
    assert set(vocabulary.allowed(wanted)) == expected
    assert len(expected) > 3


def test_the_prefix_cache_changes_what_is_read_and_not_what_is_written(bench: Bench) -> None:
    warm, texts = completer(bench), [SOURCE + more for more in ("", "r", "rn", "rn ", "rn t")]
    for text in texts:
        cold = completer(bench).complete(text)
        kept = warm.complete(text, reuse=True)
        assert (kept.text, kept.tokens) == (cold.text, cold.tokens)
        assert kept.mean_logprob == pytest.approx(cold.mean_logprob, abs=1e-3)
        assert cold.read_tokens == cold.prompt_tokens
        assert kept.read_tokens < 4 or text == SOURCE


def test_a_request_that_was_left_leaves_a_cache_the_next_one_can_use(bench: Bench) -> None:
    one = completer(bench)
    left = one.request(SOURCE)
    left.step()
    left.step()
    after = one.complete(SOURCE + "rn", reuse=True)
    assert after.text == completer(bench).complete(SOURCE + "rn").text
    assert after.read_tokens < after.prompt_tokens


def test_a_long_file_is_cut_to_the_context_and_its_beginning_stays_while_one_types(bench: Bench) -> None:
    one, text = completer(bench), SOURCE * 20
    prompts = [one.pack(text + "rn " + "x" * count).ids for count in range(6)]
    assert all(2 <= len(prompt) <= 64 for prompt in prompts)
    assert len({prompt[:40] for prompt in prompts}) == 1


def test_a_context_that_does_not_fit_the_model_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="at most 1024, this model's context"):
        completer(bench, context=1020)


# --- a typing trace, answered for real ------------------------------------------------------------------------------


def drive(bench: Bench, *, debounce_ms: float, cancel: bool, seconds: float, keystrokes: int = 12) -> DrivenTyping:
    """Type at 100 ms a key, on a clock where every step of the engine takes ``seconds``."""
    from llmdrill.lab.typing_trace import Typist

    trace = TypingTrace(keystrokes, interval_p50_ms=100, interval_sigma=0, debounce_ms=debounce_ms)
    policy = TypingPolicy("test", trace, cancel=cancel, reuse=True)
    typed = Typed(SOURCE, keys_of("rn text[width:]\n    ")[:keystrokes])
    typist = Typist(completer(bench, seconds=seconds), policy, typed, rng=np.random.default_rng(0))
    for _ in range(keystrokes):
        typist.press()
    return typist.driven()


def test_an_engine_of_no_delay_answers_every_request(bench: Bench) -> None:
    driven = drive(bench, debounce_ms=20, cancel=True, seconds=1e-6)
    assert (driven.outcome.sent, driven.outcome.wasted_share) == (12, 0.0)
    assert all(one.seen and one.engine_s > 0 for one in driven.answers)


def test_requests_are_left_between_two_steps_and_the_engine_stops_there(bench: Bench) -> None:
    driven = drive(bench, debounce_ms=20, cancel=True, seconds=0.03)  # the next key comes 80 ms after a request
    unseen = [one for one in driven.answers if not one.seen]
    assert unseen
    assert all(one.engine_s <= 0.08 + 0.03 + 1e-9 for one in unseen)  # at most one step beyond the key
    assert driven.answers[-1].seen  # nothing follows the last key


def test_without_cancelling_every_request_runs_to_its_end_and_the_next_one_waits(bench: Bench) -> None:
    left, run = (drive(bench, debounce_ms=20, cancel=cancel, seconds=0.03) for cancel in (True, False))
    assert all(one.waited_s is not None for one in run.answers)
    assert run.engine_s > left.engine_s
    waits = [one.waited_s or 0.0 for one in run.answers]
    assert waits[-1] > waits[0]  # a queue has formed


def test_waits_and_what_is_seen_follow_from_the_keys_and_the_engines_seconds_alone(bench: Bench) -> None:
    run, free_s = drive(bench, debounce_ms=20, cancel=False, seconds=0.02), 0.0
    for number, one in enumerate(run.answers):  # a key every 0.1 s, and a request for each 0.02 s later
        free_s = max(0.1 * number + 0.02, free_s) + one.engine_s
        assert one.waited_s == pytest.approx(free_s - 0.1 * number)
        assert one.seen is (free_s <= 0.1 * (number + 1) or number == len(run.answers) - 1)
    assert {one.seen for one in run.answers} == {True, False}


def test_a_pause_longer_than_every_gap_sends_one_request_as_the_formula_says(bench: Bench) -> None:
    driven = drive(bench, debounce_ms=101, cancel=True, seconds=0.03)
    trace = TypingTrace(12, interval_p50_ms=100, interval_sigma=0, debounce_ms=101)
    assert driven.outcome == replay_typing(trace, ttft_ms=1, total_ms=2, rng=np.random.default_rng(0))


def test_grey_text_that_is_typed_is_counted(bench: Bench) -> None:
    from llmdrill.lab.typing_trace import Typist

    one = completer(bench, seconds=1e-6)
    follows = one.complete(SOURCE).text
    trace = TypingTrace(len(follows) + 1, interval_p50_ms=100, interval_sigma=0, debounce_ms=0)
    policy = TypingPolicy("test", trace, cancel=True, reuse=True)
    typist = Typist(one, policy, Typed(SOURCE[:-1], ("u", *follows)), rng=np.random.default_rng(0))
    for _ in range(trace.keystrokes):
        typist.press()
    assert typist.driven().typed_through >= 1


def test_a_trace_longer_than_the_text_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="40 keystrokes, but the text to be typed has 16"):
        drive(bench, debounce_ms=0, cancel=True, seconds=1e-6, keystrokes=40)


def test_a_short_trace_has_the_share_of_a_long_one() -> None:
    shares = [
        replay_typing(
            TypingTrace(300, interval_p50_ms=100, interval_sigma=2.5, debounce_ms=100),
            ttft_ms=120,
            total_ms=230,
            rng=np.random.default_rng(seed),
        ).wasted_share
        for seed in range(10)
    ]
    assert shares == [pytest.approx(0.366, abs=0.02)] * 10  # (F(330) - F(100)) / (1 - F(100)) of the lognormal
