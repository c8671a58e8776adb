"""Measure a moderation design's automatic tiers on its scenario's labelled messages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import UsageError
from llmdrill.experiments.parameters import EMBEDDER_HERE, MINILM_SHA256, stages_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from llmdrill.lab.classify_run import ClassificationConfig
    from llmdrill.measurement import Measurement
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.messages import MessageSet
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

MESSAGES: Final = "messages"
RULES_NOTE: Final = "the rules tier is not run: a scenario ships no patterns, so the classifier sees every message"


@dataclass(frozen=True, slots=True)
class CachedEmbedder:
    """An embedder that asks a cache first."""

    embedder: Embedder
    cache: EmbeddingCache | None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.embedder.name

    @property
    def sha256(self) -> str:
        """Of the model's weights."""
        return self.embedder.sha256

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the model sees."""
        return self.embedder.max_tokens

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return self.embedder.dimensions

    def token_spans(self, text: str) -> np.ndarray:
        """Return the character spans of the text's tokens, (T, 2)."""
        return self.embedder.token_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text, (N, D) float32."""
        from llmdrill.retrieval.embed import embed_texts

        if self.cache is None or len(texts) == 1:  # one text alone is timed: the cache must not answer
            return self.embedder.embed(texts)
        return embed_texts(texts, self.embedder, truncate=True, cache=self.cache).vectors


def classification_config(scenario: Scenario, design: Design) -> ClassificationConfig:
    """Return what to run: the design's thresholds, the scenario's prices and share of violations.

    Raises:
        UsageError: If no classifier of the design can run here.
    """
    from llmdrill.lab.classify_run import ClassificationConfig

    classifiers = stages_of(design, "classifier")
    if not classifiers:
        raise UsageError("the design has no classifier: what its language model would decide is unknown here")
    classifier = classifiers[0]
    if classifier.model != EMBEDDER_HERE:
        raise UsageError(f"the classifier '{classifier.model}' cannot run here (only {EMBEDDER_HERE} can): unknown")
    settings: dict[str, Any] = dict(scenario.evaluation.settings)
    target = {}
    if classifier.target_precision is not None:
        target = {"target": "precision", "at_least": classifier.target_precision}
    return ClassificationConfig(
        violation_share=scenario.workload.violation_share or 0.02,
        usd_per_false_positive=float(settings.get("usd_per_false_positive", 1.0)),
        usd_per_false_negative=float(settings.get("usd_per_false_negative", 1.0)),
        normalise=any(stage.normalise for stage in stages_of(design, "rules")),
        lower_threshold=classifier.lower_threshold,
        upper_threshold=classifier.upper_threshold,
        **target,
    )


def _messages(folder: Path) -> MessageSet:
    from llmdrill.retrieval.messages import load_messages

    return load_messages(folder / MESSAGES)


def classification_key(scenario: Scenario, folder: Path, design: Design, *, seed: int) -> str:
    """Return the key of the measurement of this design on these messages."""
    from llmdrill.lab.classify_run import classification_key as key_of

    config = classification_config(scenario, design)
    return key_of(_messages(folder), config, model_sha256=MINILM_SHA256, seed=seed)


def measure_moderation(
    scenario: Scenario,
    folder: Path,
    design: Design,
    *,
    embedder: Embedder | None,
    seed: int,
    cache: EmbeddingCache | None = None,
) -> Measurement:
    """Train the classifier, choose what the design left open, and score the third part of the messages.

    Raises:
        UsageError: If no classifier of the design can run here.
    """
    from llmdrill.lab.classify_run import measure_classification

    config = classification_config(scenario, design)
    if embedder is None:
        raise UsageError("a classifier needs the embedding model")
    measured = measure_classification(_messages(folder), CachedEmbedder(embedder, cache), config, seed=seed)
    notes = (*measured.notes, *((RULES_NOTE,) if stages_of(design, "rules") else ()))
    return replace(measured, notes=notes)
