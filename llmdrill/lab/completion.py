"""Complete a line: pack the prompt, heal its last token, and step an engine that can be left at any token.

Shapes in comments: V vocabulary.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.tokenizer import Tokenizer

CHARACTERS_PER_TOKEN: Final = 3  # of Python, on the safe side: the embedded tokenizer makes 3.6 bytes a token
LEAST_TOKENS: Final = 2
FEW_TOKENS: Final = 16  # up to so many are read as steps of the decoding engine, which is faster than a prefill
CHUNK_TOKENS: Final = 128  # of a prefill, between which a request can be left


@dataclass(frozen=True, slots=True)
class Lengths:
    """The most tokens of a prompt and of a completion."""

    context_tokens: int
    max_new_tokens: int

    @property
    def prompt_characters(self) -> int:
        """Return how much text fills the prompt."""
        return CHARACTERS_PER_TOKEN * self.context_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a completion is started with.

    Attributes:
        ids: Tokens that the engine reads.
        healed: The bytes behind them, which the first tokens written must spell again.
    """

    ids: tuple[int, ...]
    healed: bytes


@dataclass(frozen=True, slots=True)
class Completion:
    """The rest of a line as an engine wrote it.

    Attributes:
        text: From the cut to the end of the line.
        tokens: Written, with those that spell the healed bytes and the one that ends the line.
        mean_logprob: Mean natural logarithm of their probabilities, among the tokens that were allowed there.
        ended: Whether the line ended, or was cut at the most tokens.
        prompt_tokens: Of the prompt.
        read_tokens: Of those, the ones that were not in the cache.
        ttft_s: From the request to the first token.
        total_s: From the request to the last token.
    """

    text: str
    tokens: int
    mean_logprob: float
    ended: bool
    prompt_tokens: int
    read_tokens: int
    ttft_s: float
    total_s: float


class Vocabulary:
    """The bytes of every token, and which tokens may stand where bytes are still to be spelled."""

    def __init__(self, tokenizer: Tokenizer, *, vocab: int) -> None:
        if tokenizer.vocabulary > vocab:
            raise UsageError(f"the tokenizer has {tokenizer.vocabulary} tokens, but the model {vocab}")
        known = ((tokenizer.token_bytes(token), token) for token in range(tokenizer.vocabulary))
        self._sorted = sorted((spelled, token) for spelled, token in known if spelled)
        if not self._sorted:
            raise UsageError("this tokenizer does not tell the bytes of its tokens, which completing half a word needs")
        self._token = dict(self._sorted)
        self.bytes = {token: spelled for spelled, token in self._sorted}

    def allowed(self, wanted: bytes) -> list[int]:
        """Return the tokens that begin with the wanted bytes, or that these begin with."""
        at = bisect_left(self._sorted, (wanted, -1))
        tokens = []
        while at < len(self._sorted) and self._sorted[at][0].startswith(wanted):
            tokens.append(self._sorted[at][1])
            at += 1
        parts = (self._token.get(wanted[:length]) for length in range(1, len(wanted)))
        return [*tokens, *(token for token in parts if token is not None)]


