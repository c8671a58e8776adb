"""What a scenario must be for the walk: flows that parse, answers that replay. The rest is checked in `system`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.errors import ContentError, LlmdrillError, Mistake, UsageError
from llmdrill.experiments.evaluate import evaluation_folder
from llmdrill.scale.answers import load_answers
from llmdrill.scale.flow import DOCUMENTS, REQUEST, RESPOND, parse_flow
from llmdrill.scale.prompts import Prompt
from llmdrill.scale.walk import Walk, answer, apply, next_item, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmdrill.system.scenario import ScenarioFile


def validate_walk(file: ScenarioFile) -> tuple[Mistake, ...]:
    """Return the mistakes that would show only in the walk, each with its place."""
    return (*_flow_mistakes(file), *_answers_mistakes(file), *_data_mistakes(file))


def _data_mistakes(file: ScenarioFile) -> Iterator[Mistake]:
    """Read what the evaluation runs on: a label whose quote is not in its document stops every measurement."""
    kind, folder = file.scenario.evaluation.kind, evaluation_folder(file)
    try:
        if kind == "retrieval":
            from llmdrill.retrieval.labelled import load_labelled_corpus

            load_labelled_corpus(folder)
        elif kind == "classification":
            from llmdrill.retrieval.messages import load_messages

            load_messages(folder / "messages")
    except ContentError as error:
        yield from error.mistakes


def _flow_mistakes(file: ScenarioFile) -> Iterator[Mistake]:
    scenario, flow = file.scenario, file.scenario.flow
    roles = [role.id for role in scenario.roles]
    for key, text, ends in (
        ("example", flow.example, (REQUEST, RESPOND)),
        ("offline_example", flow.offline_example, (DOCUMENTS,)),
    ):
        if text is None:
            continue
        try:
            parse_flow(text, (*ends, *roles))
        except UsageError as error:
            yield file.located.mistake(("flow", key), str(error))


def _answers_mistakes(file: ScenarioFile) -> Iterator[Mistake]:
    for path in sorted((file.folder / "answers").glob("*.answers.yaml")):
        try:
            replay_answers(file, path)
        except ContentError as error:
            yield from error.mistakes
        except LlmdrillError as error:
            yield Mistake(str(path), 1, 1, "", str(error))


def replay_answers(file: ScenarioFile, path: Path) -> Walk:
    """Return the walk that an answers file leads to, computing nothing.

    Raises:
        ContentError: If the file is malformed, or names prompts that do not exist.
        UsageError: If a prompt refuses its answer.
    """
    answers = load_answers(path, file.scenario)
    walk = Walk()
    while (item := next_item(file.scenario, walk)) is not None:
        if not isinstance(item, Prompt):
            walk = apply(walk, seen(item))
            continue
        try:
            walk = apply(walk, answer(file.scenario, walk, item, answers.text(item)))
        except UsageError as error:
            raise UsageError(f"prompt '{item.id}': {error}") from error
    return walk
