"""A decoder that reads a prompt, is asked several things behind it, and goes back to any earlier token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.position_cases import Ending
    from llmdrill.lab.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer: the log-probability of all its tokens in nats, and whether each was the likeliest."""

    nats: float
    exact: bool


class Reader:
    """A decoder and one prompt that it has read.

    Attributes:
        tokenizer: Of the decoder.
        start: The token that stands before every prompt, or none.
    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, *, start: int | None) -> None:
        self.tokenizer = tokenizer
        self.start = [] if start is None else [start]
        self._session = decoder.start(sequences=1, capacity_tokens=decoder.shape.max_positions)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        return self.tokenizer.decode(list(ids))

    def read(self, ids: Sequence[int], *, after: int = 0) -> None:
        """Read tokens behind the first ``after`` tokens of the prompt that was read before, which stay."""
        kept = after + len(self.start) if after else 0
        self._session.cache.keep(kept)
        self._session.prefill([ids if kept else [*self.start, *ids]])

    def ask(self, ending: Ending) -> Asked:
        """Return what is said of an ending's answer behind the prompt, which stays as it is."""
        cue, answer = ending_tokens(ending, self.tokenizer)
        read = int(self._session.cache.lengths[0])
        logits = self._session.verify(torch.tensor([[*cue, *answer[:-1]]]))[0, len(cue) - 1 :]  # (T, V)
        self._session.cache.keep(read)
        said, wanted = logits.float().log_softmax(dim=-1), torch.tensor(answer)
        nats = said.gather(1, wanted[:, None]).sum()
        return Asked(float(nats), bool((said.argmax(dim=-1) == wanted).all()))


def ending_tokens(ending: Ending, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the tokens of cue and answer, cut as one text: the answer begins where the cue alone is cut otherwise."""
    cue, whole = tokenizer.encode(ending.cue), tokenizer.encode(ending.cue + ending.answer)
    same = next((at for at, (one, other) in enumerate(zip(cue, whole, strict=False)) if one != other), len(cue))
    return whole[:same], whole[same:]
