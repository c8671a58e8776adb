"""Where things lie: the store, the cache, shipped content and the user's own."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from llmdrill.errors import ContentError, Mistake, UnknownNameError


def home_folder() -> Path:
    """Return the folder of the store and of the user's own content: ``LLMDRILL_HOME`` or the platform's."""
    override = os.environ.get("LLMDRILL_HOME")
    if override:
        return Path(os.path.expanduser(override))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    import platformdirs

    return Path(platformdirs.user_state_dir("llmdrill", appauthor=False))


def cache_folder() -> Path:
    """Return the folder of what can be computed again: embeddings, hashes, compiled code."""
    if os.environ.get("LLMDRILL_HOME"):
        return home_folder() / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("llmdrill", appauthor=False))


@functools.cache
def shipped_folder(kind: str) -> Path:
    """Return the folder of shipped ``scenarios`` or ``drills``: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    inside = package / "content_files" / kind
    return inside if inside.is_dir() else package.parent / kind


def content_files(kind: str) -> dict[str, Path]:
    """Return id → file of every scenario (or drill file): the user's own folder first, then the shipped ones."""
    found: dict[str, Path] = {}
    for folder in (home_folder() / kind, shipped_folder(kind)):
        if folder.is_dir():
            for path in sorted(folder.glob("*.yaml")):
                found.setdefault(path.stem, path)
    return found


def find_content(kind: str, name: str) -> Path:
    """Return the file a person means by ``name``: a path if it looks like one, else an id.

    Raises:
        UnknownNameError: If there is no such id; the nearest are named.
        ContentError: If a path was meant and there is no such file.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name:
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - as above
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name too long or a folder closed to us
            raise ContentError([Mistake(name, 1, 1, "", "there is no such file")])
        return path
    files = content_files(kind)
    if name not in files:
        raise UnknownNameError(kind.rstrip("s"), name, files)
    return files[name]
