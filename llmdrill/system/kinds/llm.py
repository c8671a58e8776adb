"""A language model writes the answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from llmdrill.system.kinds.model_call import ModelCall


class Llm(ModelCall):
    """Settings of a language model: those of a call; it streams."""

    sentence: ClassVar[str] = (
        "TTFT, then one token after another: total = TTFT + (output tokens − 1) × TPOT; billed by the token, "
        "or by the hour of its accelerators."
    )
    streams: ClassVar[bool] = True
    kind: Literal["llm"]
