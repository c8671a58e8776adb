"""Speech into text."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Seconds, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, StageBase, explain, spread

P50_S: Final = 0.300
P95_S: Final = 0.900
WHY: Final = "a transcript is assumed to be ready 300 ms (p95 900 ms) after the person stops: it was streamed meanwhile"


class Transcribe(StageBase):
    """Settings of a transcription."""

    sentence: ClassVar[str] = "The text is there soon after the person stops speaking; billed by the minute of audio."
    kind: Literal["transcribe"]
    usd_per_minute: Usd | None = None
    seconds_of_audio: Seconds | None = None

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time after the last word."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price per minute
        """Return minutes times price."""
        return per_minute(self.usd_per_minute, self.seconds_of_audio)


def per_minute(usd_per_minute: float | None, seconds_of_audio: float | None) -> Cost:
    """Return the cost of a run billed by the minute of audio; unknown if either figure is."""
    if usd_per_minute is None or seconds_of_audio is None:
        return Cost(None, notes=("the cost of audio is unknown: give usd_per_minute and seconds_of_audio",))
    usd = usd_per_minute * seconds_of_audio / 60
    filled = f"{usd_per_minute:g} × {seconds_of_audio:g} / 60"
    shown = explain("usd_per_run", usd, "usd", "usd_per_minute × seconds_of_audio / 60", filled, "your figures")
    return Cost(usd, shown=(shown,))
