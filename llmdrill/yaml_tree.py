"""YAML text into plain data with the place of every part, bounded in size and depth."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, cast

import yaml

from llmdrill.errors import ContentError, Mistake
from llmdrill.located import MAX_BYTES, Located, dotted
from llmdrill.scalar import plain_scalar

if TYPE_CHECKING:
    from llmdrill.located import Path_

MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 50

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_tree(text: str, *, file: str) -> Located:
    """Read YAML text; ``file`` is the name that messages show.

    Raises:
        ContentError: If it is too large, malformed, or repeats a key.
    """
    if len(text) > MAX_BYTES:
        raise ContentError([Mistake(file, 1, 1, "", f"is larger than {MAX_BYTES // 1_000_000} MB")])
    try:
        raw = text.encode()
        node = _compose(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ContentError([_not_yaml(error, text, file)]) from error
    if node is None:
        raise ContentError([Mistake(file, 1, 1, "", "is empty")])
    builder = _Builder(file)
    data = builder.build(node, (), 0)
    if builder.mistakes:
        raise ContentError(builder.mistakes)
    return Located(file, data, builder.places, hashlib.sha256(raw).hexdigest())


class _Loader(_Base):  # type: ignore[misc] # the C loader, or the Python one where PyYAML was built without it
    """Compose nodes: bounded in depth, since the C loader recurses into a crash; untagged nodes keep no tag."""

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        del index
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            mark = parent.start_mark if parent else None
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels deep", problem_mark=mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, *_: object) -> str:
        return ""


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return cast("yaml.Node | None", loader.get_single_node())
    finally:
        loader.dispose()


def _not_yaml(error: Exception, text: str, file: str) -> Mistake:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces, not with a tab" if _at(text, line, column) == "\t" else ""
        return Mistake(file, line, column, "", f"is not YAML: {what}{hint}")
    position = getattr(error, "position", 0)  # of a character that YAML does not allow
    line = text.encode(errors="replace")[:position].count(b"\n") + 1
    return Mistake(file, line, 1, "", f"is not YAML: {str(error).splitlines()[0]}")


def _at(text: str, line: int, column: int) -> str:
    """Return the character at a place, or nothing past the end."""
    return "".join(text.split("\n")[line - 1 : line])[column - 1 : column]


class _Builder:
    """Turn composed nodes into plain data, remembering places, within bounds on size and depth."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Path_, tuple[int, int]] = {}
        self.mistakes: list[Mistake] = []
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path_, depth: int) -> Any:  # noqa: ANN401 - plain YAML data
        mark = node.start_mark
        self.places[path] = (mark.line + 1, mark.column + 1)
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            bound = f"{MAX_NODES:,} values" if self.nodes > MAX_NODES else f"{MAX_DEPTH} levels"
            raise ContentError([self._mistake(node, (), f"holds more than {bound} (aliases counted as written out)")])
        if node.tag:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.mistakes.append(self._mistake(node, path, f"the tag {tag} is not allowed; write it without"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            # A tuple, because strict frozen models hold tuples.
            return tuple(self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value))
        return self._scalar(cast("yaml.ScalarNode", node), path)

    def _mapping(self, node: yaml.MappingNode, path: Path_, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(self._mistake(key_node, path, "a key must be plain text"))
                continue
            key = str(key_node.value)
            if key in result:
                first = self.places[(*path, key)][0]
                what = f"this key stands twice (first on line {first}); keep one"
                self.mistakes.append(self._mistake(key_node, (*path, key), what))
                continue
            result[key] = self.build(value_node, (*path, key), depth + 1)
            mark = key_node.start_mark
            self.places[(*path, key)] = (mark.line + 1, mark.column + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path_) -> str | int | float | bool | None:
        if node.style:  # quoted, literal or folded: text; a plain scalar has none (None, or '' from libyaml)
            return str(node.value)
        try:
            value = plain_scalar(node.value)
        except ValueError:
            value = None
            self.mistakes.append(self._mistake(node, path, f"the number {node.value[:40]} is too large"))
        return value

    def _mistake(self, node: yaml.Node, path: Path_, what: str) -> Mistake:
        return Mistake(self.file, node.start_mark.line + 1, node.start_mark.column + 1, dotted(path), what)
