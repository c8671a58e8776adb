from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from llmdrill import store as store_module
from llmdrill.errors import StoreError
from llmdrill.store import FILE_NAME, Session, Store, StoredEvent

if TYPE_CHECKING:
    from pathlib import Path

NOW = "2026-11-22T10:00:00+00:00"
LATER = "2026-11-22T10:05:00+00:00"


def begun(store: Store, subject: str = "rag", now: str = NOW, kind: str = "design") -> Session:
    return store.start_session(kind=kind, subject=subject, subject_sha256="0" * 64, options={"minutes": "45"}, now=now)


def event(number: int) -> StoredEvent:
    return StoredEvent("answer", f"role.{number}", f"Antwort {number} → ≥ 85 %\nzweite Zeile", number / 8)


# --- what is written is there -------------------------------------------------------------------------------------


def test_sessions_and_events_are_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        session = begun(store)
        for number in range(3):
            store.append_event(session.id, number, event(number), now=LATER)
    with Store(tmp_path) as store:
        again = store.session(session.id)
        assert (again.subject, again.options, again.updated_at) == ("rag", {"minutes": "45"}, LATER)
        assert again.finished_at is None
        assert store.events(session.id) == tuple(event(number) for number in range(3))


def test_the_latest_open_session_comes_first_and_a_finished_one_is_gone(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first, second, drill = begun(store), begun(store), begun(store, kind="practice")
        store.append_event(first.id, 0, event(0), now=LATER)
        assert [session.id for session in store.open_sessions("design")] == [first.id, second.id]
        assert {session.id for session in store.open_sessions()} == {first.id, second.id, drill.id}
        store.finish_session(first.id, document="{}", now=LATER)
        assert [session.id for session in store.open_sessions("design")] == [second.id]
        assert store.session(first.id).finished_at == LATER


def test_a_measurement_is_kept_under_its_key_and_the_newest_wins(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.measurement("k") is None
        store.save_measurement("k", "old", now=NOW)
        store.save_measurement("k", "new", now=LATER)
        assert (store.measurement("k"), store.measurement("other")) == ("new", None)


def test_half_characters_of_a_badly_set_terminal_lose_no_answer(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        session = begun(store)
        store.append_event(session.id, 0, StoredEvent("answer", "a", "caf\udce9 and the rest", 1.0), now=NOW)
        store.append_event(session.id, 1, StoredEvent("answer", "b", "nul \x00 inside", 1.0), now=NOW)
        assert [stored.text for stored in store.events(session.id)] == ["caf? and the rest", "nul \x00 inside"]


# --- nothing is lost ----------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from llmdrill.store import Store, StoredEvent
with Store(Path(sys.argv[1])) as store:
    session = store.start_session(kind="design", subject="rag", subject_sha256="0", options={}, now="now")
    for number in range(1_000_000):
        store.append_event(session.id, number, StoredEvent("answer", "i", "text " * 200, 1.0), now="now")
        print(session.id, number, flush=True)
"""


def writer(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_every_event_that_was_told_as_saved_survives_a_kill(tmp_path: Path) -> None:
    process = writer(WRITER, tmp_path)
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    assert process.wait() == -signal.SIGKILL
    session, last = map(int, [line for line in lines if line.endswith("\n")][-1].split())
    with Store(tmp_path) as store:
        kept = store.events(session)
        assert last + 1 <= len(kept) <= last + 2
        assert {stored.text for stored in kept} == {"text " * 200}
        store.append_event(session, len(kept), event(0), now=NOW)


def test_several_processes_open_a_new_store_and_write_at_once(tmp_path: Path) -> None:
    processes = [writer(WRITER.replace("1_000_000", "20"), tmp_path) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    with Store(tmp_path) as store:
        sessions = store.open_sessions()
        assert len(sessions) == 4
        assert [len(store.events(session.id)) for session in sessions] == [20, 20, 20, 20]
    for process in processes:
        assert process.stdout
        process.stdout.close()


def test_opening_a_new_store_waits_while_another_process_sets_it_up(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE first (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    with Store(tmp_path) as store:
        assert begun(store).id == 1
    release.join()
    other.close()


def test_a_session_continued_in_another_terminal_is_not_mixed(tmp_path: Path) -> None:
    with Store(tmp_path) as here, Store(tmp_path) as there:
        session = begun(here)
        there.append_event(session.id, 0, event(1), now=NOW)
        with pytest.raises(StoreError, match=rf"continued in another terminal.*llmdrill resume {session.id}"):
            here.append_event(session.id, 0, event(2), now=NOW)
        assert here.events(session.id) == (event(1),)


def test_an_interrupt_in_the_middle_leaves_the_store_usable(tmp_path: Path) -> None:
    def interrupted(store: Store) -> None:
        with store._transaction() as connection:
            connection.execute("DELETE FROM sessions")
            raise KeyboardInterrupt

    with Store(tmp_path) as store:
        session = begun(store)
        with pytest.raises(KeyboardInterrupt):
            interrupted(store)
        store.append_event(session.id, 0, event(0), now=NOW)
        assert store.events(session.id) == (event(0),)


# --- formats ------------------------------------------------------------------------------------------------------


def test_an_older_store_is_brought_forward_with_all_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        session = begun(store)
        store.append_event(session.id, 0, event(0), now=NOW)
    newer = (*store_module._MIGRATIONS, "CREATE TABLE reviews (id INTEGER); INSERT INTO reviews VALUES (7)")
    monkeypatch.setattr(store_module, "_MIGRATIONS", newer)
    for _ in range(2):  # the second time there is nothing left to do
        with Store(tmp_path) as store:
            assert store._connection.execute("SELECT id FROM reviews").fetchall() == [(7,)]
            assert store.events(session.id) == (event(0),)


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        session = begun(store)
    broken = (*store_module._MIGRATIONS, "CREATE TABLE reviews (id INTEGER); DROP TABLE sessions; SELEKT 1")
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            Store(tmp_path)
    with Store(tmp_path) as store:
        assert store.session(session.id).subject == "rag"
        tables = store._connection.execute("SELECT name FROM sqlite_master WHERE name = 'reviews'").fetchall()
        assert not tables


def test_a_store_of_a_newer_llmdrill_is_refused_and_not_touched(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"written by a newer llmdrill \(format 99\); upgrade llmdrill"):
        Store(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


# --- what cannot be done is said ----------------------------------------------------------------------------------


def test_an_unknown_session_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(StoreError, match="no session 7; `llmdrill resume --list`"):
        store.session(7)


def test_a_folder_that_cannot_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/llmdrill.sqlite3: cannot open the store: .*set LLMDRILL_HOME"):
        Store(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="set LLMDRILL_HOME to a folder you own"):
        Store(tmp_path)
    tmp_path.chmod(0o700)


def test_a_file_that_is_no_database_is_refused_with_the_remedy_and_kept(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("these are somebody's notes " * 100)
    with pytest.raises(StoreError, match="file is not a database; move the file away"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_text().startswith("these are somebody's notes")


def test_a_full_disk_is_one_clear_line_and_loses_nothing_saved(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        session = begun(store)
        store.append_event(session.id, 0, event(0), now=NOW)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        large = StoredEvent("answer", "a", "x" * 100_000, 1.0)
        for save in (
            lambda: store.append_event(session.id, 1, large, now=NOW),
            lambda: store.finish_session(session.id, document="x" * 100_000, now=NOW),
            lambda: store.save_measurement("k", "x" * 100_000, now=NOW),
        ):
            with pytest.raises(StoreError, match=r"cannot save: database or disk is full; free some space"):
                save()
        assert store.events(session.id) == (event(0),)
        assert store.session(session.id).finished_at is None


def test_a_store_that_another_process_keeps_locked_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "WAIT_S", 0.1)
    locked = pytest.raises(StoreError, match="another llmdrill is writing to it")
    with Store(tmp_path) as store, Store(tmp_path) as other, other._transaction(), locked:
        begun(store)
