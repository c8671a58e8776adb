"""The answers file: keyed by step and prompt id; each mistake with file, line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from walk_cases import case, finish, write_case

from llmdrill.errors import ContentError, UsageError
from llmdrill.scale.answers import as_typed, load_answers
from llmdrill.scale.validate import replay_answers, validate_walk
from llmdrill.scale.walk import Walk

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "schema: llmdrill/answers@1\nscenario: case\nsteps:\n"
CHOSEN = "  C: {role.llm: small, role.guard: rules}\n"


def _load(folder: Path, text: str) -> dict[str, str]:
    path = folder / "my.answers.yaml"
    path.write_text(text, encoding="utf-8")
    return load_answers(path, case()).texts


def test_answers_are_read_by_prompt_id(tmp_path: Path) -> None:
    text = HEAD + "  S: {ask: [how-fast, 2], promise.recall: 0.85}\n  end: {self.point-s: true, self.point-c: no}\n"
    assert _load(tmp_path, text) == {
        "ask.1": "how-fast",
        "ask.2": "2",
        "promise.recall": "0.85",
        "self.point-s": "yes",
        "self.point-c": "no",
    }


def test_one_question_need_not_be_a_list(tmp_path: Path) -> None:
    assert _load(tmp_path, HEAD + "  S: {ask: how-fast}\n") == {"ask.1": "how-fast"}


def test_the_order_of_steps_and_keys_is_of_no_matter(tmp_path: Path) -> None:
    one = HEAD + CHOSEN + "  S: {promise.money: 4k, ask: [money]}\n  E: {gate: x, metrics: recall_at_k}\n"
    two = HEAD + "  E: {metrics: recall_at_k, gate: x}\n  S: {ask: [money], promise.money: 4k}\n" + CHOSEN
    assert finish(case(), Walk(), _load(tmp_path, one)) == finish(case(), Walk(), _load(tmp_path, two))


@pytest.mark.parametrize(
    ("value", "typed"),
    [(None, ""), (True, "yes"), (False, "no"), (1_000_000.0, "1000000"), (0.85, "0.85"), (3, "3"), ("x", "x")],
)
def test_a_scalar_is_what_a_person_would_type(value: str | float | bool | None, typed: str) -> None:
    assert as_typed(value) == typed


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("schema: llmdrill/answers@1\nscenario: rag\nsteps: {}\n", "2:1", "these answers are for the scenario 'rag'"),
        (HEAD + "  S: {promise.speed: 4s}\n", "4:7", "no prompt of this walk has this id"),
        (HEAD + "  S: {flow: a}\n", "4:7", "(it belongs to step A)"),
        (HEAD + "  C:\n    role.lm: small\n", "5:5", "(did you mean role.llm"),
        (HEAD + "  A: {flow: [a, b]}\n", "4:7", "one answer, not a list"),
        (HEAD + "  X: {flow: a}\n", "4:", "X"),
        (HEAD + "  S: {ask: [{a: b}]}\n", "4:", "must be"),
        ("schema: llmdrill/answers@2\nscenario: case\nsteps: {}\n", "1:", "llmdrill/answers@1"),
        ("schema: llmdrill/answers@1\nscenario: case\n", "1:1", "the key 'steps' is missing"),
        (HEAD + "  S: {promise.money: 4k\n", "", "is not YAML"),
        (HEAD + "  S: {ask: [a]}\n  S: {ask: [b]}\n", "5:3", "this key stands twice"),
        ("", "1:1", "is empty"),
        ("[1, 2]\n", "1:1", "must be a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, place: str, what: str) -> None:
    with pytest.raises(ContentError) as caught:
        _load(tmp_path, text)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{tmp_path / 'my.answers.yaml'}:{place}")
    assert what in str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ContentError) as caught:
        _load(tmp_path, HEAD + "  S: {promise.speed: 4s, flow: a}\n  L: {number.x: 1}\n")
    assert len(caught.value.mistakes) == 3


def test_an_answer_that_its_prompt_refuses_is_told_with_the_prompt(tmp_path: Path) -> None:
    file = write_case(tmp_path)
    path = tmp_path / "my.answers.yaml"
    path.write_text(HEAD + "  S: {promise.recall: 85}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"prompt 'promise\.recall': '85' is no share"):
        replay_answers(file, path)


def test_validating_a_scenario_replays_its_answers_and_reads_its_flows(tmp_path: Path) -> None:
    file = write_case(tmp_path)
    assert [mistake for mistake in validate_walk(file) if str(tmp_path / "case") not in mistake.file] == []
    answers = tmp_path / "case" / "answers"
    answers.mkdir()
    (answers / "demo.answers.yaml").write_text(HEAD + CHOSEN + "  A: {flow: request -> nobody -> respond}\n")
    assert "'nobody' is none of your parts" in str(validate_walk(file)[0])
