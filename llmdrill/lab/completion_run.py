"""Run the code-completion scenario on real files: lines completed, keystrokes with a warm cache, a typing trace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.bandwidth import peak_flops, read_bandwidth
from llmdrill.lab.completion import Completer
from llmdrill.lab.completion_cases import Case, SourceText, draw_cases, edit_similarity, is_exact
from llmdrill.lab.cycle_run import bytes_of_step
from llmdrill.lab.held_out import held_out_texts
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder, native_or_torch
from llmdrill.lab.tokenizer import load_tokenizer
from llmdrill.lab.typing_trace import Typed, TypingPolicy, TypingTrace, Typist, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.completion import Completion, Lengths
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.tokenizer import Tokenizer
    from llmdrill.lab.typing_trace import DrivenTyping

KEY_CHARACTERS: Final = 6  # of a file for each keystroke: more than the return key brings with it on average
LONE_EVERY: Final = 4  # requests of a trace
LONE_REQUESTS: Final = 15  # undisturbed, for the latency that the closed form of a typing trace starts from
CEILING_EVERY: Final = 25  # lines, so that both ceilings are read under the load that the lines ran under


@dataclass(frozen=True, slots=True)
class CompletionOptions:
    """What to run.

    Attributes:
        model: A folder or hub id; None for the embedded model.
        cases: Lines to complete.
        lengths: Of prompts and completions.
        cached_keystrokes: Whose first token is timed with and without the prefix cache.
        typing: The trace that the engine answers.
    """

    model: str | None
    cases: int
    lengths: Lengths
    cached_keystrokes: int
    typing: TypingTrace


@dataclass(frozen=True, slots=True)
class Line:
    """A line, its completion, and the completion that a prompt without token healing leads to."""

    case: Case
    completion: Completion
    unhealed: Completion

    @property
    def exact(self) -> bool:
        return is_exact(self.completion.text, self.case.rest)

    @property
    def unhealed_exact(self) -> bool:
        return is_exact(self.unhealed.text, self.case.rest)

    @property
    def similarity(self) -> float:
        return edit_similarity(self.completion.text, self.case.rest)


@dataclass(frozen=True, slots=True)
class CachedKeystroke:
    """The first token after one keystroke, with the last prompt's keys and values kept and without."""

    prompt_tokens: int
    read_tokens: int
    cold_s: float
    warm_s: float


@dataclass(frozen=True, slots=True)
class TypingRun:
    """A trace under one policy, and what a request that is left alone takes under it.

    Attributes:
        lone_ttft_s: Median, on the same text, in seconds of the engine.
        lone_total_s: Likewise.
    """

    policy: TypingPolicy
    driven: DrivenTyping
    lone_ttft_s: float
    lone_total_s: float


@dataclass(frozen=True, slots=True)
class CompletionRun:
    """Everything that one run saw.

    Attributes:
        decoder: The engine that wrote.
        reason: Why it is not the native one, if it is not.
        of_trained_version: Whether the files are those that the model card's figures are of.
        lines: One a case.
        keystrokes: With and without the prefix cache.
        typing: One a policy.
        bandwidth_bytes_per_s: At which as many bytes as a step needs are read: median of readings between lines.
        peak_flops_per_s: Of a large matrix product in the precision of prefill, likewise.
    """

    options: CompletionOptions
    decoder: Decoder
    reason: str | None
    of_trained_version: bool
    lines: tuple[Line, ...]
    keystrokes: tuple[CachedKeystroke, ...]
    typing: tuple[TypingRun, ...]
    bandwidth_bytes_per_s: float
    peak_flops_per_s: float

    @property
    def engine(self) -> str:
        return f"native {self.decoder.precision}" if isinstance(self.decoder, NativeDecoder) else "torch fp32"


