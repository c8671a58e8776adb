"""Speculative decoding: greedy output is plain output, sampled output has the target's distribution."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from loud_decoder import loud_decoder  # noqa: E402

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.experiments.chi_square import chi_square  # noqa: E402
from llmdrill.lab.decoder import Decoder, Sampling  # noqa: E402
from llmdrill.lab.native.engine import native_or_torch  # noqa: E402
from llmdrill.lab.ngram_lookup import NgramLookup  # noqa: E402
from llmdrill.lab.sampling_check import draw_pairs, pair_probabilities  # noqa: E402
from llmdrill.lab.speculative import (  # noqa: E402
    Draft,
    Drafter,
    Greedy,
    ModelDrafter,
    NgramDrafter,
    NoDrafter,
    Sampled,
    continue_plainly,
    replay,
    speculate,
)
from llmdrill.lab.speculative_cases import BEGUN_TOKENS, held_out_cases, repeated_share  # noqa: E402

if TYPE_CHECKING:
    from llmdrill.lab.decoder import Session

pytestmark = pytest.mark.lab

PROMPT = [5, 6, 7, 8, 5, 6, 7, 9, 5, 6]
OUTPUT_TOKENS = 24
IMPOSSIBLE_SHARE = 1e-6  # a p-value below this does not come by chance; draws are seeded all the same
DRAFT = torch.tensor([0.6, 0.3, 0.1, 0.0, 0.0])
TARGET = torch.tensor([0.1, 0.4, 0.2, 0.3, 0.0])


@pytest.fixture(scope="module")
def target() -> Decoder:
    return native_or_torch(loud_decoder()).decoder


def begun(decoder: Decoder, prompt: list[int] = PROMPT) -> tuple[Session, list[int]]:
    session = decoder.start(sequences=1, capacity_tokens=64)
    return session, [*prompt, int(session.prefill([prompt]).argmax())]


class Mistaken:
    """Knows what the target will say, and gets every third token wrong."""

    def __init__(self, truth: tuple[int, ...]) -> None:
        self._truth, self._at = truth, 0

    def start(self, tokens: list[int]) -> None:  # noqa: ARG002 - as every drafter
        self._at = 0

    def draft(self, count: int) -> Draft:
        known = enumerate(self._truth[self._at : self._at + count], start=self._at)
        return Draft([token + (at % 3 == 2) for at, token in known])

    def extend(self, tokens: list[int]) -> None:
        self._at += len(tokens)


@pytest.mark.parametrize("draft_tokens", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["ngram", "pairs", "other model", "mistaken"])
def test_greedy_output_is_that_of_plain_decoding(target: Decoder, kind: str, draft_tokens: int) -> None:
    session, text = begun(target)
    plain = continue_plainly(session, text, output_tokens=OUTPUT_TOKENS)
    assert len(set(plain.tokens)) > 5  # or nothing could go wrong
    drafter: Drafter = {
        "ngram": NgramDrafter,
        "pairs": lambda: NgramDrafter(longest=2, shortest=2),
        "other model": lambda: ModelDrafter(loud_decoder(seed=1).start(sequences=1, capacity_tokens=64), Greedy()),
        "mistaken": lambda: Mistaken(plain.tokens),
    }[kind]()
    session.cache.keep(len(text) - 1)
    drafter.start(text)
    made = speculate(session, text, drafter, Greedy(), draft_tokens=draft_tokens, output_tokens=OUTPUT_TOKENS)
    assert made.tokens == plain.tokens
    assert sum(made.accepted) + len(made.accepted) == OUTPUT_TOKENS
    same = replay(text, plain.tokens, drafter, draft_tokens=draft_tokens)
    assert (made.drafted, made.accepted) == (same.drafted, same.accepted)


@pytest.mark.parametrize("accepted", [(0, 0), (3, 0), (1, 3), (3, 3), (2, 1)])
def test_a_draft_model_goes_on_as_if_it_had_read_the_text_anew(accepted: tuple[int, ...]) -> None:
    small = loud_decoder(seed=1)
    first, fresh = (ModelDrafter(small.start(sequences=1, capacity_tokens=64), Greedy()) for _ in range(2))
    text = list(PROMPT)
    first.start(text)
    for count in accepted:
        fresh.start(text)
        drafted = first.draft(3).tokens
        assert drafted == fresh.draft(3).tokens
        grown = [*drafted[:count], 77]
        first.extend(grown)
        text += grown
    fresh.start(text)
    assert first.draft(3).tokens == fresh.draft(3).tokens


def test_a_draft_model_that_is_the_target_has_every_token_accepted(target: Decoder) -> None:
    session, text = begun(target)
    drafter = ModelDrafter(target.start(sequences=1, capacity_tokens=64), Greedy())
    drafter.start(text)
    made = speculate(session, text, drafter, Greedy(), draft_tokens=3, output_tokens=OUTPUT_TOKENS)
    assert made.accepted == made.drafted == (3,) * (OUTPUT_TOKENS // 4)
    assert made.judged == sum(made.drafted)


def test_judged_tokens_end_with_the_first_that_was_rejected() -> None:
    made = replay([1, 2, 3, 1, 2], [3, 9, 9, 9], NgramDrafter(), draft_tokens=3)  # drafts 3 1 2: one is right
    assert (made.drafted[0], made.accepted[0]) == (3, 1)
    assert replay([1, 2, 3, 1, 2], [3, 9], NgramDrafter(), draft_tokens=3).judged == 1  # one more was wanted, not three


@pytest.mark.parametrize("drawn", [True, False], ids=["drawn", "looked-up"])
def test_the_rule_leaves_the_targets_distribution_as_it_is(drawn: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    rule = Sampled(Sampling(temperature=1.0), rng)
    logits = TARGET.log().expand(2, -1)
    seen: Counter[int] = Counter()
    for _ in range(4000):
        token = int(torch.multinomial(DRAFT, 1, generator=rng)) if drawn else 0
        seen[rule.judge(Draft([token], DRAFT[None] if drawn else None), logits)[0]] += 1
    assert chi_square(seen, dict(enumerate(TARGET.tolist()))).p_share > IMPOSSIBLE_SHARE


def test_a_rule_that_draws_again_from_the_target_would_be_found_out() -> None:
    rng = torch.Generator().manual_seed(0)
    seen: Counter[int] = Counter()
    for _ in range(4000):
        token = int(torch.multinomial(DRAFT, 1, generator=rng))
        kept = float(torch.rand((), generator=rng)) < float(TARGET[token] / DRAFT[token])
        seen[token if kept else int(torch.multinomial(TARGET, 1, generator=rng))] += 1
    assert chi_square(seen, dict(enumerate(TARGET.tolist()))).p_share < IMPOSSIBLE_SHARE


@pytest.mark.parametrize("kind", ["none", "ngram", "model"])
def test_sampled_pairs_come_as_often_as_plain_sampling_gives_them(target: Decoder, kind: str) -> None:
    session, text = begun(target)
    small = loud_decoder(seed=1).start(sequences=1, capacity_tokens=64)
    drawn = draw_pairs(
        session,
        text,
        {
            "none": lambda _: NoDrafter(),
            "ngram": lambda _: NgramDrafter(),
            "model": lambda rule: ModelDrafter(small, rule),
        }[kind],
        rng=torch.Generator().manual_seed(0),
        draws=150,
    )
    assert sum(drawn.seen.values()) == 150
    assert chi_square(drawn.seen, drawn.probabilities).p_share > IMPOSSIBLE_SHARE


def test_pair_probabilities_are_a_distribution_of_sixteen(target: Decoder) -> None:
    session, text = begun(target)
    pairs = pair_probabilities(session, text)
    assert len(pairs) == 16
    assert sum(pairs.values()) == pytest.approx(1, abs=1e-5)


def test_cases_are_beginnings_of_files_continued_and_begun_again() -> None:
    goes_on, again = held_out_cases(None, files=1, prompt_tokens=120, output_tokens=10)
    assert (goes_on.setting, again.setting) == ("continue", "rewrite")
    assert (len(goes_on.prompt), len(again.prompt), len(goes_on.own)) == (120, 120, 10)
    assert again.prompt[-BEGUN_TOKENS:] == goes_on.prompt[:BEGUN_TOKENS]
    assert again.prompt[:-BEGUN_TOKENS] == goes_on.prompt[:-BEGUN_TOKENS]


def test_a_text_written_twice_is_repeated_but_for_its_seam() -> None:
    text = list(range(20))
    assert repeated_share(text, text) == pytest.approx((20 - 3) / 20)
    assert repeated_share(text, [99, 98]) == 0


def test_lookup_of_a_repeated_text_drafts_it_whole() -> None:
    lookup = NgramLookup()
    lookup.extend([*range(10), 0, 1, 2])
    assert lookup.following(7) == [3, 4, 5, 6, 7, 8, 9]


def test_files_that_are_too_short_are_refused() -> None:
    with pytest.raises(UsageError, match="no held-out file has 900010 tokens"):
        held_out_cases(None, files=1, prompt_tokens=900_000, output_tokens=10)
