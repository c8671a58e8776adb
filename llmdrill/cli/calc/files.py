"""Read the files that calculators take: by path, or ``-`` for standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

from llmdrill.errors import ContentError, Mistake
from llmdrill.files import MAX_TEXT_BYTES, decoded, read_text

STDIN: Final = "standard input"


def text_of(file: str, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of the file a person names, or of standard input for ``-``.

    Raises:
        ContentError: If it cannot be read, is too large, or is not UTF-8.
    """
    if file != "-":
        return read_text(Path(file), most_bytes=most_bytes)
    raw = typer.get_binary_stream("stdin").read(most_bytes + 1)
    return decoded(raw, STDIN, most_bytes=most_bytes)


def name_of(file: str) -> str:
    """Return what messages call the file."""
    return STDIN if file == "-" else file


def json_value(text: str, name: str, *, line: int = 1) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value that ``text`` holds, which stands at ``line`` of the file ``name``.

    Raises:
        ContentError: If it holds none.
    """
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = Mistake(name, line + error.lineno - 1, error.colno, "", f"is not JSON: {error.msg}")
    except RecursionError:
        place = Mistake(name, line, 1, "", "is not JSON that can be read: nested too deeply")
    except ValueError:  # a whole number of thousands of digits
        place = Mistake(name, line, 1, "", "holds a number that is too large")
    raise ContentError([place])
