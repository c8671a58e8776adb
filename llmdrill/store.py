"""One SQLite file: sessions, their events, measurements, and what was agreed to.

Every event is committed before anything is made of it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from llmdrill.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

FILE_NAME: Final = "llmdrill.sqlite3"
WAIT_S: Final = 10.0  # for another process to finish writing
_MIGRATIONS: Final = (
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        subject_sha256 TEXT NOT NULL,
        options TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        finished_at TEXT
    );
    CREATE TABLE events (
        session_id INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        kind TEXT NOT NULL,
        item TEXT NOT NULL,
        text TEXT NOT NULL,
        seconds REAL NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (session_id, sequence)
    );
    CREATE TABLE measurements (key TEXT PRIMARY KEY, document TEXT NOT NULL, created_at TEXT NOT NULL);
    CREATE TABLE results (
        session_id INTEGER PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
        document TEXT NOT NULL
    );
    """,
    "CREATE TABLE agreements (subject TEXT PRIMARY KEY, agreed_at TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Session:
    """A walk (later: a practice session) that can be continued.

    Attributes:
        id: Number shown to the person.
        kind: ``design``.
        subject: What it is about: the scenario's id, or the path of its file.
        subject_sha256: Hash of the file when the session began.
        options: How it was started: minutes, output folder.
        created_at: ISO 8601, UTC.
        updated_at: ISO 8601, UTC.
        finished_at: ISO 8601, UTC; None while open.
    """

    id: int
    kind: str
    subject: str
    subject_sha256: str
    options: Mapping[str, str]
    created_at: str
    updated_at: str
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a session as it lies in the store."""

    kind: str
    item: str
    text: str
    seconds: float


class Store:
    """The store, open; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot("open the store", error, "set LLMDRILL_HOME to a folder you own") from error
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _cannot(self, do: str, error: Exception, remedy: str) -> StoreError:
        return StoreError(f"{self.path}: cannot {do}: {error}; {remedy}")

    def _set_up(self) -> None:
        try:
            self._use_wal()
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.OperationalError as error:
            raise self._cannot("open the store", error, "set LLMDRILL_HOME to a folder you own") from error
        except sqlite3.DatabaseError as error:
            raise self._cannot("open the store", error, "move the file away and llmdrill makes a new one") from error

    def _use_wal(self) -> None:
        """Change to write-ahead logging; the change does not wait for a lock as other statements do, so we wait."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    @contextmanager
    def _working(self, do: str) -> Iterator[sqlite3.Connection]:
        """Turn what SQLite refuses into one clear line."""
        try:
            yield self._connection
        except sqlite3.Error as error:
            remedy = "free some space, or set LLMDRILL_HOME to a folder you own"
            if "locked" in str(error):
                remedy = "another llmdrill is writing to it"
            raise self._cannot(do, error, f"{remedy}; then `llmdrill resume`") from error

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(_MIGRATIONS):
            raise StoreError(f"{self.path}: written by a newer llmdrill (format {version}); upgrade llmdrill")
        if version == len(_MIGRATIONS):
            return
        with self._transaction() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])  # again, now that we hold the lock
            for number in range(version, len(_MIGRATIONS)):
                for statement in filter(str.strip, _MIGRATIONS[number].split(";")):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite has already rolled back where the disk was full
                self._connection.execute("ROLLBACK")

    # --- sessions -------------------------------------------------------------------------------------------------

    def start_session(
        self, *, kind: str, subject: str, subject_sha256: str, options: Mapping[str, str], now: str
    ) -> Session:
        """Record a new session and return it."""
        with self._working("save") as connection:
            cursor = connection.execute(
                "INSERT INTO sessions (kind, subject, subject_sha256, options, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (kind, _text(subject), subject_sha256, json.dumps(dict(options)), now, now),
            )
        return self.session(int(cursor.lastrowid or 0))

    def session(self, session_id: int) -> Session:
        """Return the session of that number.

        Raises:
            StoreError: If there is none.
        """
        with self._working("read") as connection:
            row = connection.execute(f"{_SELECT} WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            raise StoreError(f"there is no session {session_id}; `llmdrill resume --list` shows the open ones")
        return _session(row)

    def open_sessions(self, kind: str | None = None) -> tuple[Session, ...]:
        """Return the unfinished sessions, the latest first."""
        with self._working("read") as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE finished_at IS NULL AND (?1 IS NULL OR kind = ?1) ORDER BY updated_at DESC, id DESC",
                (kind,),
            ).fetchall()
        return tuple(_session(row) for row in rows)

    def finish_session(self, session_id: int, *, document: str, now: str) -> None:
        """Record a session's result and close it."""
        with self._working("save"), self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (session_id, document))
            connection.execute(
                "UPDATE sessions SET finished_at = ?, updated_at = ? WHERE id = ?", (now, now, session_id)
            )

    # --- events ---------------------------------------------------------------------------------------------------

    def append_event(self, session_id: int, sequence: int, event: StoredEvent, *, now: str) -> None:
        """Commit one event; ``sequence`` counts from 0.

        Raises:
            StoreError: If another process has continued this session meanwhile.
        """
        row = (session_id, sequence, event.kind, event.item, _text(event.text), event.seconds, now)
        with self._working("save"):
            try:
                with self._transaction() as connection:
                    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                    connection.execute("UPDATE sessions SET updated_at = ? WHERE id = ?", (now, session_id))
            except sqlite3.IntegrityError as error:
                raise StoreError(
                    f"session {session_id} was continued in another terminal; finish it there,"
                    f" or run `llmdrill resume {session_id}`"
                ) from error

    def events(self, session_id: int) -> tuple[StoredEvent, ...]:
        """Return a session's events in order."""
        with self._working("read") as connection:
            rows = connection.execute(
                "SELECT kind, item, text, seconds FROM events WHERE session_id = ? ORDER BY sequence", (session_id,)
            ).fetchall()
        return tuple(StoredEvent(*row) for row in rows)

    # --- measurements ---------------------------------------------------------------------------------------------

    def save_measurement(self, key: str, document: str, *, now: str) -> None:
        """Keep a measurement under its key."""
        with self._working("save") as connection:
            connection.execute("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?)", (key, document, now))

    def measurement(self, key: str) -> str | None:
        """Return the document of the measurement with that key, or None."""
        with self._working("read") as connection:
            row = connection.execute("SELECT document FROM measurements WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    # --- agreements -----------------------------------------------------------------------------------------------

    def agree(self, subject: str, *, now: str) -> None:
        """Keep that the person has agreed to this."""
        with self._working("save") as connection:
            connection.execute("INSERT OR IGNORE INTO agreements VALUES (?, ?)", (_text(subject), now))

    def agreed(self, subject: str) -> bool:
        """Tell whether the person has agreed to this before."""
        with self._working("read") as connection:
            row = connection.execute("SELECT 1 FROM agreements WHERE subject = ?", (_text(subject),)).fetchone()
        return row is not None


_SELECT: Final = "SELECT id, kind, subject, subject_sha256, options, created_at, updated_at, finished_at FROM sessions"


def _session(row: tuple[int, str, str, str, str, str, str, str | None]) -> Session:
    number, kind, subject, sha256, options, created, updated, finished = row
    return Session(number, kind, subject, sha256, json.loads(options), created, updated, finished)


def _text(typed: str) -> str:
    """Return text that can be stored: half characters, as a badly set terminal yields them, become a question mark."""
    return typed.encode("utf-8", "replace").decode("utf-8")
