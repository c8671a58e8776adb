"""Definitions at a depth of real text: where they come to stand, and that asking for them is reading the prompt."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch

from llmdrill.errors import UsageError
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.position_cases import (
    Ending,
    Haystack,
    draw_haystack,
    draw_needles,
    lines_of,
    load_material,
)
from llmdrill.lab.position_orders import Shelf, _orders
from llmdrill.lab.position_reader import Reader, ending_tokens
from llmdrill.lab.position_run import PositionPlan, run_positions
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.position_cases import Material, Task
    from llmdrill.lab.tokenizer import Tokenizer

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer()


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return load_decoder()


@pytest.fixture(scope="module")
def material(tokenizer: Tokenizer) -> Material:
    return load_material("code", tokenizer)


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - draws cases, not secrets


def test_lines_are_the_text_and_each_begins_with_its_line_break(tokenizer: Tokenizer) -> None:
    text = "import os\n\n\ndef f(x):\n    return x\n\n    # done\nclass A:\n    y = 1\n"
    lines = lines_of(text, tokenizer)
    assert [token for line in lines for token in line] == tokenizer.encode("\n" + text)
    shown = [tokenizer.decode(line) for line in lines]
    assert all(one.startswith("\n") for one in shown)
    assert [one.strip() for one in shown if one.strip()] == [one.strip() for one in text.splitlines() if one.strip()]


@pytest.mark.parametrize("tokens", [20, 200, 900])
def test_a_haystack_fills_its_room_with_whole_lines(material: Material, tokens: int) -> None:
    known = {line for text in material.texts for line in text}
    for seed in range(20):
        haystack = draw_haystack(material, tokens=tokens, rng=drawn(seed))
        assert 0 < len(haystack.ids) <= tokens
        assert tokens < 100 or len(haystack.ids) > tokens - 60
        assert known.issuperset(haystack.lines)
    assert draw_haystack(material, tokens=0, rng=drawn(0)).ids == []


def test_a_cut_is_at_the_line_end_nearest_to_the_depth() -> None:
    haystack = Haystack(((1,) * 10, (2,) * 30, (3,) * 60))
    assert [haystack.cut(depth) for depth in (0.0, 0.04, 0.06, 0.2, 0.3, 0.69, 0.71, 1.0)] == [
        *(0, 0, 10, 10, 40),
        *(40, 100, 100),
    ]


@pytest.mark.parametrize("task", ["code", "facts"])
def test_what_is_asked_for_stands_in_the_definition_and_not_in_the_question(task: Task, tokenizer: Tokenizer) -> None:
    needles = draw_needles(task, count=30, rng=drawn(0))
    assert len({needle.endings[0].cue for needle in needles}) == 30
    for needle in needles:
        for ending in needle.endings:
            cue, answer = ending_tokens(ending, tokenizer)
            assert cue + answer == tokenizer.encode(ending.cue + ending.answer)
            assert tokenizer.decode(answer).strip() in needle.definition
            assert ending.answer.strip() not in ending.cue
            assert not any(ending.answer.strip() in other for other in needle.distractors)


def test_going_back_and_reading_on_is_reading_the_whole_prompt(decoder: Decoder, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(
        "import os\n\n\ndef load_queue_item(source):\n    return source\n\n\nclass Reader:\n    pass\n"
    )
    ending = Ending("call", "\n\nresult = load_queue", "_item(")
    reader = Reader(decoder, tokenizer, start=tokenizer.end_of_text_id)
    reader.read(ids[:20] + ids[5:9])
    reader.ask(ending)
    reader.read(ids[20:], after=20)
    said = reader.ask(ending)
    assert said == reader.ask(ending)  # asking leaves the prompt as it was
    cue, answer = ending_tokens(ending, tokenizer)
    prompt = [*reader.start, *ids, *cue]
    logits = decoder.logits(torch.tensor([[*prompt, *answer]]))[0].log_softmax(-1)
    nats = sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(answer))
    assert said.nats == pytest.approx(nats, abs=1e-3)
    assert said.exact == all(int(logits[len(prompt) - 1 + at].argmax()) == token for at, token in enumerate(answer))


def test_every_case_has_a_chunk_with_its_definition_and_the_ranks_are_those_of_bm25(
    material: Material, tokenizer: Tokenizer
) -> None:
    rng = drawn(0)
    needles = draw_needles("code", count=5, rng=rng)
    definitions = [tokenizer.encode(needle.definition) for needle in needles]
    shelf = Shelf.stock(
        definitions,
        [needle.query for needle in needles],
        lambda tokens: draw_haystack(material, tokens=tokens, rng=rng),
        tokens=90,
        decode=lambda ids: tokenizer.decode(list(ids)),
    )
    for case, (needle, definition) in enumerate(zip(needles, definitions, strict=True)):
        told, untold = shelf.chunk(case), shelf.chunk(case, untold=case)
        assert needle.definition in tokenizer.decode(told)
        assert needle.endings[0].answer not in tokenizer.decode(untold)
        assert len(told) == len(untold) + len(definition) <= 90
        assert shelf.chunk(case, untold=case + 1) == told
        assert shelf.ranked[case][shelf.ranks[case] - 1] == case
        assert shelf.ranks[case] <= 5
    assert sorted(shelf.ranked[0]) == list(range(5 + len(shelf.others)))


def test_orders_hold_the_same_chunks_and_only_the_place_of_the_best_differs() -> None:
    many = _orders([4, 9, 1, 7, 3], few=False)
    assert [list(many[name]) for name in ("best first", "edges first", "best last")] == [
        [4, 9, 1, 7, 3],
        [4, 1, 3, 7, 9],
        [3, 7, 1, 9, 4],
    ]
    assert list(_orders([4, 9], few=True)["best last"]) == [9, 4]


def plan(**changed: object) -> PositionPlan:
    asked: dict[str, object] = {"context_tokens": (192,), "depths": (0.0, 1.0), "cases": 4, "chunks": 2}
    return PositionPlan(**{"task": "code", "few_chunks": 1, **asked, **changed})  # type: ignore[arg-type]


def test_the_embedded_model_uses_a_definition_that_stands_near() -> None:
    run = run_positions(plan())
    calls = [one for one in run.depths if one.ending == "call"]
    assert [round(one.depth, 1) for one in calls] == [0.0, 1.0]
    assert calls[0].without == calls[1].without
    for one in (*calls, *(one for one in run.orders if one.ending == "call")):
        gains = [said.nats - other.nats for said, other in zip(one.with_it, one.without, strict=True)]
        assert len(gains) == 4
        assert sum(gains) / 4 > 3
    assert {(one.order, one.chunks) for one in run.orders} == {
        *((name, 2) for name in ("best first", "edges first", "best last")),
        ("best last", 1),
    }
    assert all(one.prompt_tokens < 192 for one in run.orders)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"context_tokens": (2000,)}, "a context of 2,000 tokens: this model was made for 1,024"),
        ({"context_tokens": (60,)}, "a context of 60 tokens: definition and question take"),
        ({"chunks": 5}, "ask for at most --chunks"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        run_positions(plan(**changed))


def test_more_cases_than_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"500 cases: there are names for about 1\d\d; ask for fewer"):
        draw_needles("facts", count=500, rng=drawn(0))
