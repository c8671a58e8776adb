"""The kinds of stage, one module each, by name. A kind's module is imported when a stage of that kind is met."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, Union

from llmdrill.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from llmdrill.system.kinds.base import StageBase

# In the order that pages show; each is the class in CamelCase of the module of its name.
_NAMES: Final = (
    "llm",
    "embedding",
    "vector_search",
    "keyword_search",
    "fusion",
    "reranker",
    "classifier",
    "rules",
    "cache",
    "debounce",
    "router",
    "judge",
    "tool",
    "agent",
    "transcribe",
    "speak",
    "network",
    "queue",
    "human_review",
    "chunking",
    "index",
)


class _Kinds(Mapping[str, "type[StageBase]"]):
    """Name → kind, imported when asked for."""

    def __getitem__(self, name: str) -> type[StageBase]:
        if name not in _NAMES:
            raise KeyError(name)
        found: type[StageBase] = getattr(import_module(f"{__name__}.{name}"), name.title().replace("_", ""))
        return found

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


KINDS: Final = _Kinds()


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


def _of_kind(name: str, value: Any) -> StageBase:  # noqa: ANN401 - as above
    return KINDS[name].model_validate(value)


class OneKind:
    """Judges a stage by its own kind. To build the judges of all kinds first takes longer than a whole estimate."""

    @staticmethod
    def member(tag: str) -> type[StageBase]:
        """Return the kind that a tag stands for."""
        return find_kind(tag.strip("()"))

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        del source, handler
        each: dict[Any, Mapping[str, Any]] = {
            f"({name})": core_schema.no_info_plain_validator_function(partial(_of_kind, name)) for name in KINDS
        }
        union = core_schema.tagged_union_schema(each, discriminator=_tag)
        return core_schema.no_info_before_validator_function(_known_kind, union)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        from pydantic import TypeAdapter

        del schema
        every: Any = Union[tuple(KINDS.values())]  # noqa: UP007 - made from a list
        return {"oneOf": handler(TypeAdapter(every).core_schema)["anyOf"]}


if TYPE_CHECKING:
    Stage = StageBase
else:
    Stage = Annotated[Any, OneKind()]
