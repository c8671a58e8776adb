"""Read documents: one file that a person names, or all of a folder; what is no document is skipped and counted."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from llmdrill.errors import ContentError, MissingExtraError, Mistake
from llmdrill.files import read_bytes
from llmdrill.retrieval.corpora import Document, LabelledCorpus, Skipped
from llmdrill.retrieval.ingest.html import read_html
from llmdrill.retrieval.ingest.parsed import UnreadableError
from llmdrill.retrieval.ingest.pdf import read_pdf
from llmdrill.retrieval.ingest.rst import read_rst
from llmdrill.retrieval.ingest.text import read_markdown, read_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.retrieval.ingest.parsed import Parsed

MAX_FILE_BYTES: Final = 100_000_000
# A tokenizer holds some 160 bytes for each character of a text while it cuts it: 0.8 GB at this limit.
MAX_DOCUMENT_CHARACTERS: Final = 5_000_000
MOST_NAMED: Final = 3  # files that a note names for each reason
SNIFFED_BYTES: Final = 8192

READERS: Final[dict[str, Callable[[bytes], Parsed]]] = {
    **dict.fromkeys(("", ".txt", ".text"), read_plain),
    **dict.fromkeys((".md", ".markdown", ".mdown"), read_markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    **dict.fromkeys((".rst", ".rest"), read_rst),
    ".pdf": read_pdf,
}


def load_documents(path: Path) -> LabelledCorpus:
    """Return the documents of a file or a folder, without questions.

    Raises:
        ContentError: If the file is no text, or the folder cannot be read or holds no document.
        MissingExtraError: If all there is is PDF and pypdf is not installed.
    """
    return read_folder(path) if path.is_dir() else LabelledCorpus((read_file(path),), (), source=str(path))


def read_file(path: Path) -> Document:
    """Return the document in a file that a person names; a file of an unknown kind is taken for plain text.

    Raises:
        ContentError: If it cannot be read as text.
        MissingExtraError: If it is a PDF and pypdf is not installed.
    """
    try:
        return _document(path, path.name, READERS.get(path.suffix.lower(), read_plain))
    except UnreadableError as error:
        raise _content_error(path, f"is {error}") from error


def read_folder(root: Path) -> LabelledCorpus:
    """Return all documents below a folder; an id is the path from the folder, with '/' between its parts.

    Hidden files and folders are left alone. Links are followed, after all that is really there: what a link leads back
    to is skipped, so that a loop ends and nothing comes twice.

    Raises:
        ContentError: If the folder cannot be read, or holds no document.
        MissingExtraError: If all it holds is PDF and pypdf is not installed.
    """
    walk = _Walk(root)
    documents: dict[str, Document] = {}
    missing: MissingExtraError | None = None
    for path in walk.files():
        name = _name(path, root)
        if name in documents:  # two names that differ only in bytes that are not UTF-8
            walk.skip(path, "of the same name as another")
            continue
        try:
            documents[name] = _document(path, name, _reader(path))
        except UnreadableError as error:
            walk.skip(path, error.why)
        except ContentError as error:
            walk.skip(path, error.mistakes[0].what)
        except MissingExtraError as error:
            missing = error
            walk.skip(path, f"PDF without the extra '{error.extra}'")
    note = skipped_note(walk.skipped)
    if not documents:
        if missing:
            raise missing
        raise _content_error(root, f"holds no document that can be read{f' ({note})' if note else ': it is empty'}")
    return LabelledCorpus(
        tuple(documents[name] for name in sorted(documents)),
        (),
        source=str(root),
        skipped=tuple(sorted(walk.skipped, key=lambda skipped: skipped.name)),
        notes=(note,) if note else (),
    )


def skipped_note(skipped: Sequence[Skipped]) -> str:
    """Return how many files were skipped and why, with the first names of each reason; nothing if none was.

    >>> skipped_note([Skipped("a.png", "binary"), Skipped("b.md", "empty"), Skipped("c.png", "binary")])
    '3 files skipped: 2 binary (a.png, c.png), 1 empty (b.md)'
    """
    if not skipped:
        return ""
    parts = []
    for why, count in Counter(each.why for each in skipped).most_common():
        names = [each.name for each in skipped if each.why == why]
        named = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
        parts.append(f"{count} {why} ({named})")
    return f"{len(skipped)} file{'s' if len(skipped) > 1 else ''} skipped: {', '.join(parts)}"


def _name(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _content_error(path: Path, what: str) -> ContentError:
    return ContentError([Mistake(os.fsencode(path).decode("utf-8", "replace"), 1, 1, "", what)])


def _reader(path: Path) -> Callable[[bytes], Parsed]:
    """Return what reads a file of a folder; a kind that holds no documents is skipped without reading it all."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        binary = b"\0" in read_bytes(path, most_bytes=SNIFFED_BYTES)
        raise UnreadableError("binary" if binary else "without a document's suffix")
    return reader


def _document(path: Path, name: str, reader: Callable[[bytes], Parsed]) -> Document:
    raw = read_bytes(path, most_bytes=MAX_FILE_BYTES)
    if len(raw) > MAX_FILE_BYTES:
        raise UnreadableError(f"larger than {MAX_FILE_BYTES // 1_000_000} MB", "split it")
    parsed = reader(raw)
    if len(parsed.text) > MAX_DOCUMENT_CHARACTERS:
        raise UnreadableError(f"longer than {MAX_DOCUMENT_CHARACTERS // 1_000_000} million characters", "split it")
    if not parsed.text.strip():
        raise UnreadableError("empty")
    return Document(name, name.rpartition("/")[0] or ".", parsed.title or PurePosixPath(name).stem, parsed.text)


@dataclass
class _Walk:
    """Find the files below a folder, real ones before those that links lead to."""

    root: Path
    skipped: list[Skipped] = field(default_factory=list)
    _links: deque[Path] = field(default_factory=deque)
    _seen: set[tuple[int, int]] = field(default_factory=set)  # device and inode of what has been visited

    def skip(self, path: Path, why: str) -> None:
        self.skipped.append(Skipped(_name(path, self.root), why))

    def files(self) -> Iterator[Path]:
        self._mode(self.root)
        yield from self._below(self.root)
        while self._links:
            path = self._links.popleft()
            mode = self._mode(path)
            if stat.S_ISDIR(mode):
                yield from self._below(path)
            elif stat.S_ISREG(mode):
                yield path

    def _below(self, folder: Path) -> Iterator[Path]:
        folders = deque([folder])
        while folders:
            for entry in self._entries(folders.popleft()):
                path = Path(entry.path)
                if entry.name.startswith("."):
                    self.skip(path, "hidden")
                elif entry.is_symlink():
                    self._links.append(path)
                elif stat.S_ISDIR(mode := self._mode(path)):
                    folders.append(path)
                elif stat.S_ISREG(mode):
                    yield path

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == self.root:
                raise _content_error(folder, f"cannot be read: {error.strerror}") from error
            self.skip(folder, f"cannot be read: {error.strerror}")
            return []

    def _mode(self, path: Path) -> int:
        """Return what a path leads to; 0 for what is skipped, because it was here before or holds nothing to read."""
        try:
            found = path.stat()
        except OSError as error:
            self.skip(path, f"cannot be read: {error.strerror}")
            return 0
        key = (found.st_dev, found.st_ino)
        if key in self._seen:
            self.skip(path, "link to what is here already")
            return 0
        self._seen.add(key)
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            self.skip(path, "neither file nor folder")
        return found.st_mode
