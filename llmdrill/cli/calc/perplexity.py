"""`llmdrill calc perplexity`: perplexity, bits per token and bits per byte from log-probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from llmdrill.cli.calc.logprobs import Logprobs

_BASES: Final = {"e": math.e, "2": 2.0, "10": 10.0}
_FIGURES: Final = ("perplexity", "cross_entropy_nats_per_token", "bits_per_token", "bits_per_byte")


def perplexity(
    *,
    file: Annotated[
        str | None, typer.Argument(help="A number a line, a JSON array, or an OpenAI-style response; - for stdin.")
    ] = None,
    logprobs: Annotated[str | None, typer.Option(help="The log-probabilities, such as '-0.5 -1.2 -0.1'.")] = None,
    base: Annotated[Literal["e", "2", "10"], typer.Option(help="Base of their logarithm.")] = "e",
    bytes_: Annotated[str | None, typer.Option("--bytes", help="UTF-8 length of the scored text.")] = None,
) -> Answer:
    """Perplexity from log-probabilities."""
    from llmdrill.estimate.perplexity import explain_perplexity, surprise

    read = _logprobs(file, logprobs)
    text_bytes = quantity("bytes", bytes_, "bytes") if bytes_ is not None else read.text_bytes
    figures = explain_perplexity(surprise(read.values, base=_BASES[base]), text_bytes=text_bytes)
    known = {one.name: one.value for one in figures}
    return Answer(
        calculator="perplexity",
        lines=_lines(known, len(read.values)),
        figures=figures,
        inputs={"tokens": len(read.values), "base": base, "text_bytes": text_bytes},
        notes=(*read.notes, *_notes(known, impossible=read.values.count(-math.inf), text_bytes=text_bytes)),
        unknown=tuple(name for name in _FIGURES if name not in known),
    )


def _logprobs(file: str | None, listed: str | None) -> Logprobs:
    from llmdrill.cli.calc.logprobs import read_logprobs

    if (file is None) == (listed is None):
        raise UsageError("give log-probabilities once: --logprobs '-0.5 -1.2', a FILE, or - for standard input")
    if listed is not None:
        return read_logprobs("\n".join(listed.replace(",", " ").split()), "--logprobs")
    from llmdrill.cli.calc.files import name_of, text_of

    return read_logprobs(text_of(str(file)), name_of(str(file)))


def _lines(known: dict[str, float], tokens: int) -> tuple[str, ...]:
    many = "1 token" if tokens == 1 else f"{tokens:,} tokens"
    if "bits_per_token" not in known:
        return (f"perplexity: unknown over {many}",)
    score = f"{known['perplexity']:,.6g}" if "perplexity" in known else "too large for a number"
    per_byte = f", {known['bits_per_byte']:.4g} bits per byte" if "bits_per_byte" in known else ""
    nats = known["cross_entropy_nats_per_token"]
    return (
        f"perplexity: {score} over {many}",
        f"{nats:.4g} nats = {known['bits_per_token']:.4g} bits per token{per_byte}",
    )


def _notes(known: dict[str, float], *, impossible: int, text_bytes: float | None) -> tuple[str, ...]:
    if impossible:
        who = "1 token has" if impossible == 1 else f"{impossible:,} tokens have"
        return (f"{who} probability 0 (-inf) or an unlisted one (-9999): the perplexity is infinite or unknown",)
    if text_bytes is None:
        return ("perplexities of different tokenizers cannot be compared; bits per byte can: give --bytes",)
    if known.get("bits_per_byte", 0) > 8:
        return ("more than 8 bits per byte is worse than no model: is --bytes the length of exactly this text?",)
    return ()
