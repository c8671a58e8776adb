"""Held-out figures of a model beside gzip, xz and a 5-gram model on the same bytes.

    python -m training.evaluate build/training/8m/model --data build/training [--part test] [--length 1024]

The compressors learn from the very bytes that they compress, the 5-gram model and the decoder from the training part.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from training.export import load_model
from training.measure import Completion, bits_per_byte, completion, score_tokens
from training.ngram import NgramModel
from training.prepare import Part, load_part
from training.tokenizer import Tokenizer

NGRAM_ORDER: Final = 5


@dataclass(frozen=True, slots=True)
class Rivals:
    """Bits per byte of what is not a neural network."""

    gzip_9: float
    xz_9e: float
    ngram_5: float


@dataclass(frozen=True, slots=True)
class Report:
    """All held-out figures of one model."""

    part: str
    bytes: int
    tokens: int
    parameters: int
    length: int
    bits_per_byte: float
    completion: Completion
    rivals: Rivals | None


def rivals(train: Part, part: Part, tokenizer: Tokenizer) -> Rivals:
    """Compress the part, and let the 5-gram model of the training part predict it."""
    text = tokenizer.encoding().decode_bytes([int(token) for token in part.tokens if token != tokenizer.end_of_text])
    model = NgramModel(train.tokens, order=NGRAM_ORDER, vocabulary=tokenizer.vocabulary)
    bits = -np.log2(model.probabilities(part.tokens)[1:])  # the first token is nobody's to predict
    packed = lzma.compress(text, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    return Rivals(
        gzip_9=8 * len(gzip.compress(text, 9)) / len(text),
        xz_9e=8 * len(packed) / len(text),
        ngram_5=float(bits.sum() / len(text)),
    )


def line_breaks(tokenizer: Tokenizer) -> np.ndarray:
    """Return (V,) whether a token ends a line: it holds a line break, or the text ends."""
    found = np.zeros(tokenizer.vocabulary, dtype=bool)
    for token, rank in tokenizer.ranks.items():
        found[rank] = b"\n" in token
    found[tokenizer.end_of_text] = True
    return found


def evaluate(model_path: Path, data: Path, *, part_name: str, length: int, with_rivals: bool, seed: int) -> Report:
    """Return the figures of one model on one part; windows overlap by half."""
    tokenizer, part, model = Tokenizer.load(data), load_part(data, part_name), load_model(model_path)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    scores = score_tokens(model, part, length=length, stride=length // 2)
    return Report(
        part=part_name,
        bytes=int(part.token_bytes[part.tokens].astype(np.int64).sum()),
        tokens=len(part.tokens),
        parameters=model.shape.parameters,
        length=length,
        bits_per_byte=bits_per_byte(scores.bits, part),
        completion=completion(scores, part, line_breaks=line_breaks(tokenizer), seed=seed),
        rivals=rivals(load_part(data, "train"), part, tokenizer) if with_rivals else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out figures of a model.")
    parser.add_argument("model", type=Path, help="an exported folder or a checkpoint")
    parser.add_argument("--data", type=Path, default=Path("build/training"), help="what training.prepare wrote")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--length", type=int, default=512, help="tokens that the model sees at once")
    parser.add_argument("--seed", type=int, default=0, help="of the cursors' places")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    report = evaluate(
        options.model,
        options.data,
        part_name=options.part,
        length=options.length,
        with_rivals=options.rivals,
        seed=options.seed,
    )
    print(json.dumps(asdict(report), indent=1))


if __name__ == "__main__":
    main()
