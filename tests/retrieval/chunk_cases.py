"""Texts to cut: Markdown, several scripts, line ends and marks that have tripped chunkers; and an embedder of words."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from llmdrill.retrieval.chunk import word_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = [
    "# Head\n",
    "## Sub\n",
    "word ",
    "two words. ",
    "Ends! Next? ",
    "\n",
    "\n\n",
    "| a | b |\n",
    "```\n",
    "- item\n",
]
PIECES += ["1. one\n", "  indented\n", "naïve Ünïcode ", "E-4021 ", "\t", "日本語。", "\u2028", "# Top\n## Next\n"]
PIECES += ["line\r\n", "\r", "👩‍👩‍👧 ", "ภาษาไทย", "한국어 ", "x" * 90, "e.g.  two ", "\x00", "~~~\n", "\u200b"]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=60).map("".join)


class HashedWords:
    """A real, small embedder: a text is the sum of fixed random directions of its words."""

    name, sha256, max_tokens, dimensions = "hashed-words", "2" * 64, 8, 8

    def token_spans(self, text: str) -> np.ndarray:
        return word_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        words = [text[start:end].lower() for start, end in word_spans(text)[: self.max_tokens]] or [""]
        total = np.sum([np.random.default_rng(zlib.crc32(w.encode())).standard_normal(8) for w in words], axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)
