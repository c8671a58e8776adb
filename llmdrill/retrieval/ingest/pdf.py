"""Take the text out of a PDF, page by page; lines that its outline names become headings."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import MissingExtraError
from llmdrill.retrieval.ingest.parsed import Parsed, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pypdf import PdfReader

PAGE_BREAK: Final = "\n\n"


def read_pdf(raw: bytes) -> Parsed:
    """Return the text of all pages.

    Raises:
        MissingExtraError: If pypdf is not installed.
        UnreadableError: If the file is broken, locked, or holds pictures of pages only.
    """
    try:
        from pypdf.errors import DependencyError
    except ImportError as error:
        raise MissingExtraError("reading PDF", "pdf") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells on stderr what it puts up with
    try:
        parsed = _parsed(_opened(raw))
    except UnreadableError:
        raise
    except DependencyError as error:
        raise UnreadableError("encrypted", "save it without encryption") from error
    except Exception as error:  # what a broken file makes of a parser has no common base
        raise UnreadableError("broken", f"{type(error).__name__}: {error}"[:120]) from error
    if not parsed.text.strip():
        raise UnreadableError("without text", "scanned pages need character recognition first")
    return parsed


def _opened(raw: bytes) -> PdfReader:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError("locked with a password", "save it without one")
    return reader


def _parsed(reader: PdfReader) -> Parsed:
    headings = _headings(reader)
    pages = [_page(page.extract_text(), headings.get(number, {})) for number, page in enumerate(reader.pages)]
    title = (reader.metadata.title or "") if reader.metadata else ""
    return Parsed(" ".join(str(title).split()), PAGE_BREAK.join(page for page in pages if page) + "\n")


def _page(text: str, headings: dict[str, int]) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip("\n").split("\n")
    return "\n".join(_line(line.rstrip(), headings) for line in lines)


def _line(line: str, headings: dict[str, int]) -> str:
    level = headings.pop(_bare(line), 0)  # each title once: running heads repeat it
    return f"\n{'#' * level} {line.strip()}\n" if level else line


def _headings(reader: PdfReader) -> dict[int, dict[str, int]]:
    """Return page -> title -> level of the outline; nothing where the outline is broken."""
    found: dict[int, dict[str, int]] = {}
    try:
        for level, entry in _entries(reader.outline, 1):
            page = reader.get_destination_page_number(entry)
            if page is not None:
                found.setdefault(page, {})[_bare(str(entry.title))] = min(level, 6)
    except Exception:  # noqa: BLE001 - the text is worth having without its outline
        return {}
    return found


def _entries(outline: Sequence[Any], level: int) -> Iterator[tuple[int, Any]]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _entries(entry, level + 1)
        else:
            yield level, entry


def _bare(title: str) -> str:
    """Return a title as the page and the outline both have it: without its number, spaces or case."""
    return "".join(title.lstrip("0123456789.§ \t").split()).casefold()
