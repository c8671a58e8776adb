"""BLEU and ROUGE through their reference libraries, which come with the extra ``text-metrics``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from llmdrill.errors import MissingExtraError
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXTRA: Final = "text-metrics"
BleuTokens = Literal["13a", "intl", "zh", "char", "none"]
RougeTokens = Literal["latin", "spaces"]
ROUGE_KINDS: Final[Mapping[str, str]] = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
_BLEU_SOURCE: Final = "Papineni et al. 2002, ACL P02-1040; Post 2018, ACL W18-6319 (sacrebleu)"
_ROUGE_SOURCE: Final = "Lin 2004, ACL W04-1013; rouge-score"


@dataclass(frozen=True, slots=True)
class Bleu:
    """A corpus-level BLEU and what it is made of.

    Attributes:
        score: 0 to 100.
        precisions: Modified 1- to 4-gram precisions, shares of one, smoothed where there is no match.
        matches: 1- to 4-grams of the candidates that a reference has, each at most as often as there.
        ngrams: 1- to 4-grams of the candidates.
        brevity_penalty: A share of one; below it the candidate is too short.
        candidate_tokens: Tokens of all candidates.
        reference_tokens: Tokens of the references nearest in length.
        sentences: BLEU of each segment by itself, over the n-grams it is long enough for.
        signature: How it was computed, to stand beside the figure.
    """

    score: float
    precisions: tuple[float, ...]
    matches: tuple[int, ...]
    ngrams: tuple[int, ...]
    brevity_penalty: float
    candidate_tokens: int
    reference_tokens: int
    sentences: tuple[float, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Precision, recall and F1 of one kind of ROUGE, shares of one."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Rouge:
    """ROUGE of every kind, averaged over segments.

    Attributes:
        means: Kind (``rouge_1``, ``rouge_2``, ``rouge_l``) to its mean.
        sentences: The same of each segment.
        untokenized: Segments where the candidate or every reference has no token at all.
        signature: How it was computed.
    """

    means: Mapping[str, Overlap]
    sentences: tuple[Mapping[str, Overlap], ...]
    untokenized: int
    signature: str


def bleu(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokens: BleuTokens = "13a",
    lowercase: bool = False,
) -> Bleu:
    """Return the corpus-level BLEU of candidates against one or more references each.

    Formula:
        100 * brevity_penalty * exp(mean of ln(precision_n), n = 1 … 4); brevity_penalty is 1 for candidates longer
        than their references, else exp(1 - reference_tokens / candidate_tokens).

    Args:
        candidates: One segment each.
        references: One sequence per set of references, each as long as candidates.
        tokens: sacrebleu's tokenizer; 13a is that of WMT.
        lowercase: Compare without case.

    Returns:
        The score and its parts.

    Raises:
        NumberError: If there is no candidate or reference, or a set has another length.
        MissingExtraError: Without the extra ``text-metrics``.

    Error:
        Exact for its signature. Scores of other tokenizers or smoothing cannot be compared; over single sentences it
        says little, and between 0 and 100 it is no share of anything.
    Source:
        Papineni et al. 2002, ACL P02-1040; Post 2018, ACL W18-6319. The example is that of sacrebleu 2.6.0's README.

    >>> first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    >>> second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    >>> found = bleu(["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."], [first, second])
    >>> round(found.score, 2), round(found.brevity_penalty, 3)
    (48.53, 0.943)
    """
    _require_segments(candidates, references)
    metric: Any = _library("sacrebleu.metrics.bleu", "BLEU").BLEU
    whole = metric(tokenize=tokens, lowercase=lowercase)
    score = whole.corpus_score(list(candidates), [list(one) for one in references])
    single = metric(tokenize=tokens, lowercase=lowercase, effective_order=True)
    sentences = [
        single.sentence_score(candidate, list(refs)).score
        for candidate, *refs in zip(candidates, *references, strict=True)
    ]
    return Bleu(
        score=score.score,
        precisions=tuple(one / 100 for one in score.precisions),
        matches=tuple(score.counts),
        ngrams=tuple(score.totals),
        brevity_penalty=float(score.bp),
        candidate_tokens=score.sys_len,
        reference_tokens=score.ref_len,
        sentences=tuple(sentences),
        signature=str(whole.get_signature()),
    )


def rouge(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokens: RougeTokens = "latin",
    stem: bool = False,
) -> Rouge:
    """Return ROUGE-1, ROUGE-2 and ROUGE-L of candidates against one or more references each.

    Formula:
        recall = matching n-grams / n-grams of the reference, precision = matching / those of the candidate,
        F1 = 2 * precision * recall / (precision + recall); ROUGE-L matches the longest common subsequence. Of several
        references the one with the best F1 counts; a corpus is the mean over its segments.

    Args:
        candidates: One segment each.
        references: One sequence per set of references, each as long as candidates.
        tokens: ``latin`` keeps lower-case a–z and digits, as ROUGE-1.5.5; ``spaces`` splits at white space.
        stem: Porter stems of words longer than three letters; ``latin`` only.

    Returns:
        Means and the scores of each segment.

    Raises:
        NumberError: If there is no candidate or reference, or a set has another length.
        MissingExtraError: Without the extra ``text-metrics``.

    Error:
        Exact for its signature. ``latin`` drops every other script: such a text scores 0. ROUGE-Lsum, which wants a
        sentence a line, is not computed.
    Source:
        Lin 2004, ACL W04-1013; google-research, rouge/rouge_scorer_test.py, for the example (copy of 2026-11-22).

    >>> found = rouge(["testing one"], [["testing one two"]]).means["rouge_2"]
    >>> found.precision, found.recall, round(found.f1, 6)
    (1.0, 0.5, 0.666667)
    """
    _require_segments(candidates, references)
    scorer_module = _library("rouge_score.rouge_scorer", "ROUGE")
    tokenizer = _Spaces() if tokens == "spaces" else None
    scorer = scorer_module.RougeScorer(list(ROUGE_KINDS.values()), use_stemmer=stem, tokenizer=tokenizer)
    sentences, untokenized = [], 0
    for candidate, *refs in zip(candidates, *references, strict=True):
        found = scorer.score_multi(refs, candidate)
        sentences.append({kind: _overlap(found[theirs]) for kind, theirs in ROUGE_KINDS.items()})
        read = scorer._tokenizer.tokenize  # noqa: SLF001 - the very one that scored
        untokenized += not read(candidate) or not any(read(one) for one in refs)
    means = {kind: _mean([one[kind] for one in sentences]) for kind in ROUGE_KINDS}
    return Rouge(means, tuple(sentences), untokenized, _rouge_signature(len(references), tokens, stem=stem))


class _Spaces:
    """A tokenizer in rouge-score's sense: words as white space parts them."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def _overlap(score: Any) -> Overlap:  # noqa: ANN401 - the library's own tuple
    return Overlap(float(score.precision), float(score.recall), float(score.fmeasure))