class Bench:
    """An engine, its tokenizer and the files to complete."""

    def __init__(self, model: str | None, *, texts: Sequence[SourceText] | None = None) -> None:
        chosen = native_or_torch(load_decoder(model))
        self.decoder, self.reason = chosen.decoder, chosen.reason
        self.tokenizer: Tokenizer = load_tokenizer(model)
        held_out = held_out_texts() if texts is None else ()
        self.texts = tuple(SourceText(one.path, one.text) for one in held_out) if texts is None else tuple(texts)
        self.of_trained_version = bool(held_out) and all(one.of_trained_version for one in held_out)
        self._start_id = self.tokenizer.end_of_text_id if model is None else None  # as the embedded model was trained

    def completer(self, lengths: Lengths, *, now: Callable[[], float] = time.perf_counter) -> Completer:
        """Return a completer with a cache of its own."""
        return Completer(self.decoder, self.tokenizer, lengths, start_id=self._start_id, now=now)

    def ceilings(self, *, now: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
        """Read the bandwidth at the size of what a step reads, and the peak of arithmetic in prefill's precision."""
        size_bytes = bytes_of_step(self.decoder, context_tokens=0)
        return read_bandwidth(size_bytes=size_bytes, now=now), peak_flops(now=now)

    def typed_text(self, *, keystrokes: int, characters: int, rng: np.random.Generator) -> Typed:
        """Return a file up to a line behind so many characters, and the keys that write what follows there.

        Raises:
            UsageError: If no file is that long.
        """
        room = characters + KEY_CHARACTERS * keystrokes
        long = [one.text for one in self.texts if len(one.text) > room]
        if not long:
            raise UsageError(f"no file is long enough for {keystrokes} keystrokes behind {characters} characters")
        text = long[int(rng.integers(len(long)))]
        begin = text.find("\n", characters + int(rng.integers(len(text) - room))) + 1
        return Typed(text[:begin], keys_of(text[begin:])[:keystrokes])


def run_completion(
    options: CompletionOptions,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> CompletionRun:
    """Complete held-out lines, time keystrokes with a warm cache, and let the engine answer a typing trace.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If prompt and completion do not fit the model, or the files have too few lines.

    Source:
        Cutting real lines and comparing to the end of the line: CodeXGLUE, arXiv:2102.04664, line-level completion.
    """
    bench, rng = Bench(options.model), np.random.default_rng(seed)
    cases = draw_cases(bench.texts, cases=options.cases, rng=rng)
    characters = options.lengths.prompt_characters
    typed = bench.typed_text(keystrokes=options.typing.keystrokes, characters=characters, rng=rng)
    keystrokes = time_cached_keystrokes(bench, options, rng=rng, now=now)
    typing = drive_policies(bench, options.lengths, policies(options.typing), typed, seed=seed, say=say, now=now)
    completer = bench.completer(options.lengths, now=now)
    completer.complete(cases[0].before)  # warm-up
    lines: list[Line] = []
    ceilings = []
    for first in range(0, len(cases), CEILING_EVERY):
        say(f"line {first + 1} of {len(cases)}")
        ceilings.append(bench.ceilings(now=now))
        lines += complete_lines(completer, cases[first : first + CEILING_EVERY])
    return CompletionRun(
        options=options,
        decoder=bench.decoder,
        reason=bench.reason,
        of_trained_version=bench.of_trained_version,
        lines=tuple(lines),
        keystrokes=keystrokes,
        typing=typing,
        bandwidth_bytes_per_s=median(bandwidth for bandwidth, _ in ceilings),
        peak_flops_per_s=median(peak for _, peak in ceilings),
    )


def complete_lines(completer: Completer, cases: Sequence[Case]) -> Iterator[Line]:
    """Complete every case with token healing, its cache empty, and then without healing, which reads only the rest."""
    for case in cases:
        healed = completer.complete(case.before)
        yield Line(case, healed, completer.complete(case.before, reuse=True, heal=False))


def time_cached_keystrokes(
    bench: Bench, options: CompletionOptions, *, rng: np.random.Generator, now: Callable[[], float] = time.perf_counter
) -> tuple[CachedKeystroke, ...]:
    """Time the first token after each keystroke in a row, cold and with the prefix of the last prompt, in turn."""
    typed = bench.typed_text(
        keystrokes=options.cached_keystrokes + 1, characters=options.lengths.prompt_characters, rng=rng
    )
    cold, warm = (bench.completer(options.lengths, now=now) for _ in range(2))
    found = []
    for count in range(1, len(typed.keys) + 1):
        text = typed.before + "".join(typed.keys[:count])
        one, other = cold.complete(text), warm.complete(text, reuse=True)
        found.append(CachedKeystroke(one.prompt_tokens, other.read_tokens, one.ttft_s, other.ttft_s))
    return tuple(found[1:])  # before the first keystroke there was nothing to keep


def policies(trace: TypingTrace) -> tuple[TypingPolicy, ...]:
    """Return what is compared: debounce, cancelling and prefix cache, and each of the three left out."""
    eager = TypingTrace(trace.keystrokes, trace.interval_p50_ms, trace.interval_sigma, debounce_ms=0.0)
    return (
        TypingPolicy("all three", trace, cancel=True, reuse=True),
        TypingPolicy("no debounce", eager, cancel=True, reuse=True),
        TypingPolicy("no cancel", trace, cancel=False, reuse=True),
        TypingPolicy("no prefix cache", trace, cancel=True, reuse=False),
    )


def drive_policies(
    bench: Bench,
    lengths: Lengths,
    policies: Sequence[TypingPolicy],
    typed: Typed,
    *,
    seed: int,
    service_total_s: float | None = None,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[TypingRun, ...]:
    """Answer the trace under every policy in turn, key by key, with requests that are left alone timed in between.

    Args:
        bench: With the engine.
        lengths: Of prompts and completions.
        policies: With their traces, all of the same number of keystrokes.
        typed: The text.
        seed: Of the intervals.
        service_total_s: What a lone request is to take by the trace's clock; None: what it takes here.
        say: Told how far it is.
        now: The clock.
    """
    alone = [
        Alone(bench.completer(lengths, now=now), reuse=one.reuse, service_total_s=service_total_s) for one in policies
    ]
    for count in range(1, min(LONE_REQUESTS, len(typed.keys)) + 1):
        for one in alone:
            one.time(typed.before + "".join(typed.keys[:count]))
    typists = [
        Typist(bench.completer(lengths, now=now), policy, typed, rng=np.random.default_rng(seed), pace=own.pace)
        for policy, own in zip(policies, alone, strict=True)
    ]
    keystrokes = policies[0].trace.keystrokes
    for key in range(keystrokes):
        say(f"keystroke {key + 1} of {keystrokes}")
        for typist in typists:
            typist.press()
    return tuple(
        TypingRun(policy, typist.driven(), own.median_ttft_s, own.median_total_s)
        for policy, typist, own in zip(policies, typists, alone, strict=True)
    )


class Alone:
    """What a request takes that nothing disturbs, timed in turn with those of a trace, and the trace's pace from it."""

    def __init__(self, completer: Completer, *, reuse: bool, service_total_s: float | None) -> None:
        self._completer, self._reuse, self._service_total_s = completer, reuse, service_total_s
        self._timed: list[Completion] = []
        self._asked = 0

    def time(self, text: str) -> None:
        """Complete a text undisturbed."""
        self._timed.append(self._completer.complete(text, reuse=self._reuse))

    def pace(self, text: str) -> float:
        """Return the seconds of the trace for one of the engine, by the last few; some texts are timed too."""
        if self._asked % LONE_EVERY == LONE_EVERY - 1:
            self.time(text)
        self._asked += 1
        if self._service_total_s is None:
            return 1.0
        return self._service_total_s / median(one.total_s for one in self._timed[-LONE_REQUESTS:])

    @property
    def median_ttft_s(self) -> float:
        return median(one.ttft_s for one in self._timed)

    @property
    def median_total_s(self) -> float:
        return median(one.total_s for one in self._timed)
