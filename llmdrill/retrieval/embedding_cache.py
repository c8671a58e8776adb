"""Keep embeddings on disk: one SQLite file that several processes may use and that may be lost at any time."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FILE_NAME: Final = "embeddings-1.sqlite3"  # the number changes with the table's columns
CREATE: Final = "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, crc INTEGER, vector BLOB)"
KEYS_AT_ONCE: Final = 500  # SQLite's oldest limit on variables is 999
WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DiskEmbeddingCache:
    """Vectors in ``folder``, keyed by model and text.

    A cache never fails its user: a file that is corrupt is put aside and begun anew, a row whose checksum is wrong is
    absent, and where the disk is full, locked or read-only nothing is kept.
    """

    folder: Path

    def get_many(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors (D,) float32 of those keys that are stored whole."""
        found: dict[str, np.ndarray] = {}
        wanted = list(dict.fromkeys(keys))

        def read(connection: sqlite3.Connection) -> None:
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                some = wanted[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, crc, vector FROM vectors WHERE key IN ({marks})"  # noqa: S608 - only marks go in
                rows = connection.execute(query, some)
                found.update({key: np.frombuffer(raw, dtype="<f4") for key, crc, raw in rows if zlib.crc32(raw) == crc})

        self._try(read)
        return found

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Store vectors (D,) in one transaction."""
        packed = ((key, np.ascontiguousarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items())
        rows = [(key, zlib.crc32(raw), raw) for key, raw in packed]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

        self._try(write)

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> None:
        path = self.folder / FILE_NAME
        with suppress(OSError, sqlite3.OperationalError):  # locked, full, read-only: go on without a cache
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
                    connection.execute(CREATE)
                    work(connection)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                path.replace(path.with_name(f"{FILE_NAME}.corrupt"))
