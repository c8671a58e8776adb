"""Generate with and without drafts, variant beside variant, and read the clock: `llmdrill lab speculative`.

Shapes in comments: T tokens of a pass.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import Sampling
from llmdrill.lab.embedded import draft_decoder
from llmdrill.lab.likeliest import likeliest
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder, native_or_torch
from llmdrill.lab.ngram_lookup import LONGEST_NGRAM, SHORTEST_NGRAM
from llmdrill.lab.sampling_check import Draws, draw_pairs
from llmdrill.lab.speculative import (
    Greedy,
    ModelDrafter,
    NgramDrafter,
    NoDrafter,
    Sampled,
    continue_plainly,
    replay,
    speculate,
)
from llmdrill.lab.speculative_cases import SETTINGS, Case, Setting, held_out_cases, repeated_share
from llmdrill.lab.speculative_tally import Seconds, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmdrill.lab.decoder import Decoder, Session
    from llmdrill.lab.speculative import Continuation, Drafter, Rule

DrafterName = Literal["draft_model", "ngram"]
CANDIDATE_TOKENS: Final = 32  # that each engine decodes before the fastest is chosen
PASSES_READ: Final = 8  # passes of each length in a round
PAIR_PROMPT_TOKENS: Final = 32  # before the pairs of the chi-square test: a short text is read a thousand times over
PAIR_BEGUN_TOKENS: Final = 12  # of them once more: in a text that repeats nothing, n-gram lookup has nothing to draft
SAMPLING: Final = Sampling(temperature=1.0, top_k=50)


@dataclass(frozen=True, slots=True)
class SpeculativeOptions:
    """What to run.

    Attributes:
        model: The target: a folder or hub id; None: the embedded one.
        draft_model: A folder or hub id of the same tokens; None: the embedded one's draft model, else no draft model.
        files: Held-out files, each in both settings.
        prompt_tokens: Of each.
        output_tokens: Generated after the first.
        longest_draft: The sweep goes from one token to so many a pass.
        ngram: Shortest and longest n-gram that is looked up.
        draws: Pairs of tokens drawn for the chi-square test.
    """

    model: str | None = None
    draft_model: str | None = None
    files: int = 3
    prompt_tokens: int = 384
    output_tokens: int = 96
    longest_draft: int = 8
    ngram: tuple[int, int] = (SHORTEST_NGRAM, LONGEST_NGRAM)
    draws: int = 1000
    warm_up: int = 1
    repeats: int = 3

    def __post_init__(self) -> None:
        NgramDrafter(shortest=self.ngram[0], longest=self.ngram[1])  # refuses what cannot be

    @property
    def room_tokens(self) -> int:
        """Return the context that a text takes: prompt, output, and a draft that reaches beyond."""
        return self.prompt_tokens + self.output_tokens + self.longest_draft + 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that decodes plainly: seconds a token, a reading a round."""

    name: str
    decoder: Decoder
    tpot_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpeculativeRun:
    """All that was seen.

    Attributes:
        candidates: Engines for plain decoding.
        target: The fastest of them, which every variant is held against and verifies with.
        greedy: By setting, drafter and draft length.
        sampled: By drafter, in the setting ``continue``, at the draft length that greedy decoding liked best.
        sampled_draft_tokens: That length.
        pass_s: Of the target over T tokens, by T.
        draft_pass_s: Of the draft model over one token; None without one.
        own_tokens_per_pass: Of n-gram lookup by draft length, if the model wrote exactly what the files say.
        repeated_share: Of plain output by setting, and of what the files say (``own``).
        drawn: Pairs of tokens drawn by drafter for the chi-square test.
    """

    cases: tuple[Case, ...]
    candidates: tuple[Candidate, ...]
    target: Candidate
    greedy: Mapping[tuple[Setting, DrafterName, int], Tally]
    sampled: Mapping[DrafterName, Tally]
    sampled_draft_tokens: Mapping[DrafterName, int]
    pass_s: Mapping[int, float]
    draft_pass_s: float | None
    own_tokens_per_pass: Mapping[int, float]
    repeated_share: Mapping[str, float]
    drawn: Mapping[DrafterName, Draws]


