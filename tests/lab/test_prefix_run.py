"""Prompts whose beginning is in the cache already: the same logits, and a clock around what is left to read."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.shapes import NAMED_SHAPES

torch = pytest.importorskip("torch")

from llmdrill.lab.decoder import Decoder, random_decoder  # noqa: E402
from llmdrill.lab.prefix_run import shared_tokens, time_prefix_hits  # noqa: E402

pytestmark = pytest.mark.lab


def sharp() -> Decoder:
    """Return a small decoder whose weights are large enough that a wrong position shows in its logits."""
    decoder = random_decoder(dataclasses.replace(NAMED_SHAPES["tiny"], layers=1), seed=0)
    for layer in decoder.weights.layers:
        layer.qkv.mul_(6)
        layer.out.mul_(6)
    return decoder


HELD, TAIL = (torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(3))).tolist()


@pytest.mark.parametrize("sizes", [(0, 10, 39), (39, 0, 10)])
def test_a_hit_changes_no_logit_whatever_the_order_it_is_asked_for(sizes: tuple[int, ...]) -> None:
    hits = time_prefix_hits(sharp(), HELD, TAIL, cached_tokens=sizes, repeats=2)
    assert tuple(one.cached_tokens for one in hits) == sizes
    assert all(one.logit_difference < 1e-4 and one.same_token for one in hits)
    assert all(len(one.ttft_s) == 2 for one in hits)


def test_only_what_the_cache_lacks_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, read = sharp(), list[int]()
    hidden = decoder.hidden
    monkeypatch.setattr(
        decoder, "hidden", lambda ids, positions, cache: read.append(ids.shape[1]) or hidden(ids, positions, cache)
    )
    time_prefix_hits(decoder, HELD, HELD, cached_tokens=(0, 30), repeats=1)
    one_round = [40, 10, 40]  # the held text, then the prompt after a hit of 30, and after none
    assert read == one_round * 2 + [40, 40]  # and both prompts whole, to compare


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_the_common_beginning_is_common_longest_and_leaves_a_token(held: list[int], prompt: list[int]) -> None:
    size = shared_tokens(held, prompt)
    assert held[:size] == prompt[:size]
    assert size < len(prompt)
    assert size in {len(held), len(prompt) - 1} or held[size] != prompt[size]


@pytest.mark.parametrize("sizes", [(), (40,), (-1,)])
def test_a_hit_that_leaves_nothing_to_read_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="at most 39 can be cached"):
        time_prefix_hits(sharp(), HELD, TAIL, cached_tokens=sizes, repeats=1)
