"""Where drills come from: the person's own folder, what is shipped, and installed packages.

A package offers a folder of drill files by an entry point of the group ``llmdrill.content`` whose value is the folder's
dotted name, such as ``my_drills.content``. The folder is found without importing the package: its code does not run.
"""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.folders import home_folder, shipped_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP: Final = "llmdrill.content"
SHIPPED, OWN = "shipped", "yours"
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder of drill files.

    Attributes:
        name: ``shipped``, ``yours``, the name of a package's entry point, or a folder's path.
        folder: It holds ``*.yaml``, and ``code/<id>/`` of code drills.
    """

    name: str
    folder: Path

    @property
    def trusted(self) -> bool:
        """Whether its code runs without asking: only what comes with llmdrill."""
        return self.folder.resolve() == shipped_folder("drills").resolve()

    @property
    def key(self) -> str:
        """What an agreement to it is kept under: where it lies."""
        return str(self.folder.resolve())


def packs() -> tuple[Pack, ...]:
    """Return the packs that are there; where two hold a drill of the same id, the first one's counts."""
    own, shipped = Pack(OWN, home_folder() / "drills"), Pack(SHIPPED, shipped_folder("drills"))
    return tuple(pack for pack in (own, shipped, *_installed()) if pack.folder.is_dir())


def pack_of(path: Path) -> Pack:
    """Return the pack that a drill file belongs to; a folder that is none of them is one by itself."""
    folder = path.resolve().parent
    known = (pack for pack in packs() if pack.folder.resolve() == folder)
    return next(known, Pack(str(path.parent), path.parent))


@functools.cache
def _installed() -> tuple[Pack, ...]:
    return tuple(Pack(name, folder) for name, value in sorted(_offered()) if (folder := folder_named(value)))


def _offered() -> Iterator[tuple[str, str]]:
    from importlib.metadata import entry_points

    yield from ((one.name, one.value) for one in entry_points(group=GROUP))


def folder_named(value: str) -> Path | None:
    """Return the folder that a dotted name stands for; None if it is no name, or nothing of that name is installed."""
    if not _DOTTED.fullmatch(value):
        return None
    package, *rest = value.split(".")
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(package)  # of the outermost package: to find an inner one would import it
        for root in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(root).joinpath(*rest)
            if folder.is_dir():
                return folder
    return None
