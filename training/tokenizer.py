"""The byte-pair tokenizer: trained on the training part, kept as tiktoken ranks, proved equal on every file.

One line break with the indentation after it is one piece, so that a line of code costs one token for both; a name
takes the one character before it (a space, a dot, an underscore) with it; digits come in threes at most.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.lab.byte_letters import byte_of_letter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    import tiktoken
    import tokenizers
    from numpy.typing import NDArray

PATTERN: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+[ \t]*|\s+(?!\S)|\s+"
END_OF_TEXT: Final = "<|endoftext|>"
RANKS_FILE: Final = "tokenizer.tiktoken"
SETTINGS_FILE: Final = "tiktoken.json"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A trained tokenizer: token bytes by rank, and the pattern that cuts text into pieces."""

    ranks: dict[bytes, int]
    pattern: str = PATTERN

    @property
    def end_of_text(self) -> int:
        return len(self.ranks)

    @property
    def vocabulary(self) -> int:
        return len(self.ranks) + 1

    def token_bytes(self) -> NDArray[np.uint16]:
        """Return how many bytes each token stands for (V,)."""
        import numpy as np

        sizes = np.zeros(self.vocabulary, dtype=np.uint16)
        for token, rank in self.ranks.items():
            sizes[rank] = len(token)
        return sizes

    def encoding(self) -> tiktoken.Encoding:
        """Return it as tiktoken knows it."""
        import tiktoken

        special = {END_OF_TEXT: self.end_of_text}
        return tiktoken.Encoding("llmdrill", pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens=special)

    def save(self, folder: Path) -> None:
        """Write the ranks in tiktoken's own format, and the pattern beside them."""
        rows = sorted(self.ranks.items(), key=lambda item: item[1])
        lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in rows]
        (folder / RANKS_FILE).write_text("".join(lines), encoding="utf-8")
        settings = {"pat_str": self.pattern, "special_tokens": {END_OF_TEXT: self.end_of_text}}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read what ``save`` wrote."""
        rows = (line.split() for line in (folder / RANKS_FILE).read_text(encoding="utf-8").splitlines())
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        return cls({base64.b64decode(token): int(rank) for token, rank in rows}, settings["pat_str"])


def train_bpe(texts: Iterable[str], *, vocabulary: int) -> tokenizers.Tokenizer:
    """Train byte-level BPE; ``vocabulary`` counts the 256 bytes, the merges and the end-of-text token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    return trained


def export_ranks(trained: tokenizers.Tokenizer) -> Tokenizer:
    """Return the ranks: the 256 bytes, then every merge in the order in which it was learned."""
    letters = byte_of_letter()
    model: dict[str, Any] = json.loads(trained.to_str())["model"]
    ranks = {bytes([byte]): byte for byte in range(256)}
    for left, right in model["merges"]:
        ranks.setdefault(bytes(letters[letter] for letter in left + right), len(ranks))
    return Tokenizer(ranks)


def encode_trained(trained: tokenizers.Tokenizer, tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the trained tokenizer's tokens as ranks."""
    letters = byte_of_letter()
    return [tokenizer.ranks[bytes(letters[letter] for letter in token)] for token in trained.encode(text).tokens]


def differing(trained: tokenizers.Tokenizer, tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return which texts the exported ranks cut differently from the trained tokenizer, or do not give back."""
    encoding = tokenizer.encoding()
    found = []
    for at, text in enumerate(texts):
        tokens = encoding.encode_ordinary(text)
        if tokens != encode_trained(trained, tokenizer, text) or encoding.decode(tokens) != text:
            found.append(at)
    return found
