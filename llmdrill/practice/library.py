"""Find drills: an index of every pack's files, kept in the cache folder by the hash of each file's content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmdrill import __version__
from llmdrill.errors import ContentError, UnknownNameError, UsageError
from llmdrill.files import read_bytes
from llmdrill.folders import cache_folder
from llmdrill.located import MAX_BYTES
from llmdrill.practice.packs import Pack, packs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmdrill.practice.drill import Drill

FORMAT: Final = "llmdrill/drill-index@1"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list shows of a drill, and what it is chosen by.

    Attributes:
        number: Its place in its file, from 0.
    """

    id: str
    kind: str
    title: str
    topic: str
    tags: tuple[str, ...]
    tier: int
    roles: tuple[str, ...]
    difficulty: int
    minutes: float
    number: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A drill of the library, and where it stands."""

    entry: Entry
    file: Path
    pack: Pack


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that holds no drills we can read, and its first mistake."""

    file: Path
    why: str


@dataclass(frozen=True, slots=True)
class Library:
    """Every drill, each id once, and the files that could not be read."""

    drills: tuple[Listed, ...]
    broken: tuple[Broken, ...]

    def find(self, drill_id: str) -> Listed:
        """Return the drill of that id.

        Raises:
            UnknownNameError: If there is none; the nearest are named.
        """
        for listed in self.drills:
            if listed.entry.id == drill_id:
                return listed
        raise UnknownNameError("drill", drill_id, [listed.entry.id for listed in self.drills])

    def select(
        self, *, topic: str | None = None, kind: str | None = None, tier: int | None = None, role: str | None = None
    ) -> tuple[Listed, ...]:
        """Return the drills that have all of this; a topic is a tag, or the name of a file."""
        return tuple(
            listed
            for listed in self.drills
            if (topic is None or topic in {listed.entry.topic, *listed.entry.tags})
            and (kind is None or kind == listed.entry.kind)
            and (tier is None or tier == listed.entry.tier)
            and (role is None or role in listed.entry.roles)
        )


def load_library(sources: Iterable[Pack] | None = None) -> Library:
    """Return the drills of these packs, by default of all; only files that changed since the last time are parsed."""
    kept, used = _kept_index(), {}
    drills: dict[str, Listed] = {}
    broken: list[Broken] = []
    for pack in packs() if sources is None else sources:
        for file in sorted(pack.folder.glob("*.yaml")):
            sha256, row = _indexed(file, kept)
            if sha256:
                used[sha256] = row
            if "broken" in row:
                broken.append(Broken(file, row["broken"]))
            for entry in _entries(row):
                drills.setdefault(entry.id, Listed(entry, file, pack))
    if sources is None and used.keys() != kept.keys():
        _keep_index(used)
    return Library(tuple(drills.values()), tuple(broken))


def ids_in(files: Iterable[Path]) -> dict[str, Path]:
    """Return id → file of every drill in these files; files that cannot be read have none."""
    kept = _kept_index()
    return {entry.id: file for file in files for entry in _entries(_indexed(file, kept)[1])}


def load_drill(listed: Listed) -> Drill:
    """Return a drill as its file states it; the file's other drills are not looked at.

    Raises:
        ContentError: If the file has changed into one that is malformed.
        UsageError: If the drill is no longer where it was listed.
    """
    from llmdrill.content import load_yaml, validate
    from llmdrill.located import Located
    from llmdrill.practice.drill import DRILLS

    located = load_yaml(listed.file)
    place = ("drills", listed.entry.number)
    try:
        data = located.data["drills"][listed.entry.number]
        model = DRILLS[data["kind"]]
    except (LookupError, TypeError) as error:
        raise UsageError(f"{listed.file}: the drill '{listed.entry.id}' has just moved; try again") from error
    inner = {path[2:]: at for path, at in located.places.items() if path[:2] == place}
    drill = validate(Located(located.file, data, inner, located.sha256), model)
    if drill.id != listed.entry.id:
        raise UsageError(f"{listed.file}: the drill '{listed.entry.id}' has just moved; try again")
    return drill  # type: ignore[return-value] # each of DRILLS is one of the union


def code_folder(listed: Listed) -> Path:
    """Return the folder of a code drill's files.

    Raises:
        UsageError: If it leads out of the pack.
    """
    folder = listed.pack.folder / "code" / listed.entry.id
    if not folder.resolve().is_relative_to(listed.pack.folder.resolve()):
        raise UsageError(f"{folder}: leads out of its pack")
    return folder


def _indexed(file: Path, kept: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the hash of a file's content, and its row of the index, read anew where it is not kept."""
    try:
        raw = read_bytes(file, most_bytes=MAX_BYTES)
    except ContentError as error:
        return "", {"broken": error.mistakes[0].what}
    sha256 = hashlib.sha256(raw).hexdigest()
    return sha256, kept[sha256] if sha256 in kept else _row(file)


def _row(file: Path) -> dict[str, Any]:
    from llmdrill.content import load_yaml, validate
    from llmdrill.practice.drill import DrillFile

    try:
        held = validate(load_yaml(file), DrillFile)
    except ContentError as error:
        mistake = error.mistakes[0]
        where = f" {mistake.where}:" if mistake.where else ""
        return {"broken": f"line {mistake.line}:{where} {mistake.what}"}
    return {
        "drills": [
            asdict(
                Entry(
                    drill.id,
                    drill.kind,
                    drill.title,
                    held.topic,
                    drill.tags,
                    drill.tier,
                    drill.roles,
                    drill.difficulty,
                    drill.minutes,
                    number,
                )
            )
            for number, drill in enumerate(held.drills)
        ]
    }


def _entries(row: dict[str, Any]) -> Iterator[Entry]:
    for one in row.get("drills", ()):
        yield Entry(**{**one, "tags": tuple(one["tags"]), "roles": tuple(one["roles"])})


def _index_file() -> Path:
    return cache_folder() / "drills.json"


def _kept_index() -> dict[str, Any]:
    """Return the index as it was kept: nothing where it is absent, damaged, or another program's."""
    try:
        kept = json.loads(_index_file().read_bytes())
        if kept["program"] != _program():
            return {}
        for row in kept["files"].values():
            tuple(_entries(row))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return dict(kept["files"])


def _keep_index(rows: dict[str, Any]) -> None:
    text = json.dumps({"program": _program(), "files": rows}, ensure_ascii=False, separators=(",", ":"))
    with contextlib.suppress(OSError):  # two processes write the same; where nothing can be kept, nothing is
        target = _index_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}")
        part.write_text(text, encoding="utf-8")
        part.replace(target)


@functools.cache
def _program() -> str:
    """Return what stands for the code that reads drills; where it is edited, an old index is of another program."""
    sources = [Path(__file__).with_name(name).stat() for name in ("library.py", "drill.py", "drawn.py", "calculate.py")]
    return " ".join([FORMAT, __version__, *(f"{source.st_size} {source.st_mtime_ns}" for source in sources)])
