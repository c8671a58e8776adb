"""Count tokens roughly, from the text alone: bytes per token of kinds of text, with the error that was measured."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["english", "code", "json", "latin", "cyrillic", "arabic", "devanagari", "cjk", "hangul", "other"]
_SYMBOLS: Final = frozenset("_=(){}[];<>*\\")
_CODE_SYMBOLS_SHARE: Final = 0.04  # of all characters; 92 % of the measured code has more, 82 % of the articles less
_LATIN_SHARE: Final = 0.002  # of the letters; a few accents do not make a text French
_SCRIPTS: Final[tuple[tuple[int, int, Kind], ...]] = (
    (0x00C0, 0x024F, "latin"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0600, 0x06FF, "arabic"),
    (0x0900, 0x097F, "devanagari"),
    (0x3000, 0x30FF, "cjk"),
    (0x3400, 0x9FFF, "cjk"),
    (0xAC00, 0xD7AF, "hangul"),
    (0xFF00, 0xFFEF, "cjk"),
)
# Punctuation, spaces, control characters and mathematical signs go with whatever script they stand in; emoji do not.
_SHARED: Final = ("P", "Z", "C", "Sm", "Sc", "Sk")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Bytes of UTF-8 per token of one kind of text: the median, and what 5 % of the texts lie below and above."""

    median: float
    p5: float
    p95: float


@dataclass(frozen=True, slots=True)
class RoughCount:
    """A rough count of tokens.

    Attributes:
        tokens: The count, rounded up.
        low: What 5 % of texts of that kind stay below.
        high: What 5 % of texts of that kind exceed.
        text_bytes: Length in UTF-8.
        kind: The kind that most of the bytes are of.
        measured: False where a script has no measured ratio.
        parts: Bytes of each kind, with the ratio they were divided by.
    """

    tokens: int
    low: int
    high: int
    text_bytes: int
    kind: Kind
    measured: bool
    parts: tuple[tuple[float, Ratio], ...]


# Printed by benchmarks/token_ratio.py (tiktoken 0.14.0, CPython 3.11.7, 2026-11-22): see approximate_tokens.
RATIOS: Final[Mapping[str, Mapping[Kind, Ratio]]] = {
    "o200k_base": {
        "english": Ratio(4.2, 3.49, 4.74),
        "code": Ratio(4.22, 3.44, 4.81),
        "json": Ratio(2.84, 2.45, 3.09),
        "latin": Ratio(4.63, 3.71, 5.79),
        "cyrillic": Ratio(5.96, 4.76, 7.65),
        "arabic": Ratio(5.86, 4.69, 7.32),
        "devanagari": Ratio(8.37, 6.7, 10.46),
        "cjk": Ratio(3.6, 2.88, 4.5),
        "hangul": Ratio(4.09, 3.28, 5.12),
    },
    "cl100k_base": {
        "english": Ratio(4.2, 3.49, 4.75),
        "code": Ratio(4.28, 3.46, 4.85),
        "json": Ratio(2.82, 2.44, 3.1),
        "latin": Ratio(3.76, 3.01, 4.7),
        "cyrillic": Ratio(3.6, 2.88, 4.5),
        "arabic": Ratio(2.57, 2.06, 3.21),
        "devanagari": Ratio(2.57, 2.05, 3.21),
        "cjk": Ratio(2.68, 2.14, 3.35),
        "hangul": Ratio(2.6, 2.08, 3.25),
    },
}
_SAME_RANKS: Final = {"o200k_harmony": "o200k_base"}


