"""Scoring text: sliding windows against the plain sum, and what cannot be scored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.lab.decoder import random_decoder  # noqa: E402
from llmdrill.lab.score import (  # noqa: E402
    Score,
    TokenScores,
    draw_windows,
    line_ends,
    score_ids,
    score_text,
    score_windows,
    total_score,
)
from llmdrill.lab.shapes import NAMED_SHAPES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.lab

TINY = random_decoder(NAMED_SHAPES["tiny"], seed=0)


class Bytes:
    """Every byte is a token: what the tiny shape's vocabulary of 256 can hold."""

    vocabulary = 256
    end_of_text_id = None

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes | None:
        return bytes([token])


def log_probabilities(ids: Sequence[int]) -> torch.Tensor:
    return TINY.logits(torch.tensor([ids]))[0].log_softmax(dim=-1)


def sums_of(text: str, *, start_id: int | None = None) -> Score:
    """Return the sums of a text within one window."""
    found = score_text(TINY, Bytes(), text, context_tokens=32, stride_tokens=16, start_id=start_id)
    assert found is not None
    return found.sums


def test_a_text_within_one_window_costs_the_sum_of_its_log_probabilities() -> None:
    ids = list("naïve".encode())
    found = sums_of("naïve")
    expected = -sum(log_probabilities(ids)[at, ids[at + 1]].item() for at in range(len(ids) - 1))
    assert (found.tokens, found.bytes) == (5, 5)
    assert found.nats == pytest.approx(expected, abs=1e-4)
    assert found.bits_per_byte == pytest.approx(expected / 5 / math.log(2), abs=1e-4)


def test_a_start_token_makes_the_first_token_count_and_is_no_byte_itself() -> None:
    found = sums_of("abc", start_id=0)
    assert (found.tokens, found.bytes) == (3, 3)


@given(length=st.integers(2, 40), context=st.integers(1, 16), stride=st.integers(1, 16), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_every_token_is_scored_once_by_the_window_that_sees_the_most_before_it(
    length: int, context: int, stride: int, seed: int
) -> None:
    stride = min(stride, context)
    ids = torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    found = score_ids(TINY, ids, context_tokens=context, stride_tokens=stride)
    for at in range(1, length):
        begin = max(0, -(-(at - context) // stride) * stride)  # the first window that reaches this token
        expected = log_probabilities(ids[begin:at])[-1]
        assert found.nats[at].item() == pytest.approx(-expected[ids[at]].item(), abs=1e-4)


def test_the_likeliest_tokens_are_counted_right() -> None:
    ids = [ord("a")]
    while len(ids) < 6:  # the likeliest token that is a character of its own, so that the text encodes to these ids
        ids.append(int(log_probabilities(ids)[-1, :128].argmax()))
    likeliest = [int(row.argmax()) for row in log_probabilities(ids)[:-1]]
    expected = sum(one == other for one, other in zip(likeliest, ids[1:], strict=True))
    found = sums_of(bytes(ids).decode())
    assert (found.correct, found.next_token_share) == (expected, expected / 5)
    assert expected > 0


@pytest.mark.parametrize("text", ["", "x"])
def test_a_text_without_a_token_to_predict_has_no_score(text: str) -> None:
    assert score_text(TINY, Bytes(), text, context_tokens=8, stride_tokens=4) is None


@pytest.mark.parametrize(("context", "stride"), [(0, 1), (4096, 1), (8, 9), (8, 0), (8, -1)])
def test_windows_that_do_not_fit_the_model_are_refused(context: int, stride: int) -> None:
    with pytest.raises(UsageError, match="this model has 1 to 2048, and a stride is 1 to a whole window"):
        score_text(TINY, Bytes(), "abc", context_tokens=context, stride_tokens=stride)


@given(st.lists(st.builds(Score, *[st.integers(1, 99)] * 2, st.floats(0, 99), st.integers(0, 99)), min_size=1))
def test_totals_do_not_depend_on_the_order_of_texts(scores: list[Score]) -> None:
    assert total_score(scores) == total_score(scores[::-1])


def test_windows_are_whole_pieces_of_the_texts_and_do_not_overlap() -> None:
    texts = [list(range(100)), list(range(1000, 1007)), list(range(2000, 2055))]
    drawn = draw_windows(texts, windows=99, tokens=10, seed=3)
    assert len(drawn) in {14, 15}  # 10 or 9 of the first text, by where the first begins, none and 5 of the others
    assert all(row == list(range(row[0], row[0] + 10)) for row in drawn.tolist())
    assert len(set(drawn.flatten().tolist())) == drawn.numel()
    assert torch.equal(drawn, draw_windows(texts, windows=99, tokens=10, seed=3))
    with pytest.raises(UsageError, match="take shorter windows"):
        draw_windows(texts, windows=1, tokens=101, seed=0)


def test_windows_are_scored_each_for_itself() -> None:
    rows = torch.randint(0, 256, (3, 12), generator=torch.Generator().manual_seed(0))
    found = score_windows(TINY, rows)
    for row, nats in zip(rows.tolist(), found.nats, strict=True):
        torch.testing.assert_close(
            nats[1:], score_ids(TINY, row, context_tokens=16, stride_tokens=8).nats[1:], atol=1e-4, rtol=1e-4
        )
    half = score_windows(TINY, rows, logits=lambda seen: 0 * TINY.logits(seen))
    torch.testing.assert_close(half.nats[:, 1:], torch.full((3, 11), math.log(256)))


def scores(ids: str, likeliest: str) -> TokenScores:
    truth, said = torch.tensor(list(ids.encode())), torch.tensor(list(likeliest.encode()))
    return TokenScores(truth, torch.zeros(len(truth)), said)


@pytest.mark.parametrize(
    ("likeliest", "right"),
    [
        ("x\nabc\nd\nefghi\n", 2),
        ("x\nXbc\nX\nXfghi\n", 2),  # the first token of a line stands before every cursor, and "d" is too short
        ("x\nabX\nd\nefghX\n", 0),  # the last one stands behind every cursor
        ("x\nabcXd\nefghi\n", 1),  # the end of a line must come out too
    ],
)
def test_a_line_counts_if_everything_behind_the_cursor_was_likeliest(likeliest: str, right: int) -> None:
    for seed in range(5):
        found = line_ends(scores("x\nabc\nd\nefghi\n", likeliest), Bytes(), seed=seed)
        assert (found.right, found.lines) == (right, 2)