def run_speculative(
    options: SpeculativeOptions,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> SpeculativeRun:
    """Find the fastest plain engine, then generate every text in every variant, round by round.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` says.
        UsageError: If the draft model has other tokens, a text does not fit the context, or no file is long enough.
    """
    target, draft = _load(options)
    sizes = {"prompt_tokens": options.prompt_tokens, "output_tokens": options.output_tokens}
    if options.room_tokens > target.shape.max_positions:
        raise UsageError(f"{options.room_tokens} tokens of context: this model has {target.shape.max_positions}")
    cases = held_out_cases(options.model, files=options.files, **sizes)
    say("the fastest engine without drafts")
    candidates = time_candidates(target, cases[0], options, now=now)
    fastest = min(candidates, key=lambda one: median(one.tpot_s))
    bench = _Bench(fastest.decoder, draft, options, seed=seed, now=now)
    for _ in range(options.warm_up):
        say("greedy: warm-up")
        bench.greedy_round(cases[:1], counts=False)
    for number in range(options.repeats):
        say(f"greedy: round {number + 1} of {options.repeats}")
        bench.greedy_round(cases, counts=True)
    best = {name: bench.best_draft_tokens(name) for name in bench.drafters}
    for number in range(options.repeats):
        say(f"sampling: round {number + 1} of {options.repeats}")
        bench.sampled_round(cases, best)
    say("drawing pairs of tokens for the chi-square test")
    drawn = bench.draw(cases[0])
    return SpeculativeRun(
        cases=cases,
        candidates=candidates,
        target=fastest,
        greedy=bench.greedy,
        sampled=bench.sampled,
        sampled_draft_tokens=best,
        pass_s={tokens: median(seen) for tokens, seen in bench.pass_s.items()},
        draft_pass_s=median(bench.draft_pass_s) if bench.draft_pass_s else None,
        own_tokens_per_pass=_own_tokens_per_pass(cases, options),
        repeated_share=bench.repeated(cases),
        drawn=drawn,
    )


def _load(options: SpeculativeOptions) -> tuple[Decoder, Decoder | None]:
    target = load_decoder(options.model)
    if options.draft_model is not None:
        draft = load_decoder(options.draft_model)
    elif options.model is None:
        draft = draft_decoder()
    else:
        return target, None
    if draft.shape.vocab != target.shape.vocab:
        raise UsageError(
            f"the draft model has {draft.shape.vocab} tokens, the target {target.shape.vocab}: they need the same"
        )
    return target, draft


def time_candidates(
    target: Decoder, case: Case, options: SpeculativeOptions, *, now: Callable[[], float]
) -> tuple[Candidate, ...]:
    """Decode plainly in torch and in each precision of the native engine, in turn."""
    decoders = {"torch_fp32": target}
    for precision in ("fp32", "bf16", "int8"):
        chosen = native_or_torch(target, precision=precision)
        if isinstance(chosen.decoder, NativeDecoder):
            decoders[f"native_{precision}"] = chosen.decoder
    sessions = {name: _read_prompt(decoder, case, options) for name, decoder in decoders.items()}
    seen: dict[str, list[float]] = {name: [] for name in decoders}
    count = min(CANDIDATE_TOKENS, options.output_tokens)
    for number in range(options.warm_up + options.repeats):
        for name, (session, text) in sessions.items():
            session.cache.keep(len(text) - 1)
            start = now()
            continue_plainly(session, text, output_tokens=count)
            seen[name] += [(now() - start) / count] if number >= options.warm_up else []
    return tuple(Candidate(name, decoder, tuple(seen[name])) for name, decoder in decoders.items())


def _read_prompt(decoder: Decoder, case: Case, options: SpeculativeOptions) -> tuple[Session, list[int]]:
    """Return a session that has read the prompt, and the prompt with the first token that follows."""
    session = decoder.start(sequences=1, capacity_tokens=options.room_tokens)
    return session, [*case.prompt, *likeliest(session.prefill([case.prompt]))]


@dataclass(frozen=True, slots=True)
class _Ran:
    """What was generated, the seconds it took, and those of the drafter's start."""

    made: Continuation
    own_s: float
    start_s: float


class _Bench:
    """Every variant on the same texts, one beside the other."""

    def __init__(
        self,
        target: Decoder,
        draft: Decoder | None,
        options: SpeculativeOptions,
        *,
        seed: int,
        now: Callable[[], float],
    ) -> None:
        self._target, self._options, self._now = target, options, now
        self._draft = None if draft is None else native_or_torch(draft).decoder
        self._rng = torch.Generator().manual_seed(seed)
        self.drafters: tuple[DrafterName, ...] = ("ngram",) if draft is None else ("draft_model", "ngram")
        self._lengths = range(1, options.longest_draft + 1)
        self.greedy: dict[tuple[Setting, DrafterName, int], Tally] = {
            (setting, name, count): Tally() for setting in SETTINGS for name in self.drafters for count in self._lengths
        }
        self.sampled: dict[DrafterName, Tally] = {name: Tally() for name in self.drafters}
        self.pass_s: dict[int, list[float]] = {tokens: [] for tokens in range(1, options.longest_draft + 2)}
        self.draft_pass_s: list[float] = []
        self._plain: dict[Case, Continuation] = {}

    def greedy_round(self, cases: tuple[Case, ...], *, counts: bool) -> None:
        """Generate every text in every variant, plainly beside each draft length."""
        timed: dict[tuple[Setting, DrafterName, int], list[Seconds]] = {at: [] for at in self.greedy}
        for case in cases:
            session, text = _read_prompt(self._target, case, self._options)
            for count in self._lengths:
                plain_s = self._time_plainly(session, text, case)
                for name in self.drafters:
                    variant = case.setting, name, count
                    ran = self._time(session, text, self._drafter(name, Greedy()), Greedy(), count)
                    timed[variant].append(Seconds(plain_s, ran.own_s, ran.start_s))
                    if counts:
                        self.greedy[variant].count(ran.made, same=ran.made.tokens == self._plain[case].tokens)
            self._time_passes(session, len(text) - 1, counts=counts)
        for variant, tally in self.greedy.items() if counts else ():
            tally.time(timed[variant])

    def sampled_round(self, cases: tuple[Case, ...], best: Mapping[DrafterName, int]) -> None:
        """Sample every text to be continued, plainly and with each drafter at its best length."""
        rule = Sampled(SAMPLING, self._rng)
        timed: dict[DrafterName, list[Seconds]] = {name: [] for name in self.drafters}
        for case in cases:
            if case.setting != "continue":
                continue
            session, text = _read_prompt(self._target, case, self._options)
            plain_s = self._time(session, text, NoDrafter(), rule, 0).own_s
            for name in self.drafters:
                ran = self._time(session, text, self._drafter(name, rule), rule, best[name])
                self.sampled[name].count(ran.made, same=False)
                timed[name].append(Seconds(plain_s, ran.own_s, ran.start_s))
        for name, tally in self.sampled.items():
            tally.time(timed[name])

    def draw(self, case: Case) -> dict[DrafterName, Draws]:
        """Draw pairs of tokens with each drafter, and work out what plain sampling gives."""
        text = [*case.prompt[:PAIR_PROMPT_TOKENS], *case.prompt[:PAIR_BEGUN_TOKENS]]  # so that lookup drafts as well
        session = self._target.start(sequences=1, capacity_tokens=self._options.room_tokens)
        session.prefill([text[:-1]])

        def drafter_of(name: DrafterName) -> Callable[[Rule], Drafter]:
            return lambda rule: self._drafter(name, rule)

        return {
            name: draw_pairs(session, text, drafter_of(name), rng=self._rng, draws=self._options.draws)
            for name in self.drafters
        }

    def best_draft_tokens(self, name: DrafterName) -> int:
        """Return the draft length that continued files fastest."""
        return max(self._lengths, key=lambda count: median(self.greedy["continue", name, count].speedups))

    def repeated(self, cases: tuple[Case, ...]) -> dict[str, float]:
        """Return how much of the texts repeats what stood before."""
        shares: dict[str, list[float]] = {}
        for case in cases:
            shares.setdefault(case.setting, []).append(repeated_share(case.prompt, self._plain[case].tokens))
            if case.own:
                shares.setdefault("own", []).append(repeated_share(case.prompt, case.own))
        return {name: sum(seen) / len(seen) for name, seen in shares.items()}

    def _drafter(self, name: DrafterName, rule: Rule) -> Drafter:
        if name == "ngram" or self._draft is None:
            shortest, longest = self._options.ngram
            return NgramDrafter(longest=longest, shortest=shortest)
        return ModelDrafter(self._draft.start(sequences=1, capacity_tokens=self._options.room_tokens), rule)

    def _time_plainly(self, session: Session, text: list[int], case: Case) -> float:
        session.cache.keep(len(text) - 1)
        start = self._now()
        self._plain[case] = continue_plainly(session, text, output_tokens=self._options.output_tokens)
        return self._now() - start

    def _time(self, session: Session, text: list[int], drafter: Drafter, rule: Rule, count: int) -> _Ran:
        session.cache.keep(len(text) - 1)
        began = self._now()
        drafter.start(text)
        start = self._now()
        made = speculate(session, text, drafter, rule, draft_tokens=count, output_tokens=self._options.output_tokens)
        return _Ran(made, self._now() - start, start - began)

    def _time_passes(self, session: Session, length: int, *, counts: bool) -> None:
        """Time passes of the target over 1, 2, 3 … tokens and of the draft model over one, in turn."""
        small = None if self._draft is None else self._draft.start(sequences=1, capacity_tokens=length + 1)
        if small is not None:
            small.cache.lengths.fill_(length)
        for _ in range(PASSES_READ):
            for tokens, seen in self.pass_s.items():
                seconds = self._pass_s(session, length, tokens)
                seen.extend([seconds] if counts else [])
            if small is not None:
                seconds = self._pass_s(small, length, 1)
                self.draft_pass_s.extend([seconds] if counts else [])

    def _pass_s(self, session: Session, length: int, tokens: int) -> float:
        session.cache.keep(length)
        ids = torch.zeros(1, tokens, dtype=torch.long)  # (1, T)
        start = self._now()
        session.verify(ids)
        return self._now() - start


def _own_tokens_per_pass(cases: tuple[Case, ...], options: SpeculativeOptions) -> dict[int, float]:
    """Return what n-gram lookup yields on the files' own text, which no model's habit of repeating itself flatters."""
    shortest, longest = options.ngram
    found = {}
    for count in range(1, options.longest_draft + 1):
        tally = Tally()
        for case in cases:
            if case.own:
                drafter = NgramDrafter(longest=longest, shortest=shortest)
                tally.count(replay(case.prompt, case.own, drafter, draft_tokens=count), same=True)
        found[count] = tally.tokens_per_pass
    return found
