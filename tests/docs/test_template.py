"""`llmdrill scenario new` gives a scenario that is sound from the first minute."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llmdrill.experiments.evaluate import run_evaluation
from llmdrill.measurement import measurements_json
from llmdrill.retrieval.labelled import load_labelled_corpus
from llmdrill.scale.template import TEMPLATE_ID, scenario_template
from llmdrill.scale.validate import replay_answers, validate_walk
from llmdrill.system.design import load_design
from llmdrill.system.scenario import load_scenario
from llmdrill.system.validate import validate_scenario

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.system.scenario import ScenarioFile


def written(folder: Path, name: str) -> ScenarioFile:
    """Write the template under a name and load it."""
    for relative, text in scenario_template(name).items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load_scenario(str(folder / f"{name}.yaml"))


@pytest.mark.parametrize("name", [TEMPLATE_ID, "a1", "help-desk-of-the-north"])
def test_a_new_scenario_has_no_mistake_under_any_name(name: str, tmp_path: Path) -> None:
    file = written(tmp_path, name)
    assert file.scenario.id == name
    assert [str(one) for one in (*validate_scenario(file), *validate_walk(file))] == []


def test_a_mistake_in_a_new_scenario_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, "x1")
    file.path.write_text(file.path.read_text().replace("expect: 0.1826", "expect: 0.3"))
    mistakes = validate_scenario(load_scenario(str(file.path)))
    assert ["expects 0.3" in one.what for one in mistakes] == [True]


def test_nothing_of_the_old_name_is_left() -> None:
    files = scenario_template("help-desk")
    assert not any(TEMPLATE_ID in text or TEMPLATE_ID in path for path, text in files.items())


def test_the_demo_answers_give_the_reference_design_s_answers(tmp_path: Path) -> None:
    file = written(tmp_path, "x1")
    walk = replay_answers(file, file.folder / "answers" / "demo.answers.yaml")
    assert walk.answers["role.search"] == "keywords"
    assert walk.answers["flow"] == file.scenario.flow.example
    assert not [name for name, text in walk.answers.items() if name.startswith("promise.") and not text]


def test_the_corpus_has_questions_of_both_splits_and_of_no_answer(tmp_path: Path) -> None:
    corpus = load_labelled_corpus(written(tmp_path, "x1").folder)
    assert (len(corpus.documents), len(corpus.questions)) == (4, 6)
    answerable = {question.split for question in corpus.questions if question.evidence}
    unanswerable = {question.split for question in corpus.questions if not question.evidence}
    assert answerable == unanswerable == {"dev", "test"}


def test_the_reference_design_is_measured_without_any_model_and_keeps_its_recall(tmp_path: Path) -> None:
    file = written(tmp_path, "x1")

    def no_embedder() -> None:
        raise AssertionError("keyword search needs no embedding model")

    design = load_design(file.folder / "designs" / "reference.design.yaml").design
    measured = run_evaluation(file, design, load_embedder=no_embedder, seed=0)  # type: ignore[arg-type] # never called
    recall = measured.figure("recall_at_k")
    requirement = file.scenario.requirement("recall")
    assert recall is not None
    assert requirement is not None
    assert requirement.limit <= (recall.value or 0.0) < 1  # it can be improved
    assert json.dumps(measurements_json([measured]))
