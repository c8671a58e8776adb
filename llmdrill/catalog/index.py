"""The catalogue's fast door: each YAML file as JSON beside it, so that a look-up needs neither yaml nor pydantic.

People edit the YAML; ``docs/generate.py`` writes the index, and a test keeps it fresh. An index counts only while it
carries the hash of the YAML's very bytes: of an edited file the YAML is read, never an old index. Of what is looked up
only the records asked for are built.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Protocol

    class Named(Protocol):
        """What every record of the catalogue has."""

        @property
        def name(self) -> str: ...
        @property
        def aliases(self) -> tuple[str, ...]: ...
        @property
        def date(self) -> dt.date | None: ...


FORMAT: Final = "llmdrill/catalogue-index@1"
FOLDER: Final = "_index"
_SEPARATOR: Final = re.compile(r"/|:(?!\d+$)")  # between provider and model; `v1:0` ends with a version


_T = TypeVar("_T", bound="Named")


@dataclasses.dataclass(frozen=True, slots=True)
class Table(Generic[_T]):
    """The records of one file: how many, when they were read, what they are called, and how to build one.

    Attributes:
        size: How many there are; each is known by its place in the file.
        newest: The newest of their dates.
        places: Canonical name or alias → places.
        known: Names and aliases as the file writes them.
        record: Builds the record of a place.
    """

    size: int
    newest: dt.date | None
    places: Mapping[str, Sequence[int]]
    known: Sequence[str]
    record: Callable[[int], _T]

    def records(self) -> tuple[_T, ...]:
        """Return every record, in the order of the file."""
        return tuple(self.record(place) for place in range(self.size))

    def matching(self, name: str) -> tuple[_T, ...]:
        """Return the records called ``name``; case, ``_`` and a leading organisation do not matter."""
        return tuple(self.record(place) for place in self.places.get(canonical(name), ()))


def canonical(name: str) -> str:
    """Return what all ways of writing a name have in common.

    >>> canonical("meta-llama/Llama_3.1 8B")
    'llama-3.1-8b'
    """
    return re.sub(r"[_\s]+", "-", _SEPARATOR.split(name.strip())[-1].lower())


def named_provider(name: str) -> str:
    """Return who sells the model, as ``provider/model`` or ``provider:model`` says; empty if the name does not say.

    >>> named_provider("azure/gpt-4o"), named_provider("x-ai:grok-4"), named_provider("amazon.nova-lite-v1:0")
    ('azure', 'xai', '')
    """
    parts = _SEPARATOR.split(name.strip().lower())
    return parts[-2].replace("-", "") if len(parts) > 1 else ""


def open_table(path: Path, kind: type[_T], read: Callable[[Path, type[_T]], tuple[_T, ...]]) -> Table[_T]:
    """Return the table of a catalogue file: of its index if that is fresh, else of the YAML.

    Raises:
        ContentError: If there is no fresh index and the YAML is malformed.
    """
    return _from_index(path, kind) or _table_of(read(path, kind))


def _table_of(records: tuple[_T, ...]) -> Table[_T]:
    dates = [record.date for record in records if record.date is not None]
    known = tuple(dict.fromkeys(name for record in records for name in (record.name, *record.aliases)))
    places: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        for name in dict.fromkeys(map(canonical, (record.name, *record.aliases))):
            places.setdefault(name, []).append(place)
    return Table(len(records), max(dates, default=None), places, known, records.__getitem__)


def _from_index(path: Path, kind: type[_T]) -> Table[_T] | None:
    """Return the table of the index beside ``path``; None if it is absent, of another YAML or of other fields."""
    try:
        index = json.loads(index_file(path).read_bytes())
        if index["format"] != FORMAT or index["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
            return None
        fields, rows, size = index["fields"], index["records"], len(index["records"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if fields != [field.name for field in dataclasses.fields(kind)]:  # type: ignore[arg-type] # a dataclass
        return None
    from llmdrill.catalog.reader import plain_record

    return Table(
        size=size,
        newest=dt.date.fromisoformat(index["newest"]) if index["newest"] else None,
        places=index["places"],
        known=index["known"],
        record=functools.cache(lambda place: plain_record(kind, dict(zip(fields, rows[place], strict=True)))),
    )


def index_file(path: Path) -> Path:
    """Return where the index of a catalogue file lies."""
    return path.parent / FOLDER / f"{path.stem}.json"


def fresh_indexes() -> dict[Path, str]:
    """Return every index file and what it should hold, read from the YAML."""
    from llmdrill.catalog.load import catalogue_files, read_file

    return {index_file(path): index_text(path, read_file(path, kind)) for path, kind in catalogue_files().items()}


def index_text(path: Path, records: tuple[Any, ...]) -> str:
    """Return the index of a catalogue file: one line a record."""
    table = _table_of(records)
    fields = [field.name for field in dataclasses.fields(records[0])]
    head = {
        "format": FORMAT,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "newest": table.newest.isoformat() if table.newest else None,
        "fields": fields,
        "known": table.known,
        "places": table.places,
    }
    rows = ",\n".join(_compact([_plain(getattr(record, name)) for name in fields]) for record in records)
    return f'{_compact(head)[:-1]},"records":[\n{rows}\n]}}\n'


def _compact(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a record holds
    """Return a record's value as JSON holds it."""
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