class Completer:
    """A line completer on one sequence of an engine, with the last request's keys and values kept as prefix cache."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        lengths: Lengths,
        *,
        start_id: int | None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        context, most, room = lengths.context_tokens, lengths.max_new_tokens, decoder.shape.max_positions
        if context + most > room or min(context, most) < LEAST_TOKENS:
            raise UsageError(
                f"{context} tokens of prompt and {most} of completion: at least {LEAST_TOKENS} of each, and together "
                f"at most {room}, this model's context"
            )
        self.tokenizer, self.vocabulary = tokenizer, Vocabulary(tokenizer, vocab=decoder.shape.vocab)
        self.lengths, self.start_id, self.now = lengths, start_id, now
        self.session = decoder.start(sequences=1, capacity_tokens=context + most)
        self.cached: list[int] = []  # the tokens whose keys and values the session holds

    def pack(self, before: str, *, heal: bool = True) -> Prompt:
        """Return the prompt for the text before the cursor.

        Its beginning moves in blocks of lines, so that two keystrokes in a row share a long prefix. With ``heal``
        tokens that the next characters could change are left off and spelled again by the engine.

        Source:
            Lundberg and Ribeiro 2023, "Prompt boundaries and token healing" (guidance documentation): drop the last
            token, and let the first one written begin with its text. Here the whole word before the cursor is dropped.
        """
        window = _window(before, characters=self.lengths.prompt_characters)
        ids = [
            *([self.start_id] if self.start_id is not None and window == before else []),
            *self.tokenizer.encode(window),
        ]
        kept = ids[-self.lengths.context_tokens :]
        dropped = _unfinished(kept, self.vocabulary.bytes) if heal else 0
        healed = b"".join(self.vocabulary.bytes[token] for token in kept[len(kept) - dropped :])
        return Prompt(tuple(kept[: len(kept) - dropped]), healed)

    def request(self, before: str, *, reuse: bool = True, heal: bool = True) -> Request:
        """Return a request to complete the line that ``before`` ends in; nothing has run yet.

        Args:
            before: Text before the cursor.
            reuse: Whether keys and values of the prefix shared with the last request are kept.
            heal: Whether the word before the cursor is taken back (see ``pack``).
        """
        return Request(self, before, reuse=reuse, heal=heal)

    def complete(self, before: str, *, reuse: bool = False, heal: bool = True) -> Completion:
        """Return the finished completion."""
        request = self.request(before, reuse=reuse, heal=heal)
        while not request.done:
            request.step()
        return request.completion()


class Request:
    """One completion under way: ``step`` does one piece of engine work, and whoever holds it may stop asking.

    A request that is left costs nothing more; what it wrote into the cache is the next one's prefix if it fits.
    """

    def __init__(self, completer: Completer, before: str, *, reuse: bool, heal: bool) -> None:
        self._of, self._now = completer, completer.now
        self._started_s = self._last_s = self._now()
        self._first_s: float | None = None
        self.prompt = completer.pack(before, heal=heal)
        kept = _shared(completer.cached, self.prompt.ids) if reuse else 0
        self._unread = list(self.prompt.ids[min(kept, len(self.prompt.ids) - 1) :])
        self.read_tokens = len(self._unread)
        completer.cached = list(self.prompt.ids[: len(self.prompt.ids) - len(self._unread)])
        completer.session.cache.keep(len(completer.cached))
        self._wanted, self.written, self._spelled, self._logprob = self.prompt.healed, 0, b"", 0.0
        self.done = self.ended = False
        self.last_id: int | None = None  # the last token written

    @property
    def worked_s(self) -> float:
        """Return the seconds from the request to the end of the last step."""
        return self._last_s - self._started_s

    def step(self) -> None:
        """Read a chunk of the prompt, or read the last token written; choose the next one when all is read."""
        chunk, self._unread = self._unread[:CHUNK_TOKENS], self._unread[CHUNK_TOKENS:]
        logits = self._read(chunk)  # (V,)
        if not self._unread:
            self._choose(logits)
        self._last_s = self._now()
        if self.written == 1 and self._first_s is None:
            self._first_s = self._last_s

    def _read(self, chunk: list[int]) -> Tensor:
        session = self._of.session
        self._of.cached += chunk
        if len(chunk) <= FEW_TOKENS:
            return session.verify(torch.tensor([chunk]))[0, -1]
        return session.prefill([chunk])[0]

    def _choose(self, logits: Tensor) -> None:
        logprobs = self._allowed(logits.float()).log_softmax(dim=-1)
        token = int(logprobs.argmax())
        spelled = self._of.vocabulary.bytes.get(token)
        self.written += 1
        self._logprob += float(logprobs[token])
        self.ended = spelled is None or b"\n" in spelled or b"\r" in spelled
        if not self._wanted or spelled is None:
            self._spelled += spelled or b""
        else:
            self._spelled += spelled[len(self._wanted) :]
            self._wanted = self._wanted[len(spelled) :]
        self._unread, self.last_id = [token], token
        self.done = self.ended or self.written == self._of.lengths.max_new_tokens

    def _allowed(self, logits: Tensor) -> Tensor:
        """Return the logits (V,), with those of tokens that do not spell the healed bytes at minus infinity."""
        if not self._wanted:
            return logits
        tokens = self._of.vocabulary.allowed(self._wanted)
        return torch.full_like(logits, -torch.inf).index_copy(0, torch.tensor(tokens), logits[tokens])

    def completion(self) -> Completion:
        """Return what was written, at least one token."""
        line = self._spelled.decode("utf-8", errors="replace").replace("\r", "\n").partition("\n")[0]
        return Completion(
            text=line.rstrip(),
            tokens=self.written,
            mean_logprob=self._logprob / self.written,
            ended=self.ended,
            prompt_tokens=len(self.prompt.ids),
            read_tokens=self.read_tokens,
            ttft_s=(self._last_s if self._first_s is None else self._first_s) - self._started_s,
            total_s=self.worked_s,
        )


def _window(before: str, *, characters: int) -> str:
    """Return the end of a text, about so many characters, from a line's beginning that moves in steps of a quarter."""
    if len(before) <= characters:
        return before
    step = max(1, characters // 4)
    begin = -(-(len(before) - characters) // step) * step
    line = before.find("\n", begin) + 1
    return before[line or begin :]


def _unfinished(ids: Sequence[int], spelled: dict[int, bytes]) -> int:
    """Return how many tokens at the end the next characters may change: the last one, and all of the word it ends.

    A line break is none of them: it ends with the indentation, where completions begin. One token is always left.
    """
    dropped = 0
    while dropped < len(ids) - 1:
        text = spelled.get(ids[len(ids) - 1 - dropped], b"\n")
        follows = spelled.get(ids[len(ids) - dropped], b" ") if dropped else b""
        if b"\n" in text or b"\r" in text or (dropped and not (text[-1:].isalpha() and follows[:1].isalpha())):
            break
        dropped += 1
    return dropped


def _shared(cached: Sequence[int], wanted: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    count = 0
    for ours, theirs in zip(cached, wanted, strict=False):
        if ours != theirs:
            break
        count += 1
    return count
