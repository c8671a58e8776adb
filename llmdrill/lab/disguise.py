"""Undo what people do to words to get past a filter: look-alike letters, digits for letters, letters set apart."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Letters of other scripts that look like Latin ones, after case folding and without marks.
_LOOK_ALIKES: Final = str.maketrans(
    dict(zip("авекмнорстухіјѕԁӏ", "abekmhopctyxijsdl", strict=True))
    | dict(zip("αβεικνορτυχ", "abeikvoptux", strict=True)),
)
_DIGITS_FOR_LETTERS: Final = str.maketrans("013457@$!€|", "oieastasiel")
_WORD: Final = re.compile(r"\S+")
_NUMBER: Final = re.compile(r"[$€£]?\d[\d.,:/x-]*(?:[a-z]{1,2}|st|nd|rd|th)?[$€%!?.,)]*")  # 12.50€, 4x4, 90cm, 3rd
_SET_APART: Final = re.compile(r"(?<!\w)\w([ .\-_*·]{1,2})\w(?:\1\w)+(?!\w)")
_BETWEEN: Final = re.compile(r"[ .\-_*·]+")


def undo_disguise(text: str) -> str:
    """Return ``text`` in plain lower-case letters; prices, sizes and times keep their digits.

    Formula:
        NFKC and case folding; marks and invisible characters out; look-alike letters to Latin; digits and signs to
        letters inside words that are not numbers; runs of three or more letters set apart joined.

    Error:
        Euphemism, emoji and misspelling stay; "a b r i c k" becomes one word; a model number such as "s10" may lose its
        digits.

    >>> undo_disguise("Fr€€ c0dе, s c a m for 25€")
    'free code, scam for 25€'
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    shown = "".join(char for char in folded if unicodedata.category(char) not in {"Mn", "Cf"})
    latin = unicodedata.normalize("NFC", shown).translate(_LOOK_ALIKES)
    return _SET_APART.sub(_join, _WORD.sub(_letters, latin))


def _letters(word: re.Match[str]) -> str:
    whole = word[0]
    if _NUMBER.fullmatch(whole) or not any(char.isalpha() for char in whole):
        return whole
    body = whole.rstrip("!.,?:;)")  # a closing exclamation mark is no i
    return body.translate(_DIGITS_FOR_LETTERS) + whole[len(body) :]


def _join(run: re.Match[str]) -> str:
    return _BETWEEN.sub("", run[0])
