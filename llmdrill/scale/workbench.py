"""What the walk computes between its prompts: design, estimate, numbers, the real run, verdicts, coverage."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from llmdrill.errors import LlmdrillError
from llmdrill.experiments.confront import Confrontation, confront
from llmdrill.experiments.evaluate import evaluation_key, needs_embedder, run_evaluation
from llmdrill.grading.coverage import Embed, PointCoverage, cover
from llmdrill.grading.numbers import NumberGrade, grade_number
from llmdrill.lab.background import Warmup
from llmdrill.scale.draft import draft_design
from llmdrill.scale.evaluation import parse_plan
from llmdrill.system.check import Verdict, check_design
from llmdrill.system.design import Design, DesignFile, load_design, read_design, shipped_design, write_design
from llmdrill.system.estimate import Estimate, estimate_design
from llmdrill.system.numbers import compute_number
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.measurement import Measurement
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.scale.prompts import Answers
    from llmdrill.system.scenario import NumberQuestion, Scenario, ScenarioFile

TIMED_QUESTIONS: Final = 20
EVALUATION_PROSE: Final = ("judge", "sample", "agreement", "gate", "on_failure")


@dataclass(frozen=True, slots=True)
class Run:
    """A measurement, or why there is none."""

    measurement: Measurement | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A design with everything that is known about it."""

    file: DesignFile
    estimate: Estimate
    run: Run
    verdicts: tuple[Verdict, ...]


