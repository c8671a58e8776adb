"""The kinds of stage, one module each, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Field, Tag

from llmdrill.errors import UnknownNameError
from llmdrill.system.kinds.agent import Agent
from llmdrill.system.kinds.cache import Cache
from llmdrill.system.kinds.chunking import Chunking
from llmdrill.system.kinds.classifier import Classifier
from llmdrill.system.kinds.debounce import Debounce
from llmdrill.system.kinds.embedding import Embedding
from llmdrill.system.kinds.fusion import Fusion
from llmdrill.system.kinds.human_review import HumanReview
from llmdrill.system.kinds.index import Index
from llmdrill.system.kinds.judge import Judge
from llmdrill.system.kinds.keyword_search import KeywordSearch
from llmdrill.system.kinds.llm import Llm
from llmdrill.system.kinds.network import Network
from llmdrill.system.kinds.queue import Queue
from llmdrill.system.kinds.reranker import Reranker
from llmdrill.system.kinds.router import Router
from llmdrill.system.kinds.rules import Rules
from llmdrill.system.kinds.speak import Speak
from llmdrill.system.kinds.tool import Tool
from llmdrill.system.kinds.transcribe import Transcribe
from llmdrill.system.kinds.vector_search import VectorSearch

if TYPE_CHECKING:
    from llmdrill.system.kinds.base import StageBase

KINDS: Final[dict[str, type[StageBase]]] = {
    "llm": Llm,
    "embedding": Embedding,
    "vector_search": VectorSearch,
    "keyword_search": KeywordSearch,
    "fusion": Fusion,
    "reranker": Reranker,
    "classifier": Classifier,
    "rules": Rules,
    "cache": Cache,
    "debounce": Debounce,
    "router": Router,
    "judge": Judge,
    "tool": Tool,
    "agent": Agent,
    "transcribe": Transcribe,
    "speak": Speak,
    "network": Network,
    "queue": Queue,
    "human_review": HumanReview,
    "chunking": Chunking,
    "index": Index,
}


def find_kind(name: str) -> type[StageBase]:
    """Return the kind of that name.

    Raises:
        UnknownNameError: With the nearest names.

    >>> find_kind("rules").__name__
    'Rules'
    """
    if name not in KINDS:
        raise UnknownNameError("stage kind", name, KINDS)
    return KINDS[name]


def _known_kind(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds; pydantic judges the rest
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind is None:
        raise ValueError(f"a stage needs a kind, such as kind: {', '.join(KINDS)}")
    try:
        find_kind(str(kind))
    except UnknownNameError as error:
        raise ValueError(str(error)) from error
    return value


def _tag(value: Any) -> str:  # noqa: ANN401 - as above
    # In brackets, so that messages' places leave the tag out: it is no key of the file.
    return f"({value['kind'] if isinstance(value, dict) else value.kind})"


Stage = Annotated[
    Annotated[Llm, Tag("(llm)")]
    | Annotated[Embedding, Tag("(embedding)")]
    | Annotated[VectorSearch, Tag("(vector_search)")]
    | Annotated[KeywordSearch, Tag("(keyword_search)")]
    | Annotated[Fusion, Tag("(fusion)")]
    | Annotated[Reranker, Tag("(reranker)")]
    | Annotated[Classifier, Tag("(classifier)")]
    | Annotated[Rules, Tag("(rules)")]
    | Annotated[Cache, Tag("(cache)")]
    | Annotated[Debounce, Tag("(debounce)")]
    | Annotated[Router, Tag("(router)")]
    | Annotated[Judge, Tag("(judge)")]
    | Annotated[Tool, Tag("(tool)")]
    | Annotated[Agent, Tag("(agent)")]
    | Annotated[Transcribe, Tag("(transcribe)")]
    | Annotated[Speak, Tag("(speak)")]
    | Annotated[Network, Tag("(network)")]
    | Annotated[Queue, Tag("(queue)")]
    | Annotated[HumanReview, Tag("(human_review)")]
    | Annotated[Chunking, Tag("(chunking)")]
    | Annotated[Index, Tag("(index)")],
    Field(discriminator=Discriminator(_tag)),
    BeforeValidator(_known_kind),
]
