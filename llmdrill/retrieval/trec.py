"""Read the files of TREC evaluations: judgements (qrels) and runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from llmdrill.errors import ContentError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Value = TypeVar("Value", int, float)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read ``query 0 document grade`` lines into query -> document -> grade."""
    return _read(path, "query 0 document grade", value_column=3, convert=int)


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read ``query Q0 document rank score name`` lines into query -> document -> score.

    The rank column is ignored, as by trec_eval, and so is what follows the run's name.
    """
    return _read(path, "query Q0 document rank score name", value_column=4, convert=_score)


def _read(path: Path, form: str, *, value_column: int, convert: Callable[[str], Value]) -> dict[str, dict[str, Value]]:
    rows: dict[str, dict[str, Value]] = {}
    mistakes = []
    for number, fields in _lines(path):
        try:
            query, document, value = fields[0], fields[2], convert(fields[value_column])
        except (IndexError, ValueError) as error:
            why = str(error) if isinstance(error, ValueError) else f"{len(fields)} columns"
            mistakes.append(Mistake(str(path), number, 1, "", f"expected '{form}': {why}"))
            continue
        if document in rows.setdefault(query, {}):
            mistakes.append(Mistake(str(path), number, 1, f"query {query}", f"document '{document}' stands here twice"))
        rows[query][document] = value
    if mistakes:
        raise ContentError(mistakes)
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError([Mistake(str(path), 1, 1, "", f"cannot be read: {error}")]) from error
    return ((number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _score(word: str) -> float:
    score = float(word)
    if math.isnan(score):
        raise ValueError("the score is NaN")
    return score
