"""A small scenario with one of everything the walk can ask, and helpers to walk it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

from llmdrill.scale.prompts import Item, Prompt
from llmdrill.scale.walk import Event, Walk, answer, apply, next_item, seen
from llmdrill.system.scenario import Scenario, ScenarioFile, load_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _option(
    name: str, kind: str, *, ask: tuple[str, ...] = (), more: str | None = None, **settings: Any
) -> dict[str, Any]:
    extra = {"more_than_needed": more} if more else {}
    return {
        "id": name,
        "label": name,
        "kind": kind,
        "trade_off": "It costs.",
        "settings": settings,
        "ask": ask,
        **extra,
    }


def _fillers(kind: str, **settings: Any) -> tuple[dict[str, Any], ...]:
    return (_option("other", kind, **settings), _option("another", kind, **settings))


CASE: dict[str, Any] = {
    "schema": "llmdrill/scenario@1",
    "id": "case",
    "title": "A case",
    "minutes": 10,
    "brief": "People ask; we answer.",
    "topics": (
        {
            "id": "how-fast",
            "question": "How quickly must an answer be there?",
            "also": ("What latency is acceptable?",),
            "answer": "Four seconds.",
            "important": True,
            "reveals": ("total_p95",),
        },
        {
            "id": "money",
            "question": "What is the budget?",
            "answer": "Little.",
            "important": True,
            "reveals": ("money",),
        },
        {"id": "languages", "question": "Which languages do people write?", "answer": "English."},
    ),
    "workload": {
        "requests_per_month": "1M",
        "peak_factor": 4,
        "input_tokens": {"p50": 500, "p95": 500},
        "output_tokens": {"p50": 200, "p95": 200},
    },
    "requirements": (
        {"id": "total_p95", "metric": "total_p95_s", "at_most": "4s", "why": "People leave."},
        {"id": "money", "metric": "usd_per_month", "at_most": "$4k", "why": "Finance."},
        {"id": "recall", "metric": "recall_at_k", "at_least": "85%", "why": "Answers rest on it."},
    ),
    "roles": (
        {
            "id": "guard",
            "question": "What stands at the door?",
            "none": "Everything comes in: this is needed.",
            "needed": True,
            "options": (_option("rules", "rules", ask=("passes",), passes=1.0), *_fillers("rules")),
        },
        {
            "id": "search",
            "question": "How are passages found?",
            "none": "Nothing is looked up.",
            "options": (_option("keywords", "keyword_search", ask=("k",), k=5), *_fillers("keyword_search")),
        },
        {
            "id": "llm",
            "question": "Which model writes?",
            "none": "No answer.",
            "options": (
                _option("small", "llm", ask=("model", "timeout"), model="gpt-4o-mini", timeout="5s"),
                _option("large", "llm", more="A large model for small talk.", model="gpt-4o"),
                _option("own", "llm", ask=("on",), model="llama-3.1-8b", served="self", on="h100-sxm-80gb"),
            ),
        },
        {
            "id": "chunk",
            "question": "How are documents cut?",
            "none": "They are not.",
            "offline": True,
            "options": (
                _option("fixed", "chunking", ask=("size_tokens",), method="fixed", size_tokens=200),
                *_fillers("chunking", method="fixed", size_tokens=100),
            ),
        },
    ),
    "flow": {
        "rules": (
            {"rule": "needs", "stage": "llm", "why": "it answers."},
            {"rule": "before", "stage": "guard", "then": "llm", "why": "nothing unread goes to the model."},
            {"rule": "apart", "stage": "guard", "then": "search", "why": "they can run side by side."},
            {"rule": "offline", "stage": "chunk", "why": "documents do not change with a request."},
        ),
        "example": "request -> [guard, search] -> llm -> respond",
        "offline_example": "documents -> chunk",
    },
    "numbers": (
        {
            "id": "peak",
            "prompt": "Requests per second at the peak?",
            "dimension": "per_second",
            "computed": {"by": "peak_requests_per_s"},
            "expect": 1.522,
            "tolerance_ratio": 1.2,
            "hint": "Divide.",
        },
        {
            "id": "slow",
            "prompt": "Which stage takes most of the time?",
            "dimension": "stage",
            "computed": {"by": "design.bottleneck"},
            "hint": "Look.",
        },
    ),
    "evaluation": {
        "kind": "retrieval",
        "must_cover": ("retrieval", "generation"),
        "metrics": ("recall_at_k", "faithfulness", "mrr_at_k"),
    },
    "rubric": tuple(
        {
            "id": f"point-{step.lower()}",
            "step": step,
            "weight": weight,
            "text": f"The thing of step {step} is said.",
            "accept": (f"I say the thing of {step}.", f"Said: the thing of {step}."),
            "reject": (f"I leave out the thing of {step}.",),
        }
        for weight, step in enumerate("SCALE", start=1)
    ),
    "curveballs": ({"id": "twice", "prompt": "Traffic doubles.", "reference": "More of it."},),
    "hints": dict.fromkeys("SCALE", ("Think.", "Think again.")),
    "reference": {"design": "reference.design.yaml", "words": dict.fromkeys("SCALE", "Words.")},
}
GOOD = {
    "ask.1": "how-fast",
    "promise.total_p95": "4s",
    "role.guard": "rules",
    "role.llm": "small",
    "role.llm.why": "It is cheap.",
    "flow": "request -> guard -> llm -> respond",
    "number.peak": "1.5/s",
    "number.slow": "llm",
    "metrics": "recall_at_k >= 0.85",
    "self.point-s": "yes",
    "self.point-e": "no",
}


def case(**changes: Any) -> Scenario:
    """Return the case, some of its top keys changed."""
    return Scenario.model_validate({**copy.deepcopy(CASE), **changes})


def write_case(folder: Path) -> ScenarioFile:
    """Write the case as a file, with a reference design beside it, and return it as loaded."""
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(_lists(CASE), sort_keys=False), encoding="utf-8")
    file = load_scenario(str(path))
    designs = folder / "case" / "designs"
    designs.mkdir(parents=True)
    (designs / "reference.design.yaml").write_text(
        "schema: llmdrill/design@1\ntitle: Reference\n"
        f"scenario: {{id: case, sha256: {file.scenario.sha256}}}\n"
        "requirements: {total_p95: 4s, money: $4k, recall: 85%}\n"
        "stages:\n  guard: {kind: rules}\n  llm: {kind: llm, after: [guard], model: gpt-4o-mini}\n",
        encoding="utf-8",
    )
    return file


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def finish(scenario: Scenario, walk: Walk, texts: Mapping[str, str] | None = None, *, most: int = 600) -> Walk:
    """Return the walk taken to its end: ``texts`` by prompt id, else the default."""
    for _ in range(most):
        item = next_item(scenario, walk)
        if item is None:
            return walk
        walk = apply(walk, step(scenario, walk, item, (texts or {}).get(item.id, "")))
    raise AssertionError(f"the walk does not end: still at {item}")


def step(scenario: Scenario, walk: Walk, item: Item, text: str) -> Event:
    """Return the event that a typed text, or the showing of a show, leads to."""
    return answer(scenario, walk, item, text) if isinstance(item, Prompt) else seen(item)


def prompt_at(scenario: Scenario, name: str, texts: Mapping[str, str] | None = None) -> tuple[Walk, Prompt]:
    """Return the walk and the prompt of that id, everything before it answered by ``texts`` or defaults."""
    walk = Walk()
    while (item := next_item(scenario, walk)) is not None:
        if item.id == name:
            assert isinstance(item, Prompt)
            return walk, item
        walk = apply(walk, step(scenario, walk, item, (texts or {}).get(item.id, "")))
    raise AssertionError(f"no prompt {name}")