def approximate_tokens(text: str, *, encoding: str = "o200k_base", kind: Kind | None = None) -> RoughCount:
    """Return a rough count of tokens from the text's bytes alone.

    Formula:
        sum over kinds of bytes / bytes_per_token. Letters outside ASCII are of their script's kind; ASCII letters and
        digits are english, code or json by the text's look; spaces and punctuation are shared out in proportion.

    Args:
        text: Any text.
        encoding: Whose tokens: o200k_base or cl100k_base.
        kind: Of the ASCII part, where it is known: english, code, json or latin (other European languages).

    Returns:
        The count and the span that holds 90 % of the measured texts of that kind.

    Raises:
        UsageError: If no ratio was measured for that encoding or kind.

    Error:
        Measured, o200k_base: 207 English articles 32 % low to 39 % high, 258 modules and headers of CPython 63 % low
        (tables of numbers) to 29 % high, 66 JSON texts 22 % low to 17 % high, 27 paragraphs in seven other languages
        and scripts within 29 %; the span holds 91, 88, 91 and 100 % of them. cl100k_base is alike. Not used to fit: 12
        ordinary Chinese, Japanese and Korean texts of CPython's tests, 15 % low to 21 % high, all in the span. Short
        texts, digits, rare characters and tables of numbers are worst; another tokenizer may differ by more.
    Source:
        Measured by benchmarks/token_ratio.py with the published rank files.

    >>> rough = approximate_tokens("What does it cost to serve a model?")
    >>> rough.low <= 8 <= rough.high  # 8 in o200k_base
    True
    """
    ratios = _ratios(encoding)
    shares, total = _bytes_by_kind(text, kind)
    parts = tuple((size, ratios.get(each) or _unmeasured(ratios)) for each, size in shares.items())
    typical = sum(size / ratio.median for size, ratio in parts)
    low, high = sum(size / ratio.p95 for size, ratio in parts), sum(size / ratio.p5 for size, ratio in parts)
    return RoughCount(
        tokens=math.ceil(typical - 1e-9),
        low=max(math.floor(low), 1 if text else 0),
        high=math.ceil(high - 1e-9),
        text_bytes=total,
        kind=max(shares, key=shares.__getitem__, default="english"),
        measured=all(each in ratios for each in shares),
        parts=parts,
    )


def _ratios(encoding: str) -> Mapping[Kind, Ratio]:
    found = RATIOS.get(_SAME_RANKS.get(encoding, encoding))
    if found is None:
        raise UsageError(f"no bytes per token were measured for '{encoding}', only for {' and '.join(RATIOS)}")
    return found


def _unmeasured(ratios: Mapping[Kind, Ratio]) -> Ratio:
    """Return the widest span: from a token per byte, which no tokenizer exceeds, to the best that any kind reaches."""
    return Ratio(
        median=min(ratio.median for ratio in ratios.values()), p5=1.0, p95=max(ratio.p95 for ratio in ratios.values())
    )


def _bytes_by_kind(text: str, kind: Kind | None) -> tuple[dict[Kind, float], int]:
    """Return how many bytes are of which kind, and all bytes."""
    counts = Counter(text)
    sizes = Counter[Kind]()
    ascii_letters = shared = total = 0
    for character, many in counts.items():
        size = many * len(character.encode("utf-8", errors="surrogatepass"))
        total += size
        if character.isascii() and character.isalnum():
            ascii_letters += size
        elif character.isascii() or unicodedata.category(character).startswith(_SHARED):
            shared += size
        else:
            sizes[_script(character)] += size
    accents = sizes["latin"]
    if accents > _LATIN_SHARE * (ascii_letters + accents):
        kind = kind or "latin"
    plain = ascii_letters + sizes.pop("latin", 0)
    if plain or not sizes:
        sizes[kind or _look(text, counts)] += plain
    letters = sizes.total()
    if not letters:  # nothing but spaces and punctuation
        return ({next(iter(sizes)): float(shared)} if shared else {}), total
    return {each: size * total / letters for each, size in sizes.items() if size}, total


def _script(character: str) -> Kind:
    point = ord(character)
    return next((kind for first, last, kind in _SCRIPTS if first <= point <= last), "other")


def _look(text: str, counts: Mapping[str, int]) -> Kind:
    """Return what a text of ASCII looks like: json, code or english."""
    ends = text.strip()
    if ends[:1] in {"{", "["} and ends[-1:] in {"}", "]"} and '"' in counts:
        return "json"
    symbols = sum(many for character, many in counts.items() if character in _SYMBOLS)
    return "code" if symbols > _CODE_SYMBOLS_SHARE * len(text) else "english"
