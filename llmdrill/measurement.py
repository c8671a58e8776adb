"""What a real run saw: figures with their spread, the machine, and the key that says what was run."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from llmdrill.errors import ContentError, Mistake
from llmdrill.files import read_bytes
from llmdrill.table import Table  # noqa: TC001 - pydantic reads the annotations
from llmdrill.units import six_digits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import TypeAdapter

SCHEMA: Final = "llmdrill/measurement@1"
RANDOM_WEIGHTS_NOTE: Final = "random weights: latency and memory only"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: A metric's identifier with its unit, such as ``recall_at_k`` or ``ttft_p95_ms``.
        value: The figure; None where it could not be measured.
        low: Lower end of the 95 % interval or of the spread over repeats, as ``note`` says.
        high: Upper end.
        n: How many questions, messages or repeats stand behind it.
        note: What a reader must know to read the figure rightly; empty if nothing.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a measurement was taken."""

    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    platform: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one lab run saw.

    Attributes:
        kind: ``retrieval``, ``decoding`` or ``classification``.
        key: Hash of everything the result depends on (see ``measurement_key``).
        figures: The measured quantities, each name once.
        tables: Curves and breakdowns for the report.
        machine: Where it ran.
        seed: Of everything drawn at random.
        repeats: How often timed work was repeated after the warm-up.
        seconds: Wall time of the whole run; not part of what must repeat exactly.
        notes: Sentences that belong beside the figures ("random weights: latency and memory only").
    """

    kind: str
    key: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    machine: Machine
    seed: int
    repeats: int
    seconds: float
    notes: tuple[str, ...] = ()

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False, "strict": True}  # of files read back

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name, or None if this run did not measure it."""
        return next((figure for figure in self.figures if figure.name == name), None)


def measurement_key(parts: Mapping[str, object]) -> str:
    """Return the sha256 of everything a measurement depends on: corpus, labels, model and parameters.

    >>> measurement_key({"k": 5, "model": "x"}) == measurement_key({"model": "x", "k": 5})
    True
    >>> measurement_key({"k": 5}) == measurement_key({"k": 6})
    False
    """
    canonical = json.dumps(dict(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


MAX_FILE_BYTES: Final = 20_000_000


def measurements_json(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return the measurement file's object; figures to six significant digits."""
    return {"schema": SCHEMA, "measurements": [_rounded(asdict(measurement)) for measurement in measurements]}


def _rounded(value: Any) -> Any:  # noqa: ANN401 - plain JSON data
    if isinstance(value, float):
        return value if value.is_integer() else six_digits(value)  # bytes and counts stay exact
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """Return the measurements of a file written by the walk or by ``llmdrill measure``.

    Raises:
        ContentError: If it is unreadable or no measurement file.
    """
    try:
        raw = read_bytes(path, most_bytes=MAX_FILE_BYTES)
    except ContentError as error:
        raise _not_measured(path, error.mistakes[0].what) from error
    if len(raw) > MAX_FILE_BYTES:
        raise _not_measured(path, f"is larger than {MAX_FILE_BYTES // 1_000_000} MB")
    try:
        data = json.loads(raw)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise _not_measured(path, f"is no measurement file (its schema is not {SCHEMA})")
        return tuple(measurement_from_json(item) for item in data["measurements"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_measured(path, f"is no measurement file ({_why(error)})") from error


def _why(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"
    return f"{type(error).__name__}: {str(error)[:80]}"


def _not_measured(path: Path, what: str) -> ContentError:
    return ContentError([Mistake(str(path), 1, 1, "", f"{what}; make one with `llmdrill measure DESIGN`")])


def measurement_from_json(item: Mapping[str, Any]) -> Measurement:
    """Return a measurement from its JSON object.

    Raises:
        ValueError: If a field is missing, unknown or of another type, a number is not finite, or a name comes twice.
    """
    measurement = _reader().validate_json(json.dumps(item))  # as JSON: a list is then the tuple we keep
    names = [figure.name for figure in measurement.figures]
    if len(set(names)) < len(names):
        raise ValueError("a figure's name comes twice")
    return measurement


@functools.cache
def _reader() -> TypeAdapter[Measurement]:
    from pydantic import TypeAdapter

    return TypeAdapter(Measurement)
