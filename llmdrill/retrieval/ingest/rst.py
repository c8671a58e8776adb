"""Turn reStructuredText into Markdown-like text: headings, code and plain words; directives keep their content."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Final

from llmdrill.retrieval.ingest.parsed import Parsed
from llmdrill.retrieval.ingest.text import decode

RULE: Final = re.compile(
    r"([!-/:-@\[-`{-~])\1{2,}\s*$"
)  # a line of one punctuation mark, as sections are underlined by
DIRECTIVE: Final = re.compile(r"( *)\.\. +([\w:.+-]+)::(?: +(.*))?$")
OPTION: Final = re.compile(r" +:[\w-][^:]*:(?: .*)?$")
TARGET: Final = re.compile(r"( *)(?:\.\. +_|__ )")
COMMENT: Final = re.compile(r"( *)\.\.(?:$| )")
FOOTNOTE: Final = re.compile(r"( *)\.\. +\[([^\]]+)\] *")
ROLE: Final = re.compile(r":[\w:+.-]+:`([^`]+)`|`([^`]+)`:[\w:+.-]+:")
LINK: Final = re.compile(r"`([^`]+?)(?:\s*<[^>`]+>)?`__?")
EXPLICIT: Final = re.compile(r"(.+?)\s*<[^>]+>$")
LITERAL: Final = re.compile(r"``(.+?)``")
CODE: Final = re.compile("code|code-block|sourcecode|parsed-literal|testcode|testoutput|doctest|productionlist|math")
NAMED: Final = re.compile(  # a sentence would say less without the directive's name
    "note|warning|tip|important|caution|danger|error|hint|attention|seealso|admonition|rubric|availability|impl-detail|"
    "versionadded|versionchanged|versionremoved|deprecated|deprecated-removed"
)
DROPPED: Final = re.compile(
    "toctree|index|image|figure|include|literalinclude|contents|raw|meta|highlight|(?:py:)?(?:current)?module|"
    "testsetup|testcleanup|sectionauthor|moduleauthor|tabularcolumns|default-role"
)


def read_rst(raw: bytes) -> Parsed:
    """Return the text with sections as Markdown headings, literal blocks in fences and roles as their words."""
    lines = _Reader(decode(raw).split("\n")).read()
    title = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    return Parsed(title, f"{text}\n" if text else "")


class _Reader:
    """Go through the lines once; underlines get their level in the order they first come in."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._out: list[str] = []
        self._styles: list[tuple[str, bool]] = []

    def read(self) -> list[str]:
        while self._at < len(self._lines):
            line = self._lines[self._at].rstrip()
            directive = DIRECTIVE.match(line)
            if self._heading(line):
                continue
            self._at += 1
            if directive:
                self._directive(directive)
            elif FOOTNOTE.match(line):
                self._out.append(FOOTNOTE.sub(r"\1[\2] ", _words(line)))
            elif TARGET.match(line) or COMMENT.match(line):
                self._body(_indent(line))
            else:
                self._paragraph_line(line)
        return self._out

    def _line(self, ahead: int) -> str:
        at = self._at + ahead
        return self._lines[at].rstrip() if 0 <= at < len(self._lines) else ""

    def _heading(self, line: str) -> bool:
        """Take a section's title with its underline, and the line over it if there is one."""
        over = bool(RULE.match(line)) and self._line(2) == line and bool(self._line(1).strip())
        title, under = (self._line(1), line) if over else (line, self._line(1))
        rule = RULE.match(under)
        too_short = rule is None or (len(under) < len(title) and len(under) < 4)
        if not title.strip() or too_short or (not over and (title[0] == " " or RULE.match(title))):
            return False
        style = (under[0], over)
        if style not in self._styles:
            self._styles.append(style)
        level = min(self._styles.index(style) + 1, 6)
        self._out += ["", "#" * level + " " + _words(title.strip()), ""]
        self._at += 3 if over else 2
        return True

    def _directive(self, found: re.Match[str]) -> None:
        name, argument = found[2], found[3] or ""
        if CODE.fullmatch(name):  # the argument of most is a language, of these the first line
            self._fence(len(found[1]), [argument] if name in {"math", "productionlist"} else [])
        elif DROPPED.fullmatch(name):
            self._body(len(found[1]))
        else:  # what it holds is text: a note's paragraphs, a function's description
            named = f"{name.capitalize()}: " if NAMED.fullmatch(name) else ""
            self._out.append(found[1] + (named + _words(argument)).rstrip())
            while OPTION.match(self._line(0)):
                self._at += 1

    def _paragraph_line(self, line: str) -> None:
        words = _words(line)
        if not line.endswith("::"):
            self._out.append(words)
            return
        # 'text::' announces a literal block and stays as 'text:'; '::' alone goes.
        self._out.append(words.removesuffix("::").rstrip() + (":" if line.strip(": ") and line[-3] != " " else ""))
        if not self._line(0):
            self._fence(_indent(line), [])

    def _fence(self, indent: int, first: list[str]) -> None:
        body = self._body(indent)
        options = len(list(takewhile(OPTION.match, body)))
        code = [*first, *body[options:]]
        while code and not code[0].strip():
            del code[0]
        while code and not code[-1].strip():
            del code[-1]
        if code:
            margin = min(_indent(line) for line in code if line.strip())
            self._out += ["", "```", *(line[margin:] for line in code), "```", ""]

    def _body(self, indent: int) -> list[str]:
        """Take the lines that are indented deeper."""
        start = self._at
        while self._at < len(self._lines) and (not self._line(0) or _indent(self._line(0)) > indent):
            self._at += 1
        return [line.rstrip() for line in self._lines[start : self._at]]


def _words(line: str) -> str:
    r"""Return a line without inline markup.

    >>> _words("See :func:`~os.path.join`, `the guide <https://x.y>`_ and ``a``.")
    'See os.path.join, the guide and `a`.'
    """
    line = ROLE.sub(lambda found: EXPLICIT.sub(r"\1", found[1] or found[2]).lstrip("~!"), line)
    return LINK.sub(r"\1", LITERAL.sub(r"`\1`", line)) if "`" in line else line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
