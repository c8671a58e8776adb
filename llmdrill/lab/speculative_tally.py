"""What speculative decoding did over several texts: sums, and the seconds of each round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.lab.speculative import Continuation


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one text in one round.

    Attributes:
        plain_s: Generating it without drafts, beside it.
        own_s: Generating it with drafts, after the first token.
        start_s: Reading the prompt into the drafter, which plain decoding need not do.
    """

    plain_s: float
    own_s: float
    start_s: float


@dataclass(slots=True)
class Tally:
    """What one variant did over all texts of a setting: the sums, and the seconds of each round.

    Attributes:
        seconds: Generating after the first token, of each round.
        start_s: Reading the prompt into the drafter, of each round.
        plain_s: The same texts without drafts beside it, of each round.
        same: Texts whose tokens were those of plain decoding, and all texts; zero where tokens are sampled.
    """

    seconds: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    plain_s: list[float] = field(default_factory=list)
    tokens: int = 0
    passes: int = 0
    passes_with_draft: int = 0
    drafted: int = 0
    accepted: int = 0
    judged: int = 0
    same: int = 0
    texts: int = 0

    def count(self, made: Continuation, *, same: bool) -> None:
        """Add one text."""
        self.tokens += len(made.tokens)
        self.passes += len(made.drafted)
        self.passes_with_draft += sum(count > 0 for count in made.drafted)
        self.drafted += sum(made.drafted)
        self.accepted += sum(made.accepted)
        self.judged += made.judged
        self.same += same
        self.texts += 1

    def time(self, readings: Sequence[Seconds]) -> None:
        """Add a round: the sums over all texts."""
        self.plain_s.append(sum(one.plain_s for one in readings))
        self.seconds.append(sum(one.own_s for one in readings))
        self.start_s.append(sum(one.start_s for one in readings))

    @property
    def speedups(self) -> list[float]:
        """Return in each round how many times faster it was than plain decoding."""
        return [plain / own for plain, own in zip(self.plain_s, self.seconds, strict=True)]

    @property
    def speedups_with_start(self) -> list[float]:
        """Return the same with the time to read the prompt into the drafter."""
        whole = (own + start for own, start in zip(self.seconds, self.start_s, strict=True))
        return [plain / own for plain, own in zip(self.plain_s, whole, strict=True)]

    @property
    def acceptance_share(self) -> float | None:
        """Return the accepted share of the drafted tokens that were judged; None if none was."""
        return self.accepted / self.judged if self.judged else None

    @property
    def tokens_per_pass(self) -> float:
        """Return the tokens that a pass of the target yields."""
        return self.tokens / self.passes
