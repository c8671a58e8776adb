"""Load a model, go through the cycle once, then time requests: all that `llmdrill lab decode` measures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.clock import timed
from llmdrill.lab.cycle import first_step, hand_over, next_steps
from llmdrill.lab.engine_choice import EngineName, WeightPrecision, choose_engine, prompt_precision
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder
from llmdrill.lab.process_age import process_age_s
from llmdrill.lab.request_run import RequestPlan, time_rounds
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.lab.cycle import CycleStep
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.request_run import Rounds
    from llmdrill.lab.tokenizer import Tokenizer

PROMPT: Final = '''def read_settings(path):
    """Return the settings of a file, one `name = value` a line."""
    settings = {}
    with open(path, encoding="utf-8") as file:
        for line in file:'''  # no newline: a token holds a line's end and the next line's indent
RANDOM_PROMPT_TOKENS: Final = 64
TOKENIZE_REPEATS: Final = 9


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What to run.

    Attributes:
        prompt: Text to go on with, by default ``PROMPT``; not for a shape, which has no tokenizer.
        model: A folder or hub id; or ``shape`` for random weights; neither for the embedded model.
        engine: ``auto`` is the native one where it can be had.
        precision: Of the weights that a decode step reads; None: int8 in the native engine, fp32 in torch.
        steps: Of the cycle that are shown.
        output_tokens: Of the timed request.
        prompt_test_tokens: Of llama-bench's pp test.
        generation_test_tokens: Of its tg test.
        warm_up: Rounds that do not count.
        repeats: Rounds that do.
    """

    prompt: str | None = None
    model: str | None = None
    shape: str | None = None
    engine: EngineName = "auto"
    precision: WeightPrecision | None = None
    steps: int = 12
    output_tokens: int = 64
    prompt_test_tokens: int = 512
    generation_test_tokens: int = 128
    warm_up: int = 1
    repeats: int = 7


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text and as tokens.

    Attributes:
        text: None for random weights, to which no text means anything.
        tokenizer: None likewise.
        start_id: The token that the embedded model has seen before every text; it stands before the prompt too.
        random_ids: The prompt of random weights.
    """

    text: str | None
    tokenizer: Tokenizer | None
    start_id: int | None = None
    random_ids: tuple[int, ...] = ()

    def ids(self) -> list[int]:
        """Tokenize the text."""
        if self.text is None or self.tokenizer is None:
            return list(self.random_ids)
        return [*([] if self.start_id is None else [self.start_id]), *self.tokenizer.encode(self.text)]


@dataclass(frozen=True, slots=True)
class DecodeRun:
    """All that was seen.

    Attributes:
        decoder: The engine that decoded.
        torch_because: Why it is not the native one; None if it is.
        precision: Of the weights that a decode step reads.
        prompt_precision: Of prefill and of keys and values.
        prompt_ids: The prompt's tokens.
        tokenize_s: The time to cut it, median of ``TOKENIZE_REPEATS``.
        first_token_s: From the start of this process to the first token; None where the system does not tell.
        cycle: The steps shown.
        step_bytes: What a decode step in the middle of the request's answer reads: weights and cache.
        rounds: The timed ones.
    """

    options: DecodeOptions
    prompt: Prompt
    decoder: Decoder
    torch_because: str | None
    precision: str
    prompt_precision: str
    prompt_ids: tuple[int, ...]
    tokenize_s: float
    first_token_s: float | None
    cycle: tuple[CycleStep, ...]
    step_bytes: int
    rounds: Rounds


def run_decode(
    options: DecodeOptions,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> DecodeRun:
    """Go through the cycle once, then time requests, both tests of llama-bench and both ceilings in turn.

    The first token comes before the native engine is made ready, whose first use compiles: torch reads prompts anyway.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError, UsageError: As ``load_decoder``, ``load_tokenizer``,
            ``choose_engine`` and ``time_rounds`` say; UsageError also for an empty prompt, or one for a shape.
    """
    _refuse(options)
    read_in = prompt_precision(options.precision)
    base = load_decoder(options.model, shape=options.shape, precision=read_in, seed=seed)
    prompt = load_prompt(options, vocabulary=base.shape.vocab, seed=seed)
    ids = prompt.ids()
    session = base.start(sequences=1, capacity_tokens=len(ids) + options.steps)
    first = first_step(session, ids, now=now)
    first_token_s = process_age_s()
    say(f"first token: {piece(prompt.tokenizer, first.chosen_id) or first.chosen_id}")
    chosen = choose_engine(base, engine=options.engine, precision=options.precision)
    session = hand_over(session, chosen.decoder)
    stop_id = None if prompt.tokenizer is None else prompt.tokenizer.end_of_text_id
    cycle = (first, *next_steps(session, first, steps=options.steps - 1, stop_id=stop_id, now=now))
    step_bytes = bytes_of_step(chosen.decoder, context_tokens=len(ids) + options.output_tokens // 2)
    plan = RequestPlan(
        prompt=prompt.ids,
        output_tokens=options.output_tokens,
        prompt_test_tokens=options.prompt_test_tokens,
        generation_test_tokens=options.generation_test_tokens,
        working_set_bytes=step_bytes,
    )
    tokenize_s = timed(prompt.ids, warm_up=1, repeats=TOKENIZE_REPEATS, now=now).median_s
    times = {"warm_up": options.warm_up, "repeats": options.repeats, "seed": seed}
    rounds = time_rounds(chosen.decoder, plan, **times, say=say, now=now)
    precision = chosen.decoder.precision if isinstance(chosen.decoder, NativeDecoder) else read_in
    seen = (tuple(ids), tokenize_s, first_token_s, cycle, step_bytes, rounds)
    return DecodeRun(options, prompt, chosen.decoder, chosen.reason, precision, read_in, *seen)


def load_prompt(options: DecodeOptions, *, vocabulary: int, seed: int) -> Prompt:
    """Return the prompt of a run: text where there is a tokenizer, else tokens at random."""
    if options.shape is not None:
        rng = torch.Generator().manual_seed(seed)
        drawn = torch.randint(vocabulary, (RANDOM_PROMPT_TOKENS,), generator=rng)
        return Prompt(None, None, random_ids=tuple(drawn.tolist()))
    tokenizer = load_tokenizer(options.model)
    start_id = tokenizer.end_of_text_id if options.model is None else None
    return Prompt(PROMPT if options.prompt is None else options.prompt, tokenizer, start_id)


def bytes_of_step(decoder: Decoder, *, context_tokens: int) -> int:
    """Return the bytes that one decode step has to read after so many tokens: its weights, keys and values."""
    if isinstance(decoder, NativeDecoder):
        return decoder.step_bytes(context_tokens=context_tokens)
    element = decoder.weights.embedding.element_size()
    looked_up = 0 if decoder.shape.tied else decoder.weights.embedding.nbytes  # a row of it is read, no more
    cache = context_tokens * decoder.shape.kv_bytes_per_token * element // 4
    return decoder.weight_bytes - looked_up + cache


def piece(tokenizer: Tokenizer | None, token: int) -> str:
    """Return a token's text in quotes, with line breaks and the like escaped; nothing without a tokenizer."""
    if tokenizer is None:
        return ""
    spelled = tokenizer.token_bytes(token)
    return repr(tokenizer.decode([token]) if spelled is None else spelled.decode(errors="replace"))


def _refuse(options: DecodeOptions) -> None:
    if options.prompt is not None and options.shape is not None:
        raise UsageError(f"a prompt for the shape {options.shape}: random weights say nothing; --model takes a prompt")
    if options.prompt == "":
        raise UsageError("the prompt is empty: give some text to go on with")
