"""Run a scenario's evaluation on a design: the one door to the three runs, and the key that says what was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.errors import UsageError
from llmdrill.experiments import classification_run, decoding_run, retrieval_run
from llmdrill.experiments.parameters import retrieval_plan, stages_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmdrill.measurement import Measurement
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import ScenarioFile


def evaluation_folder(file: ScenarioFile) -> Path:
    """Return where the evaluation's data lies: beside the scenario file, in the folder it names or of its own id."""
    named = file.scenario.evaluation.folder
    return file.folder if named in (None, ".") else file.path.parent / str(named)


def evaluation_key(file: ScenarioFile, design: Design, *, seed: int) -> str | None:
    """Return the key a measurement of this design must carry, without running anything; None if nothing can be run."""
    try:
        match file.scenario.evaluation.kind:
            case "retrieval":
                return retrieval_run.retrieval_key(evaluation_folder(file), design, seed=seed)
            case "decoding":
                _need(design, "llm")
                return decoding_run.completion_key(file.scenario, design, seed=seed)
            case "classification":
                return classification_run.classification_key(file.scenario, evaluation_folder(file), design, seed=seed)
    except UsageError:
        return None


def needs_embedder(file: ScenarioFile, design: Design) -> bool:
    """Tell whether measuring this design takes the embedding model."""
    match file.scenario.evaluation.kind:
        case "retrieval":
            return retrieval_plan(design).config.retriever != "keyword"
        case "classification":
            return bool(stages_of(design, "classifier"))
        case "decoding":
            return False


def run_evaluation(
    file: ScenarioFile,
    design: Design,
    *,
    load_embedder: Callable[[], Embedder],
    seed: int,
    cache: EmbeddingCache | None = None,
) -> Measurement:
    """Measure a design for real on this machine.

    Args:
        file: The scenario.
        design: What to measure.
        load_embedder: Called only if the run needs the embedding model.
        seed: Of bootstrap draws, random weights and typing traces.
        cache: Keeps embeddings between runs.

    Raises:
        MissingExtraError: If the run needs torch or the embedding model and they are not installed.
        UsageError: If the design has no part that this scenario measures.
    """
    from llmdrill.lab.machine import this_machine

    kind = file.scenario.evaluation.kind
    if kind == "decoding":
        _need(design, "llm")
        return decoding_run.measure_completion(file.scenario, design, seed=seed)
    embedder = load_embedder() if needs_embedder(file, design) else None
    folder = evaluation_folder(file)
    if kind == "retrieval":
        return retrieval_run.measure_retrieval(
            folder, design, embedder=embedder, machine=this_machine(), seed=seed, cache=cache
        )
    return classification_run.measure_moderation(
        file.scenario, folder, design, embedder=embedder, seed=seed, cache=cache
    )


def _need(design: Design, kind: str) -> None:
    if not stages_of(design, kind):
        raise UsageError(f"the design has no stage of kind '{kind}': there is nothing of it to run here")
