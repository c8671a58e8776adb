"""Perplexity, bits per token and bits per byte."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.perplexity import (
    Surprise,
    bits_per_byte,
    bits_per_token,
    explain_perplexity,
    perplexity,
    surprise,
)

LOGPROBS = st.lists(st.floats(-50, 0), min_size=1, max_size=50)


def nats(logprobs: list[float], base: float = math.e) -> float:
    found = surprise(logprobs, base=base).nats_per_token
    assert found is not None
    return found


def test_two_tokens_of_six_nats_over_eight_bytes() -> None:
    assert bits_per_byte(3.0, tokens=2, text_bytes=8) == pytest.approx(6 / (8 * math.log(2)))
    assert perplexity(nats([-1.5, -4.5])) == pytest.approx(math.exp(3))


@given(vocabulary=st.integers(1, 200_000), tokens=st.integers(1, 50))
def test_even_odds_between_n_tokens_are_a_perplexity_of_n(vocabulary: int, tokens: int) -> None:
    assert perplexity(nats([-math.log(vocabulary)] * tokens)) == pytest.approx(vocabulary)
    assert bits_per_token(nats([-math.log2(vocabulary)], base=2)) == pytest.approx(math.log2(vocabulary))


@given(logprobs=LOGPROBS)
def test_it_is_the_geometric_mean_of_inverse_probabilities_in_every_base(logprobs: list[float]) -> None:
    direct = math.prod(math.exp(-one / len(logprobs)) for one in logprobs)
    for base in (math.e, 2.0, 10.0):
        value = perplexity(nats([one / math.log(base) for one in logprobs], base=base))
        assert value == pytest.approx(direct, rel=1e-9)


@given(logprobs=LOGPROBS, text_bytes=st.integers(1, 1000))
def test_bits_per_byte_depends_on_the_sum_alone_so_not_on_the_tokenizer(logprobs: list[float], text_bytes: int) -> None:
    merged = [math.fsum(logprobs)]
    apart = bits_per_byte(nats(logprobs), tokens=len(logprobs), text_bytes=text_bytes)
    assert bits_per_byte(nats(merged), tokens=1, text_bytes=text_bytes) == pytest.approx(apart, abs=1e-12)


def test_an_impossible_token_makes_everything_unknown_not_infinite() -> None:
    found = surprise([-0.5, -math.inf])
    assert found == Surprise(2, None)
    assert explain_perplexity(found) == ()


def test_a_perplexity_too_large_for_a_number_is_unknown_while_its_bits_are_not() -> None:
    assert perplexity(1000) is None
    names = [one.name for one in explain_perplexity(surprise([-1000.0]), text_bytes=4)]
    assert names == ["cross_entropy_nats_per_token", "bits_per_token", "bits_per_byte"]


@pytest.mark.parametrize("logprobs", [[], [0.1], [math.nan], [math.inf], [-1.0, 1e-9]])
def test_what_is_no_log_probability_is_refused(logprobs: list[float]) -> None:
    with pytest.raises(UsageError):
        surprise(logprobs)


@pytest.mark.parametrize("base", [1.0, 0.5, -2.0, math.nan, math.inf])
def test_a_base_that_is_none_is_refused(base: float) -> None:
    with pytest.raises(UsageError):
        surprise([-1.0], base=base)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_negative_cross_entropy_is_refused(value: float) -> None:
    for formula in (perplexity, bits_per_token):
        with pytest.raises(UsageError):
            formula(value)