def _mean(scores: Sequence[Overlap]) -> Overlap:
    n = len(scores)
    return Overlap(
        precision=math.fsum(one.precision for one in scores) / n,
        recall=math.fsum(one.recall for one in scores) / n,
        f1=math.fsum(one.f1 for one in scores) / n,
    )


def _rouge_signature(references: int, tokens: str, *, stem: bool) -> str:
    """Return, as sacrebleu does, how a score was computed."""
    from importlib.metadata import version

    stemmed = "porter" if stem else "no"
    return f"nrefs:{references}|best:f1|tok:{tokens}|stem:{stemmed}|mean:segments|rouge-score:{version('rouge-score')}"


def _library(module: str, what: str) -> Any:  # noqa: ANN401 - a module without types
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(what, EXTRA) from error


def _require_segments(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not candidates or not references:
        raise NumberError("an overlap needs at least one candidate and one reference")
    for at, one in enumerate(references, start=1):
        if len(one) != len(candidates):
            what = f"{len(candidates):,} candidates and {len(one):,} references in set {at}"
            raise NumberError(f"every candidate needs its reference, got {what}")


def explain_bleu(found: Bleu) -> tuple[Explained, ...]:
    """Return the score, its brevity penalty and its precisions."""
    logs = " + ".join(f"ln {one:.4g}" for one in found.precisions)
    penalty = (
        f"exp(1 - {found.reference_tokens:,} / {found.candidate_tokens:,})"
        if 0 < found.candidate_tokens < found.reference_tokens
        else f"{found.candidate_tokens:,} tokens against {found.reference_tokens:,}"
    )
    return (
        Explained(
            name="bleu",
            value=found.score,
            unit="count",
            formula="100 × brevity_penalty × exp(mean of ln(precision_1 … precision_4))",
            filled=f"100 × {found.brevity_penalty:.4g} × exp(({logs}) / 4) = {found.score:.4g}",
            source=_BLEU_SOURCE,
        ),
        Explained(
            name="brevity_penalty",
            value=found.brevity_penalty,
            unit="share",
            formula="1, or exp(1 - reference_tokens / candidate_tokens) if the candidate is shorter",
            filled=f"{penalty} = {found.brevity_penalty:.4g}",
            source=_BLEU_SOURCE,
        ),
        *(
            Explained(
                name=f"precision_{n}",
                value=one,
                unit="share",
                formula=f"{n}-grams that a reference has, each at most as often, / {n}-grams of the candidates",
                filled=f"{matched} / {of}{'' if matched else ', smoothed'} = {one:.4g}",
                source=_BLEU_SOURCE,
            )
            for n, one, matched, of in zip((1, 2, 3, 4), found.precisions, found.matches, found.ngrams, strict=True)
        ),
    )


def explain_rouge(found: Rouge) -> tuple[Explained, ...]:
    """Return F1, precision and recall of every kind."""
    n = len(found.sentences)
    mean = f"mean over {n:,} segments of " if n > 1 else ""
    parts: list[Explained] = []
    for kind, one in found.means.items():
        matched = "longest common subsequence" if kind == "rouge_l" else f"matching {kind[-1]}-grams"
        filled = f"{mean}2 × precision × recall / (precision + recall)"
        if n == 1 and one.f1:
            p, r = figure(one.precision), figure(one.recall)
            filled = f"2 × {p} × {r} / ({p} + {r})"
        parts += [
            Explained(
                f"{kind}_f1",
                one.f1,
                "share",
                f"{mean}2 × precision × recall / (precision + recall)",
                f"{filled} = {figure(one.f1)}",
                _ROUGE_SOURCE,
            ),
            Explained(
                f"{kind}_precision",
                one.precision,
                "share",
                f"{mean}{matched} / those of the candidate",
                f"{figure(one.precision)}",
                _ROUGE_SOURCE,
            ),
            Explained(
                f"{kind}_recall",
                one.recall,
                "share",
                f"{mean}{matched} / those of the reference",
                f"{figure(one.recall)}",
                _ROUGE_SOURCE,
            ),
        ]
    return tuple(parts)
