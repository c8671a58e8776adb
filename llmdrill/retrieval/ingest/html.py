"""Turn HTML into Markdown-like text: headings, lists, tables and code keep their form, markup and scripts go."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from llmdrill.retrieval.ingest.parsed import Parsed, UnreadableError
from llmdrill.retrieval.ingest.text import decode

CHARSET: Final = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
PRESCANNED_BYTES: Final = 1024  # where the HTML standard looks for a declared encoding
HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
TABLE: Final = re.compile("table|tr|td|th")
BLOCK: Final = re.compile(
    "address|article|aside|blockquote|body|caption|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|footer|form|"
    "h[1-6]|header|hgroup|hr|html|legend|li|main|ol|p|section|summary|tbody|tfoot|thead|ul"
)
NOT_TEXT: Final = re.compile("script|style|template|svg|iframe|object|select|button|canvas|nav")
SPACE: Final = re.compile(r"[ \t\n\r\f]+")  # no-break spaces stay
ITEM: Final = re.compile(r"( *)(?:-|\d+\.) ")
BARE_MARK: Final = re.compile(r"\s*(?:-|\d+\.|#*)\s*")  # of an item or a heading without words
BLANK_LINES: Final = re.compile(r"\n{3,}")


def read_html(raw: bytes) -> Parsed:
    """Return what a reader of the page sees, as text: of ``main`` alone where the page says what that is."""
    declared = CHARSET.search(raw, 0, PRESCANNED_BYTES)
    text = decode(raw, declared=declared[1].decode() if declared else None)
    parser = _Page()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError as error:  # what the parser says to '<![CDAT['
        raise UnreadableError("broken as HTML", str(error)) from error
    return parser.parsed()


class _Page(HTMLParser):
    """Collect text line by line; a block ends a line, ``pre`` keeps its own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line: list[str] = []
        self._title: list[str] = []
        self._main: list[int] = []  # the lines where the main part starts and ends
        self._cells: list[str] | None = None  # of the row that is open
        self._first_row = False
        self._in_title = False
        self._hidden: list[str] = []  # open elements whose content is no text
        self._lists: list[int] = []  # open lists: the next item's number, 0 where items have none
        self._pre = 0

    def parsed(self) -> Parsed:
        self._end_row()
        self._end_line()
        lines = self._lines[slice(*self._main[:2])] if len(self._main) > 1 else self._lines
        text = BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
        heading = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
        return Parsed(_one_line("".join(self._title)) or heading, f"{text}\n" if text else "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden or NOT_TEXT.fullmatch(tag):
            # An element inside a hidden one counts only if it is of the same name: then it needs an end of its own.
            if not self._hidden or tag == self._hidden[0]:
                self._hidden.append(tag)
        elif tag == "title":
            self._in_title = True
        elif tag == "img":
            self._line.append(dict(attrs).get("alt") or "")
        elif TABLE.fullmatch(tag):
            self._table_start(tag)
        else:
            self._block_start(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML the slash of '<script/>' means nothing, but an SVG or XHTML element without content ends here.
        if not NOT_TEXT.fullmatch(tag):
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[-1]:
                self._hidden.pop()
        elif tag == "title":
            self._in_title = False
        elif tag == "pre" and self._pre:
            self._end_pre()
        elif TABLE.fullmatch(tag):
            self._table_end(tag)
        elif BLOCK.fullmatch(tag):
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            self._block(blank=tag != "li" and not self._lists)
            if tag == "main":
                self._main.append(len(self._lines))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._hidden:
            self._line.append(data)

    def _block_start(self, tag: str) -> None:
        if tag == "br":
            self._break()
        elif tag == "pre":
            self._block()
            self._pre += 1
            self._lines.append("```")
        elif tag == "li":
            self._item()
        elif tag in HEADINGS:
            self._block("#" * HEADINGS[tag] + " ")
        elif BLOCK.fullmatch(tag):
            self._nested(tag)
            if tag == "main":
                self._main.append(len(self._lines))

    def _item(self) -> None:
        self._block(blank=False)
        number = self._lists[-1] if self._lists else 0
        if number:
            self._lists[-1] += 1
        indent = "  " * max(len(self._lists) - 1, 0)
        self._line.append(f"{indent}{number}. " if number else f"{indent}- ")

    def _nested(self, tag: str) -> None:
        if tag in ("ul", "ol"):
            self._block(blank=not self._lists)
            self._lists.append(1 if tag == "ol" else 0)
        elif not (self._lists and BARE_MARK.fullmatch("".join(self._line))):  # '<li><p>' is one line
            self._block(blank=not self._lists)

    def _table_start(self, tag: str) -> None:
        if tag == "table":
            self._block()
            self._first_row = True
        elif tag == "tr":
            self._end_row()
            self._end_line()
            self._cells = []
        else:
            self._end_cell()

    def _table_end(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._end_cell()
            return
        self._end_row()
        if tag == "table":
            self._block()

    def _end_cell(self) -> None:
        """Keep the text since the last cell's end, which belongs to a cell if a row is open."""
        if self._cells is None:
            self._end_line()
            return
        text = _one_line("".join(self._line)).replace("|", "\\|")
        self._line = []
        if text or self._cells:
            self._cells.append(text)

    def _end_row(self) -> None:
        if self._cells is None:
            return
        if "".join(self._line).strip():
            self._end_cell()
        if any(self._cells):
            self._lines.append(f"| {' | '.join(self._cells)} |")
            if self._first_row:
                self._lines.append("|" + " --- |" * len(self._cells))
            self._first_row = False
        self._cells = None

    def _break(self) -> None:
        if self._cells is not None:
            self._line.append(" ")
        elif self._pre:
            self._line.append("\n")
        else:
            self._end_line()

    def _end_pre(self) -> None:
        self._pre -= 1
        self._lines += [*"".join(self._line).strip("\n").split("\n"), "```", ""]
        self._line = []

    def _block(self, start: str = "", *, blank: bool = True) -> None:
        """End the line, and set what follows apart by a blank one; ``start`` begins the next."""
        if self._cells is not None:  # a block inside a cell stays on the row's line
            self._line.append(" ")
            return
        self._end_line()
        if blank:
            self._lines.append("")
        self._line.append(start)

    def _end_line(self) -> None:
        if self._pre:
            return
        raw, self._line = "".join(self._line), []
        item = ITEM.match(raw)
        line = _one_line(raw)
        if not BARE_MARK.fullmatch(line):
            self._lines.append((item[1] if item else "") + line)


def _one_line(text: str) -> str:
    return SPACE.sub(" ", text).strip()
