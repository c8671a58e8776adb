"""Run the code-completion scenario on real files: lines completed, keystrokes with a warm cache, a typing trace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.bandwidth import peak_flops, read_bandwidth
from llmdrill.lab.completion import Completer
from llmdrill.lab.completion_cases import Case, SourceText, draw_cases, edit_similarity, is_exact
from llmdrill.lab.held_out import held_out_texts
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder, native_or_torch
from llmdrill.lab.tokenizer import load_tokenizer
from llmdrill.lab.typing_trace import DrivenTyping, Typed, TypingPolicy, TypingTrace, drive_typing, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.completion import Completion, Lengths
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.tokenizer import Tokenizer

KEY_CHARACTERS: Final = 6  # of a file for each keystroke: more than the return key brings with it on average
LONE_EVERY: Final = 4  # requests of a trace
LONE_REQUESTS: Final = 15  # undisturbed, for the latency that the closed form of a typing trace starts from


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
        bandwidth_bytes_per_s: At which this machine reads as many bytes as a step does: the better of two readings,
            before the lines and after them.
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

    def completer(
        self, lengths: Lengths, *, heal: bool = True, now: Callable[[], float] = time.perf_counter
    ) -> Completer:
        """Return a completer with a cache of its own."""
        return Completer(self.decoder, self.tokenizer, lengths, start_id=self._start_id, heal=heal, now=now)

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
    typing = tuple(
        drive_policy(bench, options.lengths, policy, typed, seed=seed, now=now)
        for policy in _announced(policies(options.typing), say)
    )
    step_bytes = bench.decoder.step_bytes(context_tokens=0) if isinstance(bench.decoder, NativeDecoder) else None
    size_bytes = step_bytes or bench.decoder.weight_bytes
    ceilings = [(read_bandwidth(size_bytes=size_bytes, now=now), peak_flops(now=now))]
    lines = complete_lines(bench, cases, options.lengths, say=say, now=now)
    ceilings.append((read_bandwidth(size_bytes=size_bytes, now=now), peak_flops(now=now)))
    return CompletionRun(
        options=options,
        decoder=bench.decoder,
        reason=bench.reason,
        of_trained_version=bench.of_trained_version,
        lines=lines,
        keystrokes=keystrokes,
        typing=typing,
        bandwidth_bytes_per_s=max(bandwidth for bandwidth, _ in ceilings),
        peak_flops_per_s=max(peak for _, peak in ceilings),
    )


def complete_lines(
    bench: Bench,
    cases: Sequence[Case],
    lengths: Lengths,
    *,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[Line, ...]:
    """Complete every case with token healing and without, in turn; the cache is empty for each."""
    healed, plain = (bench.completer(lengths, heal=heal, now=now) for heal in (True, False))
    healed.complete(cases[0].before)  # warm-up
    lines = []
    for number, case in enumerate(cases, start=1):
        say(f"line {number} of {len(cases)}")
        lines.append(Line(case, healed.complete(case.before), plain.complete(case.before)))
    return tuple(lines)


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


def drive_policy(
    bench: Bench,
    lengths: Lengths,
    policy: TypingPolicy,
    typed: Typed,
    *,
    seed: int,
    service_total_s: float | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> TypingRun:
    """Answer the trace under one policy, with requests that are left alone timed on the same text in between.

    Args:
        bench: With the engine.
        lengths: Of prompts and completions.
        policy: With its trace.
        typed: The text.
        seed: Of the intervals.
        service_total_s: What a lone request is to take by the trace's clock; None: what it takes here.
        now: The clock.
    """
    alone = Alone(bench.completer(lengths, now=now), reuse=policy.reuse, service_total_s=service_total_s)
    for count in range(1, min(LONE_REQUESTS, len(typed.keys)) + 1):
        alone.time(typed.before + "".join(typed.keys[:count]))
    completer, rng = bench.completer(lengths, now=now), np.random.default_rng(seed)
    driven = drive_typing(completer, policy, typed, rng=rng, pace=alone.pace)
    return TypingRun(policy, driven, alone.median_s("ttft_s"), alone.median_s("total_s"))


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
        return self._service_total_s / float(np.median([one.total_s for one in self._timed[-LONE_REQUESTS:]]))

    def median_s(self, figure: Literal["ttft_s", "total_s"]) -> float:
        """Return the median over all of them."""
        return float(np.median([getattr(one, figure) for one in self._timed]))


def _announced(policies: Sequence[TypingPolicy], say: Callable[[str], None]) -> Iterator[TypingPolicy]:
    for policy in policies:
        say(f"typing: {policy.name}")
        yield policy