class Workbench:
    """Computes what the walk shows. Nothing here prints or asks; the lab is touched only through ``load_embedder``."""

    def __init__(
        self,
        file: ScenarioFile,
        *,
        load_embedder: Callable[[], Embedder],
        cache: EmbeddingCache | None = None,
        seed: int = 0,
        title: str = "",
    ) -> None:
        self.file = file
        self.scenario = file.scenario
        self.seed = seed
        self.title = title or f"A design for {file.scenario.id}"
        self._load_embedder = load_embedder
        self._cache = cache
        self._estimates: dict[str, Estimate] = {}
        self._coverage: dict[str, tuple[PointCoverage, ...]] = {}
        self._runs: dict[str, Warmup[Run]] = {}
        self._confronted: dict[str, tuple[Confrontation, ...]] = {}

    # --- the person's design --------------------------------------------------------------------------------------

    def design_text(self, answers: Answers) -> str:
        """Return the text of the design file that the answers describe."""
        return write_design(draft_design(self.scenario, answers, title=self.title))

    def design(self, answers: Answers, *, path: Path | None = None) -> DesignFile:
        """Return the design that the answers describe.

        Raises:
            ContentError: If they do not make one: no stage is left, or a stage refuses its settings.
        """
        return read_design(self.design_text(answers), path or Path(f"{self.scenario.id}.design.yaml"))

    def estimate(self, design: Design) -> Estimate:
        """Return the estimate of a design under this scenario; computed once."""
        key = design.model_dump_json()
        if key not in self._estimates:
            self._estimates[key] = estimate_design(design, self.scenario, seed=self.seed)
        return self._estimates[key]

    # --- numbers --------------------------------------------------------------------------------------------------

    def numbers(self, answers: Answers) -> tuple[NumberGrade, ...]:
        """Return the grade of every number question."""
        estimate = self.estimate(self.design(answers).design)
        return tuple(self._number(question, answers, estimate) for question in self.scenario.numbers)

    def _number(self, question: NumberQuestion, answers: Answers, estimate: Estimate) -> NumberGrade:
        stated = stated_number(question, answers.get(f"number.{question.id}", ""))
        computed = compute_number(question, self.scenario, estimate)
        return grade_number(
            question.id, stated=stated, computed=computed.value, tolerance_ratio=question.tolerance_ratio
        )

    # --- the real run ---------------------------------------------------------------------------------------------

    def begin_run(self, design: Design) -> Warmup[Run]:
        """Start measuring a design in the background; once for each thing measured."""
        key = self._key(design) or design.model_dump_json()
        if key not in self._runs:
            self._runs[key] = Warmup(lambda: self._measure(design)).start()
        return self._runs[key]

    def _key(self, design: Design) -> str | None:
        """Return the key of this design's run; None if nothing can be run: the run then says why."""
        try:
            return evaluation_key(self.file, design, seed=self.seed)
        except LlmdrillError:
            return None

    def run(self, design: Design) -> Run:
        """Return the measurement of a design, waiting for it if need be; a second call returns the same."""
        return self.begin_run(design).result()

    def _measure(self, design: Design) -> Run:
        if self._is_timed:
            self._embed()  # let the embedding model finish loading: it would run beside what is timed
        try:
            measured = run_evaluation(
                self.file, design, load_embedder=self._load_embedder, seed=self.seed, cache=self._cache
            )
        except LlmdrillError as error:
            return Run(None, str(error).splitlines()[0])
        return Run(measured)

    def judge(self, file: DesignFile) -> Judged:
        """Return estimate, run and verdicts of a design."""
        estimate, run = self.estimate(file.design), self.run(file.design)
        key = self._key(file.design)
        verdicts = check_design(file, self.scenario, estimate, run.measurement, expected_key=key)
        return Judged(file, estimate, run, verdicts)

    @property
    def _is_timed(self) -> bool:
        """Whether the run's figures are times, which work beside it would spoil."""
        return self.scenario.evaluation.kind == "decoding"

    def planned(self, answers: Answers, judged: Judged) -> tuple[Verdict, ...]:
        """Return the person's own thresholds as verdicts: what cannot be measured here is unknown."""
        thresholds = {one.name: one.threshold for one in parse_plan(answers.get("metrics", "")) if one.threshold}
        limits = {name: re.sub(r"^[<>]=\s*", "", threshold) for name, threshold in thresholds.items()}
        # Held to nothing but these: a scenario without requirements of its own, and a design that answers it.
        held = self.scenario.model_copy(update={"requirements": ()})
        reference = judged.file.design.scenario.model_copy(update={"sha256": held.sha256})
        design = judged.file.design.model_copy(update={"requirements": limits, "scenario": reference})
        file = dataclasses.replace(judged.file, design=design)
        key, measurement = self._key(design), judged.run.measurement
        return check_design(file, held, judged.estimate, measurement, expected_key=key)

    def begin_reference(self) -> None:
        """Start measuring the reference design in the background, unless what is measured is time."""
        if self._is_timed:
            return
        with contextlib.suppress(LlmdrillError):  # said where the reference is shown
            self.begin_run(load_design(self._reference_path()).design)

    def reference(self) -> Judged:
        """Return the reference design with its own numbers.

        Raises:
            ContentError: If the scenario's reference design is malformed or was written for another version of it.
        """
        return self.judge(load_design(self._reference_path()))

    def _reference_path(self) -> Path:
        return shipped_design(self.file.folder, self.scenario.reference.design)

    def confrontations(self, file: DesignFile) -> tuple[Confrontation, ...]:
        """Return the predictions that the run of this design can be held against; none without a run."""
        run = self.run(file.design)
        if run.measurement is None:
            return ()
        if run.measurement.key not in self._confronted:
            estimate, seconds = self.estimate(file.design), self._embed_query_s(file.design)
            found = confront(self.scenario, file.design, estimate, run.measurement, embed_query_s=seconds)
            self._confronted[run.measurement.key] = found
        return self._confronted[run.measurement.key]

    def _embed_query_s(self, design: Design) -> float | None:
        """Return the median time to embed one question here; None where no embedder takes part."""
        if self.scenario.evaluation.kind != "retrieval" or not needs_embedder(self.file, design):
            return None
        embedder = self._load_embedder()
        seconds = []
        for topic in (*self.scenario.topics, *self.scenario.topics)[:TIMED_QUESTIONS]:
            began = time.perf_counter()
            embedder.embed([topic.question])
            seconds.append(time.perf_counter() - began)
        return median(seconds[1:]) if len(seconds) > 1 else None

    # --- prose ----------------------------------------------------------------------------------------------------

    def coverage(self, answers: Answers) -> tuple[PointCoverage, ...]:
        """Return the evidence for every rubric point; all unknown without the embedding model."""
        words = said(self.scenario, answers)
        key = repr(words)
        if key not in self._coverage:
            self._coverage[key] = cover(self.scenario.rubric, words, self._embed())
        return self._coverage[key]

    def _embed(self) -> Embed | None:
        try:
            return self._load_embedder().embed
        except LlmdrillError:
            return None


def stated_number(question: NumberQuestion, typed: str) -> float | str | None:
    """Return what the person stated, in SI; a stage's name as it is; None if skipped."""
    if not typed:
        return None
    if question.dimension == "stage":
        return typed
    return parse_quantity(typed.lstrip("~≈ "), question.dimension, bare_unit=question.bare_unit)


def said(scenario: Scenario, answers: Answers) -> dict[str, list[str]]:
    """Return step → what the person wrote in it: questions asked (a topic picked is its question), reasons, plan."""
    words: dict[str, list[str]] = {step: [] for step in ("S", "C", "A", "L", "E")}
    questions = {topic.id: topic.question for topic in scenario.topics}
    for name, text in answers.items():
        if not text:
            continue
        if name.startswith("ask.") and not name.endswith(".match"):
            words["S"].append(questions.get(text, text))
        elif name.startswith("role.") and name.endswith(".why"):
            words["C"].append(text)
        elif name == "architecture.why":
            words["A"].append(text)
        elif name == "latency.why":
            words["L"].append(text)
        elif name in EVALUATION_PROSE:
            words["E"].append(text)
    return words
