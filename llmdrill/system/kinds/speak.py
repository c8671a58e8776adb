"""Text into speech."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Seconds, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, StageBase, spread
from llmdrill.system.kinds.transcribe import per_minute

P50_S: Final = 0.250
P95_S: Final = 0.700
WHY: Final = "speech is assumed to start 250 ms (p95 700 ms) after the text is there"


class Speak(StageBase):
    """Settings of speech synthesis."""

    sentence: ClassVar[str] = "Sound starts soon after the text is there; billed by the minute of audio."
    kind: Literal["speak"]
    usd_per_minute: Usd | None = None
    seconds_of_audio: Seconds | None = None

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time to the first sound."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price per minute
        """Return minutes times price."""
        return per_minute(self.usd_per_minute, self.seconds_of_audio)
