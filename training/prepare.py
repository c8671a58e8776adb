"""From the source release to token files: split, tokenizer, tokens of every part. Done once; the result is checked.

python -m training.prepare --out build/training [--source Python-3.13.5.tar.xz]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.data import Document, load_corpus
from training.tokenizer import Tokenizer, differing, export_ranks, train_bpe

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY: Final = 4096
PARTS: Final = ("train", "validation", "test")
FACTS_FILE: Final = "corpus.json"


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one part: every file after an end-of-text token.

    Attributes:
        tokens: (N,) of uint16.
        starts: (files,) where each file's end-of-text token stands.
        token_bytes: (V,) the bytes of text that each token stands for: none for end-of-text.
    """

    tokens: NDArray[np.uint16]
    starts: NDArray[np.int64]
    token_bytes: NDArray[np.uint16]


def prepare(source: Path | None, out: Path) -> dict[str, Any]:
    """Write tokenizer and tokens of every part to ``out``, and return the facts about them."""
    out.mkdir(parents=True, exist_ok=True)
    documents, counts = load_corpus(source, download_to=out)
    trained = train_bpe((one.text for one in documents if one.part == "train"), vocabulary=VOCABULARY)
    tokenizer = export_ranks(trained)
    wrong = differing(trained, tokenizer, [one.text for one in documents])
    if wrong:
        raise SystemExit(f"{documents[wrong[0]].path}: tiktoken and the trained tokenizer differ ({len(wrong)} files)")
    tokenizer.save(out)
    facts: dict[str, Any] = {**asdict(counts), "vocabulary": tokenizer.vocabulary, "tokens_by_part": {}}
    facts["files_tokenised_identically"] = len(documents)
    for part in PARTS:
        mine = sorted((one for one in documents if one.part == part), key=lambda one: one.path)
        tokens, starts = encode(tokenizer, mine)
        np.save(out / f"{part}.tokens.npy", tokens)
        np.save(out / f"{part}.starts.npy", starts)
        facts["tokens_by_part"][part] = len(tokens)
        (out / f"{part}.files.json").write_text(json.dumps([one.path for one in mine], indent=0), encoding="utf-8")
    (out / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def encode(tokenizer: Tokenizer, documents: list[Document]) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return the tokens of all files on end, an end-of-text token before each, and where these stand."""
    encoding = tokenizer.encoding()
    pieces = [[tokenizer.end_of_text, *encoding.encode_ordinary(one.text)] for one in documents]
    starts = np.cumsum([0, *map(len, pieces[:-1])], dtype=np.int64)
    return np.fromiter((token for piece in pieces for token in piece), dtype=np.uint16), starts


def load_part(folder: Path, part: str) -> Part:
    """Read the tokens of one part."""
    if not (folder / FACTS_FILE).exists():
        raise SystemExit(f"{folder}: no tokens here yet: python -m training.prepare --out {folder}")
    tokens, starts = (np.load(folder / f"{part}.{name}.npy") for name in ("tokens", "starts"))
    return Part(tokens, starts, Tokenizer.load(folder).token_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Split, train the tokenizer, tokenise.")
    parser.add_argument("--source", type=Path, help="tarball or folder of the release; else it is downloaded")
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    options = parser.parse_args()
    print(json.dumps(prepare(options.source, options.out), indent=1))


if __name__ == "__main__":
    main()
