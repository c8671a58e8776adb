"""YAML files into strict frozen models, every mistake with its place; and where shipped and user content lies."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import yaml

from llmdrill.errors import ContentError, Mistake, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

MAX_BYTES: Final = 4_000_000
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 50

Path_ = tuple[str | int, ...]
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_M = TypeVar("_M", bound="BaseModel")

# YAML 1.2 core schema: `no` is a string, `1e3` is a number, `012` is twelve. (PyYAML speaks 1.1 by default.)
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Located:
    """Plain data out of a YAML file, and where each part of it stands.

    Attributes:
        file: The name to show in messages.
        data: dicts, tuples, str, int, float, bool, None.
        places: Path of keys and indexes to (line, column), both from 1. The place of a value; of a key under ``KEY``.
        sha256: Of the text as UTF-8, without a byte-order mark.
    """

    file: str
    data: Any
    places: dict[Path_, tuple[int, int]]
    sha256: str

    def mistake(self, path: Sequence[str | int], what: str) -> Mistake:
        """Return a mistake at ``path``, or at the nearest enclosing place that is known."""
        known = tuple(path)
        while known and known not in self.places:
            known = known[:-1]
        line, column = self.places.get(known, (1, 1))
        return Mistake(self.file, line, column, dotted(path), what)


def dotted(path: Sequence[str | int]) -> str:
    """Return ``roles[2].options`` for ``("roles", 2, "options")``.

    >>> dotted(("roles", 2, "options"))
    'roles[2].options'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def load_yaml(path: Path) -> Located:
    """Read one YAML file under YAML 1.2's meaning.

    Raises:
        ContentError: If it is unreadable, not UTF-8, too large, malformed, or repeats a key.
    """
    return parse_yaml(_read_text(path), file=str(path))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # bounded, because a device or a pipe has no size to ask for
    except IsADirectoryError as error:
        raise ContentError([Mistake(str(path), 1, 1, "", "is a folder, not a file")]) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ContentError([Mistake(str(path), 1, 1, "", f"cannot be read: {why}")]) from error
    if len(raw) > MAX_BYTES:
        raise ContentError([_too_large(str(path))])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContentError([Mistake(str(path), line, 1, "", "is not UTF-8; save it as UTF-8")]) from error


def _too_large(file: str) -> Mistake:
    return Mistake(file, 1, 1, "", f"is larger than {MAX_BYTES // 1_000_000} MB")


def parse_yaml(text: str, *, file: str) -> Located:
    """Read YAML text; ``file`` is the name that messages show.

    Raises:
        ContentError: If it is too large, malformed, or repeats a key.
    """
    if len(text) > MAX_BYTES:
        raise ContentError([_too_large(file)])
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


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted YAML 1.2 scalar means.

    Raises:
        ValueError: If it is a number too large for a float.

    >>> plain_scalar("no"), plain_scalar("1e3"), plain_scalar("012"), plain_scalar("12:30")
    ('no', 1000.0, 12, '12:30')
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    return text


def validate(located: Located, model: type[_M]) -> _M:
    """Return the strict model of a file.

    Raises:
        ContentError: With every mistake at once, in the order of the file.
    """
    from pydantic import ValidationError

    from llmdrill.complaints import complaints

    try:
        return model.model_validate(located.data)
    except ValidationError as error:
        raise ContentError(complaints(located, model, error)) from error


# --- where content lies -------------------------------------------------------------------------------------------


def home_folder() -> Path:
    """Return the folder of the store and of the user's own content: ``LLMDRILL_HOME`` or the platform's."""
    override = os.environ.get("LLMDRILL_HOME")
    if override:
        return Path(os.path.expanduser(override))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    import platformdirs

    return Path(platformdirs.user_state_dir("llmdrill", appauthor=False))


def cache_folder() -> Path:
    """Return the folder of what can be computed again: embeddings, hashes, compiled code."""
    if os.environ.get("LLMDRILL_HOME"):
        return home_folder() / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("llmdrill", appauthor=False))


@functools.cache
def shipped_folder(kind: str) -> Path:
    """Return the folder of shipped ``scenarios`` or ``drills``: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    inside = package / "content_files" / kind
    return inside if inside.is_dir() else package.parent / kind


def content_files(kind: str) -> dict[str, Path]:
    """Return id → file of every scenario (or drill file): the user's own folder first, then the shipped ones."""
    found: dict[str, Path] = {}
    for folder in (home_folder() / kind, shipped_folder(kind)):
        if folder.is_dir():
            for path in sorted(folder.glob("*.yaml")):
                found.setdefault(path.stem, path)
    return found


def find_content(kind: str, name: str) -> Path:
    """Return the file a person means by ``name``: a path if it looks like one, else an id.

    Raises:
        UnknownNameError: If there is no such id; the nearest are named.
        ContentError: If a path was meant and there is no such file.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name:
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - as above
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name too long or a folder closed to us
            raise ContentError([Mistake(name, 1, 1, "", "there is no such file")])
        return path
    files = content_files(kind)
    if name not in files:
        raise UnknownNameError(kind.rstrip("s"), name, files)
    return files[name]
