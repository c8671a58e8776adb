"""YAML files into strict frozen models, every mistake with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from llmdrill.errors import ContentError
from llmdrill.files import decoded, read_bytes
from llmdrill.located import MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from llmdrill.located import Located

_M = TypeVar("_M", bound="BaseModel")


def load_yaml(path: Path) -> Located:
    """Read one YAML file under YAML 1.2's meaning.

    Raises:
        ContentError: If it is unreadable, not UTF-8, too large, malformed, or repeats a key.
    """
    from llmdrill.read_before import keep_tree, kept_tree

    text, file = _read_text(path), str(path)
    located = kept_tree(text, file=file)
    if located is None:
        located = parse_yaml(text, file=file)
        keep_tree(located)
    return located


def _read_text(path: Path) -> str:
    return decoded(read_bytes(path, most_bytes=MAX_BYTES), str(path), most_bytes=MAX_BYTES)


def parse_yaml(text: str, *, file: str) -> Located:
    """Read YAML text; ``file`` is the name that messages show.

    Raises:
        ContentError: If it is too large, malformed, or repeats a key.
    """
    from llmdrill.yaml_tree import read_tree  # and with it yaml, which a file that was read before does without

    return read_tree(text, file=file)


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
