"""What of a completion design the embedded model tries, and what the result depends on. No torch here."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llmdrill.errors import ModelFileError
from llmdrill.lab.model_files import EMBEDDED, SUMS_FILE
from llmdrill.measurement import measurement_key

if TYPE_CHECKING:
    from llmdrill.lab.typing_trace import TypingPolicy


@dataclass(frozen=True, slots=True)
class SmallModelPlan:
    """What of a design the embedded model can try.

    Attributes:
        lines: Of held-out files, to be completed; 0 for none.
        context_tokens: Of the design's prompt; what does not fit the model is cut off.
        max_new_tokens: Of a completion: the design's cap.
        policy: Its debounce, cancelling and prefix cache; None if the scenario states no typing trace.
        service_total_s: What a request left alone takes by the trace's clock.
    """

    lines: int
    context_tokens: int
    max_new_tokens: int
    policy: TypingPolicy | None
    service_total_s: float

    def key(self, *, seed: int) -> str:
        """Return the key of a measurement of this plan: the plan, the embedded model, its held-out files, the seed."""
        return measurement_key({"plan": asdict(self), "model": embedded_sha256(), "seed": seed})


def embedded_sha256() -> str:
    """Return one hash of all embedded files: that of the list of their hashes.

    Raises:
        ModelFileError: If the list is absent.
    """
    path = EMBEDDED / SUMS_FILE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: this part of llmdrill is absent ({error.strerror}): install it again") from error
