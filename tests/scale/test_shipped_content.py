"""Everything shipped loads and validates: the reference passes, and each worse design fails as it is stated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmdrill.errors import MissingExtraError, UsageError
from llmdrill.experiments.evaluate import evaluation_key, run_evaluation
from llmdrill.folders import cache_folder, content_files, shipped_folder
from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
from llmdrill.scale.result import walk_result
from llmdrill.scale.validate import replay_answers, validate_walk
from llmdrill.scale.workbench import Workbench
from llmdrill.system.check import check_design
from llmdrill.system.design import load_design, shipped_design
from llmdrill.system.estimate import estimate_design
from llmdrill.system.scenario import load_scenario
from llmdrill.system.validate import validate_scenario

if TYPE_CHECKING:
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.system.check import Verdict

SHIPPED = sorted(content_files("scenarios"))
FOLDER = shipped_folder("scenarios")
DESIGNS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/designs/*.design.yaml"))
ANSWERS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/answers/*.answers.yaml"))


def test_every_scenario_has_designs_and_answers() -> None:
    assert len(SHIPPED) >= 3
    assert {Path(name).parts[0] for name in DESIGNS} == set(SHIPPED)
    assert {Path(name).parts[0] for name in ANSWERS} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_validates(name: str) -> None:
    file = load_scenario(name)
    assert [str(mistake) for mistake in (*validate_scenario(file), *validate_walk(file))] == []


@pytest.mark.parametrize("name", ANSWERS)
def test_shipped_answers_lead_to_the_end_and_to_a_design_of_that_scenario(name: str) -> None:
    file = load_scenario(Path(name).parts[0])
    walk = replay_answers(file, FOLDER / name)
    bench = Workbench(file, load_embedder=_no_model)
    design = bench.design(walk.answers).design
    assert design.scenario.sha256 == file.scenario.sha256
    assert bench.estimate(design).stages


@pytest.mark.parametrize("name", DESIGNS)
def test_a_shipped_design_passes_or_fails_every_estimated_requirement_as_stated(name: str) -> None:
    folder, _, file_name = Path(name).parts
    results = {row.requirement: row.result for row in _estimated(folder, FOLDER / name)}
    assert results
    assert {requirement for requirement, result in results.items() if result != "pass"} == {
        requirement for requirement in _fails(folder, file_name) if requirement in results
    }


def _no_model() -> Embedder:
    raise MissingExtraError("the embedding model", "lab")


def _fails(scenario_id: str, design: str) -> set[str]:
    """Return what the scenario says this design fails; nothing for the reference."""
    scenario = load_scenario(scenario_id).scenario
    if design == scenario.reference.design:
        return set()
    return {requirement for worse in scenario.worse if worse.design == design for requirement in worse.fails}


def _estimated(scenario_id: str, path: Path) -> tuple[Verdict, ...]:
    file, design = load_scenario(scenario_id), load_design(path)
    estimate = estimate_design(design.design, file.scenario)
    return check_design(design, file.scenario, estimate, None, expected_key=None, estimated_only=True)


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_measured_the_reference_passes_everything_and_each_worse_design_fails_exactly_as_stated(name: str) -> None:
    from llmdrill.lab.embed import load_minilm

    file, cache = load_scenario(name), DiskEmbeddingCache(cache_folder() / "embeddings")
    embedder, scenario = load_minilm(), file.scenario
    timed = {requirement.id for requirement in scenario.requirements if requirement.metric.startswith("measured_")}
    for design_name in (scenario.reference.design, *(worse.design for worse in scenario.worse)):
        design = load_design(shipped_design(file.folder, design_name))
        try:
            run = run_evaluation(file, design.design, load_embedder=lambda: embedder, seed=0, cache=cache)
        except UsageError:  # a worse design may have no part that this scenario measures: then that stays unknown
            assert design_name != scenario.reference.design
            run = None
        key = evaluation_key(file, design.design, seed=0)
        rows = check_design(design, scenario, estimate_design(design.design, scenario), run, expected_key=key)
        told = {row.requirement: f"{row.result}: {row.why}" for row in rows}
        fails = {row.requirement for row in rows if row.result == "fail"}
        # A clock holds others' work too, and no worse design is said to fail by this machine's clock.
        busy = os.getloadavg()[0] > (os.cpu_count() or 1)
        unjudged = timed if busy or design_name != scenario.reference.design else set()
        assert fails - unjudged == _fails(name, design_name), told
        assert run is None or not [row for row in rows if row.result == "unknown"], told


@pytest.mark.lab
@pytest.mark.slow
def test_a_demo_with_the_model_passes_its_requirements_and_finds_evidence() -> None:
    from llmdrill.lab.embed import load_minilm

    file, embedder = load_scenario("moderation"), load_minilm()
    cache = DiskEmbeddingCache(cache_folder() / "embeddings")
    bench = Workbench(file, load_embedder=lambda: embedder, cache=cache)
    result = walk_result(bench, replay_answers(file, file.folder / "answers" / "demo.answers.yaml"))
    assert {row.result for row in result.mine.verdicts} == {"pass"}
    assert result.reference is not None
    assert {row.result for row in result.reference.verdicts} == {"pass"}
    assert 0 < result.scores.points_to_check <= result.scores.points
    assert result.confrontations
