"""Read plain text and Markdown: UTF-8, or UTF-16 that says so."""

from __future__ import annotations

import codecs
import re
from typing import Final

from llmdrill.retrieval.ingest.parsed import Parsed, UnreadableError

MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
FENCED: Final = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
FRONT_MATTER: Final = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)\n", re.DOTALL)
FRONT_TITLE: Final = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def decode(raw: bytes, *, declared: str | None = None) -> str:
    r"""Return bytes as text, every line end a single newline.

    Args:
        raw: All of a file.
        declared: The encoding that the file names for itself; a byte-order mark goes before it.

    Raises:
        UnreadableError: If the bytes are no text, or of an encoding that nothing tells.

    >>> decode(b"one\r\ntwo")
    'one\ntwo'
    """
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), None)
    if encoding is None and b"\0" in raw:
        raise UnreadableError("binary")
    try:
        text = raw.decode(encoding or declared or "utf-8")
    except (UnicodeDecodeError, LookupError):
        if encoding is None and declared is not None:
            return decode(raw)
        raise UnreadableError("not UTF-8", "save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_plain(raw: bytes) -> Parsed:
    """Return a text as it stands."""
    return Parsed("", decode(raw))


def read_markdown(raw: bytes) -> Parsed:
    """Return a Markdown text as it stands; its title is the front matter's or the first heading."""
    text = decode(raw)
    return Parsed(_markdown_title(text), text)


def _markdown_title(text: str) -> str:
    front = FRONT_MATTER.match(text)
    title = FRONT_TITLE.search(front[1]) if front else None
    if title:
        return title[1].strip("\"'")
    # A heading is searched for outside fences: '# comment' of a shell example is none.
    body = FENCED.sub("", text[front.end() if front else 0 :])
    heading = HEADING.search(body)
    return heading[1] if heading else ""
