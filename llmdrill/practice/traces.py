"""What a debug drill shows: a question's way through a real pipeline with one planted fault, made and never typed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from llmdrill.content import load_yaml
from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.folders import shipped_folder
from llmdrill.retrieval.fault_texts import fault_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.practice.drill import DebugDrill
    from llmdrill.retrieval.trace import Trace

CORPUS: Final = "rag"


def trace_mistakes(drill: DebugDrill) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a planted trace: an unknown fault or question, or a layer that is not the fault's."""
    if drill.trace.fault is None or drill.trace.question is None:
        return
    questions = question_ids()
    if drill.trace.question not in questions:
        error = UnknownNameError(f"question of the corpus '{CORPUS}'", drill.trace.question, questions)
        yield ("trace", "question"), str(error)
    try:
        fault = fault_text(drill.trace.fault)
    except UnknownNameError as error:
        yield ("trace", "fault"), str(error)
        return
    if fault.layer != drill.layer:
        yield ("layer",), f"is {drill.layer}, but '{fault.id}' is a fault of {fault.layer}"


@functools.cache
def question_ids() -> frozenset[str]:
    """Return the ids of the questions of the shipped corpus; nothing else of it is read."""
    files = sorted((shipped_folder("scenarios") / CORPUS / "questions").glob("*.yaml"))
    return frozenset(str(entry["id"]) for path in files for entry in load_yaml(path).data)


def trace_lines(drill: DebugDrill, *, say: Callable[[str], None] = lambda _: None) -> tuple[str, ...]:
    """Return what there is to read: the trace, and the model's answer; both say where they come from.

    Args:
        drill: Of kind ``debug``.
        say: Told what is going on while a pipeline is built.

    Raises:
        UsageError: If the fault cannot be planted in the shipped corpus.
        MissingExtraError, ModelFileError: If the pipeline's embedder cannot be loaded.
    """
    answer = drill.model_answer
    if drill.trace.authored is not None:
        shown = ("Trace (authored: written by a person, no system ran):", *drill.trace.authored.splitlines())
    else:
        trace = _planted(str(drill.trace.fault), str(drill.trace.question), say)
        shown = tuple(_shown(trace))
        answer = answer or (trace.answer.text if trace.answer else None)
    if answer is None:
        return shown
    return (*shown, "", "The model's answer (authored: written by a person, no model ran):", *answer.splitlines())


@functools.cache
def _planted(fault: str, question: str, say: Callable[[str], None]) -> Trace:
    from llmdrill.experiments.faults import FaultOptions, sound_pipeline
    from llmdrill.experiments.retrieval_bench import load_bench
    from llmdrill.retrieval.trace import trace_pair

    pair = trace_pair(sound_pipeline(load_bench(CORPUS, say=say), FaultOptions()), fault, question=question)
    if pair is None:
        raise UsageError(f"the fault '{fault}' cannot be planted in the corpus '{CORPUS}'")
    return pair.faulty


def _shown(trace: Trace) -> Iterator[str]:
    """Yield a trace without what would give the fault away: its name, and where the evidence is."""
    yield f"Trace (a real run on the corpus '{CORPUS}')"
    yield f"Question: {trace.question}"
    yield "Design: " + ", ".join(f"{name} {value}" for name, value in trace.config)
    yield ""
    yield "Found:" if trace.hits else "Found: nothing"
    for hit in trace.hits:
        yield f"  {hit.rank}. {hit.chunk} ({hit.score:g}) {hit.excerpt}"
    for chunk in trace.dropped:
        yield f"  left out of the prompt, beyond its budget: {chunk}"
    yield ""
    yield f"Prompt ({trace.context_tokens} tokens of passages):"
    yield from (f"  | {line}" for line in trace.prompt.splitlines())
    yield ""
    yield "Where the links of citations lead:" if trace.citations else "There is nothing to cite."
    for cited in trace.citations:
        same = "the passage in the prompt" if cited.same_text else "another text than the passage in the prompt"
        yield f"  [{cited.number}] shown as {cited.document}, leads to {cited.target or 'nothing'}: {same}"
