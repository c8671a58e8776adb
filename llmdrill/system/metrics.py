"""The metrics a requirement or a promise may name: what they mean, their unit, and who can know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from llmdrill.units import Dimension

Source = Literal["estimate", "measurement", "outside"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing a design can be held to.

    Attributes:
        name: Identifier with its unit.
        dimension: How its limit is written.
        better: Whether a lower or a higher value is better.
        source: ``estimate`` (closed form and draws), ``measurement`` (a run on this machine) or ``outside``
            (needs people, a judge model or production traffic: always unknown here).
        covers: What part of a system it judges: retrieval, generation, safety, operations.
        sentence: What it is, for a person.
    """

    name: str
    dimension: Dimension
    better: Literal["lower", "higher"]
    source: Source
    covers: Literal["retrieval", "generation", "safety", "operations"]
    sentence: str


_ALL: Final = (
    Metric(
        "ttft_p50_s", "seconds", "lower", "estimate", "operations", "median time until the first token can be shown"
    ),
    Metric("ttft_p95_s", "seconds", "lower", "estimate", "operations", "95th percentile of the time to first token"),
    Metric("total_p50_s", "seconds", "lower", "estimate", "operations", "median time until the answer is complete"),
    Metric(
        "total_p95_s", "seconds", "lower", "estimate", "operations", "95th percentile of the time to the whole answer"
    ),
    Metric(
        "total_p99_s", "seconds", "lower", "estimate", "operations", "99th percentile of the time to the whole answer"
    ),
    Metric("usd_per_request", "usd", "lower", "estimate", "operations", "expected cost of one request"),
    Metric("usd_per_month", "usd", "lower", "estimate", "operations", "expected cost of a month at the stated load"),
    Metric("memory_bytes", "bytes", "lower", "estimate", "operations", "accelerator and index memory of all replicas"),
    Metric("success_share", "share", "higher", "estimate", "operations", "share of requests that end with an answer"),
    Metric("human_share", "share", "lower", "estimate", "operations", "share of requests that reach a person"),
    Metric(
        "recall_at_k",
        "share",
        "higher",
        "measurement",
        "retrieval",
        "share of evidence spans found in the top k chunks",
    ),
    Metric(
        "document_recall_at_k",
        "share",
        "higher",
        "measurement",
        "retrieval",
        "share of relevant documents in the top k",
    ),
    Metric("mrr_at_k", "share", "higher", "measurement", "retrieval", "mean of one over the rank of the first hit"),
    Metric(
        "ndcg_at_k", "share", "higher", "measurement", "retrieval", "graded gain of the ranking against the ideal one"
    ),
    Metric(
        "false_answer_rate", "share", "lower", "measurement", "retrieval", "share of unanswerable questions not refused"
    ),
    Metric("unseen_text_share", "share", "lower", "measurement", "retrieval", "share of text the embedder never saw"),
    Metric(
        "measured_ttft_p95_s",
        "seconds",
        "lower",
        "measurement",
        "operations",
        "95th percentile of TTFT of the run here",
    ),
    Metric("measured_tpot_p50_s", "seconds", "lower", "measurement", "operations", "median time per output token here"),
    Metric("measured_total_p95_s", "seconds", "lower", "measurement", "operations", "95th percentile of the run here"),
    Metric("wasted_share", "share", "lower", "measurement", "operations", "share of started requests cancelled unseen"),
    Metric(
        "precision_macro", "share", "higher", "measurement", "safety", "mean over categories: flagged and rightly so"
    ),
    Metric(
        "recall_macro", "share", "higher", "measurement", "safety", "mean over categories: violations that are flagged"
    ),
    Metric("recall_any", "share", "higher", "measurement", "safety", "violating messages that are flagged at all"),
    Metric("false_positive_rate", "share", "lower", "measurement", "safety", "benign messages that are flagged"),
    Metric(
        "escalated_share",
        "share",
        "lower",
        "measurement",
        "operations",
        "messages the classifier passes on, at production's mix",
    ),
    Metric("faithfulness", "share", "higher", "outside", "generation", "share of claims the cited passages support"),
    Metric(
        "citation_precision",
        "share",
        "higher",
        "outside",
        "generation",
        "share of citations that support their sentence",
    ),
    Metric(
        "answer_correctness",
        "share",
        "higher",
        "outside",
        "generation",
        "share of answers people or a judge call right",
    ),
    Metric(
        "refusal_accuracy",
        "share",
        "higher",
        "outside",
        "generation",
        "share of unanswerable questions declined in words",
    ),
    Metric("acceptance_rate", "share", "higher", "outside", "generation", "share of shown completions that are kept"),
    Metric("exact_match", "share", "higher", "outside", "generation", "share of completions equal to what was written"),
    Metric("edit_similarity", "share", "higher", "outside", "generation", "one minus the normalised edit distance"),
    Metric("judge_agreement", "share", "higher", "outside", "generation", "Cohen's kappa of a judge with people"),
    Metric("reviewer_agreement", "share", "higher", "outside", "safety", "Cohen's kappa between two reviewers"),
    Metric(
        "appeal_overturn_rate", "share", "lower", "outside", "safety", "share of appealed removals that are taken back"
    ),
    Metric(
        "latency_slo_share", "share", "higher", "outside", "operations", "share of production requests within the SLO"
    ),
    Metric("resolution_rate", "share", "higher", "outside", "operations", "share of tickets closed without a person"),
)
METRICS: Final = {metric.name: metric for metric in _ALL}
