"""Read judgements (qrels) and runs: the columns of trec_eval, those of BEIR, or a JSON object."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from io import TextIOWrapper
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, TextIO, TypeVar

from llmdrill.errors import LONGEST_NAME, ContentError, Mistake
from llmdrill.files import open_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Value = TypeVar("Value", int, float)
MOST_MISTAKES: Final = 20  # a file of another kind has one in every line


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the id and its value stand in a line that begins with the query.

    Attributes:
        names: Of all columns, as a message tells them.
        most: Columns; None where any may follow.
        divider: None for any white space.
    """

    names: str
    item: int
    value: int
    most: int | None = None
    divider: str | None = None

    def split(self, line: str) -> list[str]:
        return line.rstrip("\n").split(self.divider)

    def fit(self, fields: list[str]) -> bool:
        return self.value < len(fields) <= (self.most or len(fields))


TREC_QRELS: Final = _Columns("query 0 document grade", 2, 3, most=4)
TREC_RUN: Final = _Columns("query Q0 document rank score name", 2, 4)
BEIR: Final = _Columns("query-id<TAB>corpus-id<TAB>score", 1, 2, most=3, divider="\t")
BEIR_HEADER: Final = ["query-id", "corpus-id", "score"]
JSON_FORM: Final = "{query: {document: number}}"
_JSON_KEY: Final = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s*:)')


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements into query -> document -> grade.

    Lines are ``query 0 document grade`` as of TREC, or ``query-id corpus-id score`` between tabs as of BEIR, with or
    without that header; or the file is one JSON object ``{query: {document: grade}}``.

    Raises:
        ContentError: With the line of each mistake: a grade that is no whole number, a document judged twice; or if
            the file is unreadable or empty.
    """
    return _read(path, TREC_QRELS, _grade)


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run into query -> document -> score.

    Lines are ``query Q0 document rank score name`` as of TREC (the rank is ignored, as by trec_eval, and so is what
    follows the name), or as of BEIR, or the file is a JSON object: see ``read_qrels``.

    Raises:
        ContentError: With the line of each mistake: a score that is NaN or no number, a document that a query has
            twice; or if the file is unreadable or empty.
    """
    return _read(path, TREC_RUN, _score)


def _read(path: Path, trec: _Columns, convert: Callable[[Any], Value]) -> dict[str, dict[str, Value]]:
    rows = _Rows(str(path), convert)
    try:
        with open_bytes(path) as file:
            _fill(rows, TextIOWrapper(file, encoding="utf-8-sig"), trec)
    except UnicodeDecodeError as error:
        raise ContentError([Mistake(str(path), 1, 1, "", "is not UTF-8; save it as UTF-8")]) from error
    if not rows.values and not rows.mistakes:
        rows.mistake(1, f"is empty: expected '{trec.names}'")
    if rows.mistakes:
        raise ContentError(rows.mistakes)
    return rows.values


class _Rows(Generic[Value]):
    """What has been read so far, and what is wrong with it."""

    def __init__(self, file: str, convert: Callable[[Any], Value]) -> None:
        self.file = file
        self.convert: Callable[[Any], Value] = convert
        self.values: dict[str, dict[str, Value]] = {}
        self.mistakes: list[Mistake] = []

    def add(self, query: str, item: str, value: object) -> str:
        """Take one value; return what is wrong with it, or nothing."""
        of_query = self.values.setdefault(query, {})
        if item in of_query:
            return f"query '{_cut(query)}' has the document '{_cut(item)}' twice"
        try:
            of_query[item] = self.convert(value)
        except ValueError as error:
            return f"query '{_cut(query)}', document '{_cut(item)}': {error}"
        return ""

    def mistake(self, line: int, what: str, column: int = 1) -> bool:
        """Note a mistake, and say whether there are enough of them."""
        self.mistakes.append(Mistake(self.file, line, column, "", what))
        return len(self.mistakes) >= MOST_MISTAKES


def _fill(rows: _Rows[Value], file: TextIO, trec: _Columns) -> None:
    """Read in whatever form the first line has."""
    number, first = next(((number, line) for number, line in enumerate(file, start=1) if line.strip()), (1, ""))
    if first.lstrip().startswith("{"):
        _fill_from_json(rows, "\n" * (number - 1) + first + file.read())
        return
    header = BEIR.split(first.lower()) == BEIR_HEADER
    columns = BEIR if header or len(BEIR.split(first)) == BEIR.most else trec
    begin = [] if header else [first]
    _fill_from_lines(rows, enumerate(chain(begin, file), start=number + header), columns)


def _fill_from_lines(rows: _Rows[Value], lines: Iterator[tuple[int, str]], columns: _Columns) -> None:
    for number, line in lines:
        if not line.strip():
            continue
        fields = columns.split(line)
        if columns.fit(fields):
            what = rows.add(fields[0], fields[columns.item], fields[columns.value])
        else:
            what = f"expected '{columns.names}': {len(fields)} column{'s' * (len(fields) != 1)}"
        if what and rows.mistake(number, what):
            return


class _Pairs(list[Any]):
    """A JSON object as its members: unlike a dict it still knows a key that comes twice."""


def _fill_from_json(rows: _Rows[Value], text: str) -> None:
    """Take ``{query: {document: value}}``."""
    try:
        found = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        what = f"is not JSON of the form {JSON_FORM}: {getattr(error, 'msg', error)}"
        rows.mistake(getattr(error, "lineno", 1), what, getattr(error, "colno", 1))
        return
    keys = _Keys(text)
    at = 0  # number of the key that comes next in the text
    for query, members in found:
        what = f"query '{_cut(query)}' stands here twice" if query in rows.values else ""
        if not isinstance(members, _Pairs):
            what = f"query '{_cut(query)}' holds no object: expected {JSON_FORM}"
        if what:
            rows.mistake(keys.line(at), what)
            return  # what follows may hold keys that were not counted
        rows.values[query] = {}
        for number, (item, value) in enumerate(members, start=at + 1):
            what = rows.add(query, item, value)
            if what and (rows.mistake(keys.line(number), what) or isinstance(value, list)):
                return
        at += 1 + len(members)


@dataclass(frozen=True)
class _Keys:
    """Where the keys of a JSON text stand; looked for only when one is asked for."""

    text: str

    @cached_property
    def _starts(self) -> list[int]:
        return [match.start() for match in _JSON_KEY.finditer(self.text)]

    def line(self, number: int) -> int:
        """Return the line of a key, counted from 0 in the order of the text."""
        return self.text.count("\n", 0, self._starts[number]) + 1


def _grade(value: object) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(f"the grade {value} is no whole number")
    return int(number)


def _score(value: object) -> float:
    number = _number(value)
    if math.isnan(number):
        raise ValueError("the score is NaN")
    return number


def _number(value: object) -> float:
    """Return the number that a column holds as text, or JSON as a number."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    shown = value if isinstance(value, str) else json.dumps(value)
    raise ValueError(f"{shown[:40]!r} is no number")


def _cut(name: str) -> str:
    """Return a name that fits into a message."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
