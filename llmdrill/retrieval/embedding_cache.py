"""Keep embeddings on disk: one SQLite file that several processes may use and that may be lost at any time."""

from __future__ import annotations

import math
import os
import sqlite3
import zlib
from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FILE_NAME: Final = "embeddings-2.sqlite3"  # the number changes with the tables' columns
FILES: Final = "embeddings-*.sqlite3*"  # of any number, with their journals and what was found corrupt
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    # `number` grows with every vector that is put in: the lowest is the oldest.
    """CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER, text TEXT,
    crc INTEGER, vector BLOB, UNIQUE (model, text))""",
    "CREATE TABLE IF NOT EXISTS seconds (key TEXT PRIMARY KEY, seconds REAL)",
)
SELECT: Final = (
    "SELECT text, crc, vector FROM vectors WHERE model = (SELECT id FROM models WHERE name = ?) AND text IN ({})"
)
KEYS_AT_ONCE: Final = 500  # SQLite's oldest limit on variables is 999
WAIT_S: Final = 30.0
MOST_BYTES: Final = 2 << 30  # about 1.2 million vectors of 384 values
LIMIT_VARIABLE: Final = "LLMDRILL_CACHE_LIMIT"  # such as "500 MB"
KEPT_SHARE: Final = 0.9  # of the limit, once it was reached: or every further vector would evict one


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What the cache holds of one model, as keys name it: ``sha256/precision/pooling``."""

    model: str
    vectors: int
    vector_bytes: int


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What the cache holds.

    Attributes:
        file_bytes: Of all its files on disk.
        limit_bytes: Beyond it the oldest vectors go.
        models: By number of vectors, most first.
    """

    folder: Path
    file_bytes: int
    limit_bytes: int
    models: tuple[ModelUsage, ...]


def cache_limit_bytes() -> int:
    """Return how large the cache may grow: ``LLMDRILL_CACHE_LIMIT``, or 2 GiB.

    Raises:
        UsageError: If the variable is no number of bytes.
    """
    stated = os.environ.get(LIMIT_VARIABLE)
    try:
        return int(parse_quantity(stated, "bytes")) if stated else MOST_BYTES
    except UsageError as error:
        raise UsageError(f"{LIMIT_VARIABLE}: {error}") from error


@dataclass(frozen=True, slots=True)
class DiskEmbeddingCache:
    """Vectors in ``folder``, keyed by model and text: ``<model>/<text>``, the last slash parts them.

    A cache never fails its user: a file that is corrupt is put aside and begun anew, a row whose checksum is wrong is
    absent, and where the disk is full, locked or read-only nothing is kept.
    """

    folder: Path
    limit_bytes: int = field(default_factory=cache_limit_bytes)

    def get_many(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors (D,) float32 of those keys that are stored whole."""
        found: dict[str, np.ndarray] = {}

        def read(connection: sqlite3.Connection) -> None:
            for model, texts in _by_model(keys).items():
                for start in range(0, len(texts), KEYS_AT_ONCE):
                    some = texts[start : start + KEYS_AT_ONCE]
                    for text, crc, raw in connection.execute(SELECT.format(_marks(some)), [model, *some]):
                        if zlib.crc32(raw) == crc:
                            found[f"{model}/{text}" if model else text] = np.frombuffer(raw, dtype="<f4")

        self._try(read)
        return found

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Store vectors (D,) in one transaction; beyond the limit the oldest go."""
        packed = ((key, np.ascontiguousarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items())
        rows = [(*_parts(key), zlib.crc32(raw), raw) for key, raw in packed]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                models = [(model,) for model in {row[0] for row in rows}]
                connection.executemany("INSERT OR IGNORE INTO models (name) VALUES (?)", models)
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (model, text, crc, vector)"
                    " VALUES ((SELECT id FROM models WHERE name = ?), ?, ?, ?)",
                    rows,
                )
                _evict(connection, self.limit_bytes)

        self._try(write)

    def get_seconds(self, keys: Sequence[str]) -> dict[str, float]:
        """Return how long each key's work took when it was timed, for those that were."""
        found: dict[str, float] = {}

        def read(connection: sqlite3.Connection) -> None:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                query = f"SELECT key, seconds FROM seconds WHERE key IN ({_marks(some)})"  # noqa: S608 - marks only
                found.update(connection.execute(query, some))

        self._try(read)
        return found

    def put_seconds(self, seconds: Mapping[str, float]) -> None:
        """Keep how long each key's work took."""

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO seconds VALUES (?, ?)", seconds.items())

        self._try(write)

    def usage(self) -> CacheUsage:
        """Return what the cache holds."""
        models: list[ModelUsage] = []

        def read(connection: sqlite3.Connection) -> None:
            query = (
                "SELECT name, COUNT(*), SUM(length(vector)) FROM vectors JOIN models ON models.id = vectors.model"
                " GROUP BY name ORDER BY 2 DESC, 1"
            )
            models.extend(ModelUsage(*row) for row in connection.execute(query))

        if (self.folder / FILE_NAME).exists():
            self._try(read)
        return CacheUsage(self.folder, sum(size for _, size in self._files()), self.limit_bytes, tuple(models))

    def clear(self) -> int:
        """Delete the cache's files; return the bytes they had.

        Raises:
            OSError: If one cannot be deleted.
        """
        freed = 0
        for path, size in self._files():
            path.unlink(missing_ok=True)
            freed += size
        return freed

    def _files(self) -> list[tuple[Path, int]]:
        return [(path, path.stat().st_size) for path in sorted(self.folder.glob(FILES)) if path.is_file()]

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> None:
        path = self.folder / FILE_NAME
        with suppress(OSError, sqlite3.OperationalError):  # locked, full, read-only: go on without a cache
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
                    for table in TABLES:
                        connection.execute(table)
                    work(connection)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                path.replace(path.with_name(f"{FILE_NAME}.corrupt"))


def _evict(connection: sqlite3.Connection, limit_bytes: int) -> None:
    """Delete the oldest vectors, if all of them take more than the limit."""
    page_bytes, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    used_bytes = page_bytes * (pages - free)
    if used_bytes <= limit_bytes:
        return
    held = connection.execute("SELECT COUNT(*) FROM vectors").fetchone()[0]
    surplus = math.ceil(held * (1 - KEPT_SHARE * limit_bytes / used_bytes))
    connection.execute(
        "DELETE FROM vectors WHERE number IN (SELECT number FROM vectors ORDER BY number LIMIT ?)", [surplus]
    )


def _parts(key: str) -> tuple[str, str]:
    model, _, text = key.rpartition("/")
    return model, text


def _by_model(keys: Sequence[str]) -> dict[str, list[str]]:
    texts: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for key in keys:
        model, text = _parts(key)
        texts[model][text] = None
    return {model: list(those) for model, those in texts.items()}


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
