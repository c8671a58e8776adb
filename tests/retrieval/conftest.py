from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.retrieval.chunk import word_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@dataclass
class WordEmbedder:
    """A real, small embedder: a text is the mean of fixed random directions of its words."""

    max_tokens: int = 8
    dimensions: int = 64
    name: str = "words"
    sha256: str = "0" * 64
    precision: str = "fp32"
    asked: list[str] = field(default_factory=list)

    def token_spans(self, text: str) -> np.ndarray:
        return word_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.extend(texts)
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        words = [text[start:end].lower() for start, end in word_spans(text)[: self.max_tokens]] or [""]
        directions = [np.random.default_rng(zlib.crc32(w.encode())).standard_normal(self.dimensions) for w in words]
        total = np.sum(directions, axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture(scope="session")
def ir_data() -> Path:
    folder = DATA / "ir"
    if not folder.is_dir():
        pytest.skip("the project's trec_eval vectors (../shared/data/ir) are not here")
    return folder


DOCUMENTS = {
    "returns/returns-policy": "# Returns policy\n\nOpened boxes come back within 30 days.\n\nThe fee is 9 EUR.\n",
    "returns/returns-faq": "# Returns questions\n\nA label is printed in Dockside.\n\nFaulty devices are free.\n",
    "power/power-h4": "# H4 battery\n\nSwap it while it is on.\n\nE-4021 means it is too cold to charge.\n",
}
QUESTIONS = {
    "returns": """
- id: returns-01
  kind: paraphrase
  text: How long may I keep an unsealed item?
  evidence:
    - document: returns-policy
      quote: "Opened boxes come back within 30 days."
      grade: 2
- id: returns-02
  kind: multi_document
  text: Who pays for a parcel and where is the label?
  evidence:
    - {document: returns-policy, quote: "The fee is 9 EUR.", grade: 2}
    - {document: returns-faq, quote: "A label is printed in Dockside.", grade: 1}
- id: returns-03
  kind: unanswerable
  text: Can I return an item in person?
""",
    "power": """
- id: power-01
  kind: exact_code
  text: What does E-4021 mean?
  evidence:
    - {document: power-h4, quote: "E-4021 means it is too cold to charge.", grade: 2}
""",
}


@pytest.fixture
def corpus_root(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "rag")


@pytest.fixture
def edited_corpus(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of the small corpus with some of its files replaced."""

    def write(**files: str) -> Path:
        return write_corpus(tmp_path / "rag", {name.replace("__", "/"): text for name, text in files.items()})

    return write


def write_corpus(root: Path, edits: dict[str, str] | None = None) -> Path:
    files = {f"corpus/{name}.md": text for name, text in DOCUMENTS.items()}
    files |= {f"questions/{name}.yaml": text for name, text in QUESTIONS.items()}
    files |= edits or {}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
