"""Read answer lengths from a trace of requests: CSV or JSONL, also gzipped."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmdrill.cli.calc.files import json_value, name_of, text_of
from llmdrill.errors import ContentError, Mistake
from llmdrill.files import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_TRACE_BYTES: Final = 200_000_000
# Azure's public traces, Mooncake's, vidur's; then what people write themselves.
COLUMNS: Final = ("GeneratedTokens", "output_length", "num_decode_tokens", "output_tokens", "output_len", "tokens")


def output_tokens(file: str, column: str | None = None) -> tuple[float, ...]:
    """Return the output tokens of every request of a trace that has any, in its order.

    Args:
        file: Path of a .csv or .jsonl file, also .gz, or ``-``.
        column: Its name in the file; default the first of COLUMNS that is there.

    Raises:
        ContentError: If the file cannot be read, has no such column, a row holds no number, or no row has an answer.
    """
    name = name_of(file)
    found: list[float] = []
    for line, row in _rows(_text(file), name):
        if None in row:  # where csv puts what stands behind the last column, such as the 000 of 1,000
            raise _mistake(name, line, "has more cells than the header; write numbers without commas")
        key = column or next((one for one in COLUMNS if one in row), None)
        if key is None or key not in row:
            wanted = f"no column '{column}'" if column else f"none of the columns {', '.join(COLUMNS)}"
            raise _mistake(name, line, f"has {wanted}; name one with --column")
        found.append(_number(row[key], name, line, key))
    answers = tuple(one for one in found if one > 0)
    if not answers:
        raise _mistake(name, 1, "holds no request with output tokens")
    return answers


def _rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str | None, Any]]]:
    """Yield rows with their line: JSON objects where the first line is one, else CSV."""
    lines = text.splitlines()
    if not text.lstrip().startswith(("{", "[")):
        try:
            yield from enumerate(csv.DictReader(lines), start=2)
        except csv.Error as error:
            raise _mistake(name, 1, f"is no CSV that can be read: {error}") from error
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = json_value(line, name, line=number)
            if not isinstance(row, dict):
                raise _mistake(name, number, "is no JSON object; a trace is one object per line")
            yield number, row


def _number(cell: object, name: str, line: int, key: str) -> float:
    try:
        value = float(cell) if isinstance(cell, str | int | float) else float("nan")
    except (ValueError, OverflowError):
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise _mistake(name, line, f"{key} is no count of tokens: {str(cell)[:40]}")
    return value


def _text(file: str) -> str:
    if not file.endswith(".gz"):
        return text_of(file, most_bytes=MAX_TRACE_BYTES)
    import gzip
    import zlib

    try:
        with gzip.open(Path(file)) as stream:
            raw = stream.read(MAX_TRACE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "is no whole gzip file"
        raise _mistake(file, 1, f"cannot be read: {why}") from error
    return decoded(raw, file, most_bytes=MAX_TRACE_BYTES)


def _mistake(name: str, line: int, what: str) -> ContentError:
    return ContentError([Mistake(name, line, 1, "", what)])
