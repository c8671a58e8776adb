"""Many short real texts without a network: what this Python's standard library says of itself, read as text.

Sentences of docstrings and comments come first, module by module in an order drawn at random, so that fewer texts are
the beginning of more; where they run out, stretches of code follow.
"""

from __future__ import annotations

import random
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A docstring follows a colon, or the comments that a file begins with. Parsing all modules would take ten times longer.
_DOCSTRING: Final = re.compile(r'(?:\A(?:#[^\n]*\n|\s)*|:\s*)[rRuU]?"""(.*?)"""', re.DOTALL)
_COMMENTS: Final = re.compile(r"(?:^[ \t]*#[^\n]*\n)+", re.MULTILINE)
_MARKS: Final = re.compile(r"^[ \t]*#+[ \t]?", re.MULTILINE)
_PARAGRAPH_ENDS: Final = re.compile(r"\n\s*\n")
_SENTENCE_ENDS: Final = re.compile(r"(?<=[.!?])\s+")
_WORD: Final = re.compile(r"[A-Za-z]{2,}")
FEWEST_WORDS: Final = 4  # less says nothing
MOST_CHARACTERS: Final = 400  # tables, licences and drawings are longer
CODE_CHARACTERS: Final = 120  # of a stretch of code: about as long to embed as two sentences


@dataclass(frozen=True, slots=True)
class LibraryTexts:
    """Distinct short texts, however written in capitals, and how many of them are stretches of code."""

    texts: tuple[str, ...]
    code: int


def library_texts(count: int, *, seed: int, standard_library: Path | None = None) -> LibraryTexts:
    """Return so many distinct short texts.

    Raises:
        UsageError: If the standard library is not there as source, or has fewer.
    """
    folder = standard_library or Path(sysconfig.get_path("stdlib"))
    files = sorted(file for file in folder.rglob("*.py") if "site-packages" not in file.parts)
    random.Random(seed).shuffle(files)  # noqa: S311 - a sample, not a secret
    found: dict[str, str] = {}  # by their letters alone: embedders that ignore case would give equal vectors
    _gather(files, sentences, found, count)
    prose = len(found)
    _gather(files, stretches_of_code, found, count)
    if len(found) < count:
        raise UsageError(f"{count:,} texts: the standard library in {folder} has {len(found):,}; ask for fewer")
    return LibraryTexts(tuple(found.values()), code=count - prose)


def sentences(source: str) -> Iterator[str]:
    r"""Yield the sentences of a module's docstrings and comments.

    >>> list(sentences("# what stands here is\n# read as one\nx = 1  # too short\n"))
    ['what stands here is read as one']
    """
    blocks = [found[1] for found in _DOCSTRING.finditer(source)]
    blocks += [_MARKS.sub("", found[0]) for found in _COMMENTS.finditer(source)]
    for block in blocks:
        for paragraph in _PARAGRAPH_ENDS.split(block):
            for sentence in _SENTENCE_ENDS.split(" ".join(paragraph.split())):
                if len(_WORD.findall(sentence)) >= FEWEST_WORDS and len(sentence) <= MOST_CHARACTERS:
                    yield sentence


def stretches_of_code(source: str) -> Iterator[str]:
    """Yield a module in stretches of whole lines, each as short as reaches ``CODE_CHARACTERS``."""
    lines: list[str] = []
    for line in source.splitlines():
        if stripped := line.strip():
            lines.append(stripped)
        if sum(map(len, lines)) >= CODE_CHARACTERS:
            stretch = " ".join(lines)
            lines = []
            if len(stretch) <= MOST_CHARACTERS:
                yield stretch


def _gather(files: list[Path], texts_of: Callable[[str], Iterator[str]], found: dict[str, str], count: int) -> None:
    for file in files:
        if len(found) >= count:
            return
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # some of the library's tests are in other encodings on purpose
            continue
        for text in texts_of(source):
            if len(found) < count:
                found.setdefault(text.casefold(), text)
