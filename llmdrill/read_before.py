"""YAML files that were read before, kept as trees: to read one again takes neither yaml nor its time.

A tree is kept under the hash of the file's very text and of the program that reads it, with a hash of its own. One that
is absent, cut short or altered is no tree: the file is read as if for the first time. Where nothing can be kept,
nothing is. Trees lie in the cache folder, the newest few; they may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmdrill import __version__
from llmdrill.folders import cache_folder
from llmdrill.located import Located

if TYPE_CHECKING:
    from llmdrill.located import Path_

FORMAT: Final = "llmdrill/tree@1"
MOST_KEPT: Final = 64
MOST_PLACES: Final = 20_000  # a larger tree takes as long to read again as its YAML


def kept_tree(text: str, *, file: str) -> Located | None:
    """Return what a text meant when it was read before, under the name ``file``; None if it was not, or not kept."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    try:
        check, _, tree = _file(sha256).read_bytes().partition(b"\n")
        if check.decode() != hashlib.sha256(tree).hexdigest():
            return None
        places: dict[Path_, tuple[int, int]] = {}
        return Located(file, _data(json.loads(tree), (), places), places, sha256)
    except (OSError, ValueError):
        return None


def keep_tree(located: Located) -> None:
    """Keep a tree for the next time, if it is small enough and the cache folder lets us."""
    if len(located.places) > MOST_PLACES:
        return
    tree = json.dumps(_node(located.data, (), located.places), ensure_ascii=False, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):  # two processes write the same; the last one wins
        target = _file(located.sha256)
        part = target.with_suffix(f".{os.getpid()}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(tree).hexdigest().encode() + b"\n" + tree)
        part.replace(target)
        _forget_old(target.parent)


def _file(sha256: str) -> Path:
    name = hashlib.sha256(f"{_program()} {sha256}".encode()).hexdigest()
    return cache_folder() / "trees" / f"{name}.json"


@functools.cache
def _program() -> str:
    """Return what stands for the code that makes a tree; where it is edited, old trees are of another program."""
    sources = [
        Path(__file__).with_name(name).stat() for name in ("located.py", "scalar.py", "yaml_tree.py", "read_before.py")
    ]
    return " ".join([FORMAT, __version__, *(f"{source.st_size} {source.st_mtime_ns}" for source in sources)])


def _forget_old(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in kept[:-MOST_KEPT]:
        path.unlink(missing_ok=True)


def _node(data: Any, path: Path_, places: dict[Path_, tuple[int, int]]) -> list[Any]:  # noqa: ANN401 - plain YAML data
    """Return line, column and value of a part; the value of a mapping or a list holds such nodes in turn."""
    if isinstance(data, dict):
        value: Any = {key: _node(inner, (*path, key), places) for key, inner in data.items()}
    elif isinstance(data, tuple):
        value = [_node(inner, (*path, index), places) for index, inner in enumerate(data)]
    else:
        value = data
    return [*places[path], value]


def _data(node: list[Any], path: Path_, places: dict[Path_, tuple[int, int]]) -> Any:  # noqa: ANN401 - as above
    line, column, value = node
    places[path] = (line, column)
    if isinstance(value, dict):
        return {key: _data(inner, (*path, key), places) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_data(inner, (*path, index), places) for index, inner in enumerate(value))
    return value
