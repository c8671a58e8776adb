"""`llmdrill calc tokens`: how many tokens a text has, and which encoding a model counts in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity
from llmdrill.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained

Kind_ = Literal["english", "code", "json", "latin"]
_CHAT: str = "a chat request adds a few tokens per message"


def tokens(
    *,
    file: Annotated[str | None, typer.Argument(help="A UTF-8 text file, or - for standard input.")] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as o200k_base or cl100k_base.")] = None,
    model: Annotated[str | None, typer.Option(help="A model; without a text: which encoding it has.")] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Count roughly, from the bytes alone: no rank file, no network.")
    ] = False,
    kind: Annotated[
        Kind_ | None, typer.Option(help="With --approximate: what the text is; default seen from the text.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Longest wait for the network, where the rank file is absent.")] = "8s",
) -> Answer:
    """Count the tokens of a text."""
    name = _encoding(encoding, model, approximate=approximate)
    if kind is not None and not approximate:
        raise UsageError("--kind goes with --approximate")
    wait_s = quantity("timeout", timeout, "seconds")
    if text is None and file is None and model is not None:
        return _of_model(model, name)
    read = _text(text, file)
    return _rough(read, name, kind, model) if approximate else _exact(read, str(name), wait_s)


def _encoding(encoding: str | None, model: str | None, *, approximate: bool) -> str | None:
    """Return the encoding to count with; None for a rough count that names none."""
    from llmdrill.estimate.tokens import RANK_FILES, encoding_of

    if encoding is not None and model is not None:
        raise UsageError("give --encoding or --model, not both")
    if encoding is not None:
        if encoding not in RANK_FILES:
            raise UnknownNameError("encoding", encoding, RANK_FILES)
        return encoding
    if model is None:
        if approximate:
            return None
        raise UsageError("which tokenizer? give --encoding (such as o200k_base), --model, or --approximate")
    try:
        return encoding_of(model)
    except UsageError:
        if approximate:  # known, but its tokenizer is not public
            return None
        raise


def _text(text: str | None, file: str | None) -> str:
    """Return the text to count: given, from a file, or from standard input."""
    if (text is None) == (file is None):
        raise UsageError("give one text: --text TEXT, a FILE, or - for standard input")
    if text is not None:
        return text
    from llmdrill.cli.calc.files import text_of

    return text_of(str(file))


def _of_model(model: str, name: str | None) -> Answer:
    told = f"{model} counts in {name}" if name else f"no public tokenizer of {model} is known"
    return Answer(
        calculator="tokens",
        lines=(told,),
        figures=(),
        inputs={"exact": None, "encoding": name, "model": model},
        unknown=("tokens", "text_bytes"),
    )


def _exact(read: str, name: str, wait_s: float) -> Answer:
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.tokens import count_tokens

    value = count_tokens(read, name, timeout_s=wait_s)
    size = len(read.encode("utf-8", errors="surrogatepass"))
    source = "tiktoken, the published rank file"
    counted = Explained("tokens", value, "count", f"length of the {name} encoding", f"{size:,} B → {value:,}", source)
    return Answer(
        calculator="tokens",
        lines=("1 token" if value == 1 else f"{value:,} tokens",),
        figures=(counted, _size(size)),
        inputs={"exact": True, "encoding": name},
        notes=(_CHAT,),
    )


def _rough(read: str, name: str | None, kind: Kind_ | None, model: str | None) -> Answer:
    from llmdrill.estimate.token_ratio import approximate_tokens

    rough = approximate_tokens(read, encoding=name or "o200k_base", kind=kind)
    figures = (
        _rough_figure("tokens", rough.tokens, "round up", "the median text", [(n, r.median) for n, r in rough.parts]),
        _rough_figure("tokens_low", rough.low, "round down", "the 95 % quantile", [(n, r.p95) for n, r in rough.parts]),
        _rough_figure("tokens_high", rough.high, "round up", "the 5 % quantile", [(n, r.p5) for n, r in rough.parts]),
    )
    notes = ["approximate: the span holds 9 of 10 of the measured texts of that kind; short texts are worst"]
    if not rough.measured:
        notes.append("a script of this text has no measured ratio: its span is as wide as any tokenizer could make it")
    if name is None:
        whose = f"{model} has no public tokenizer: " if model else ""
        notes.append(f"{whose}ratios of o200k_base are taken; another tokenizer may differ by more than the span")
    return Answer(
        calculator="tokens",
        lines=(f"about {rough.tokens:,} tokens ({rough.low:,} to {rough.high:,}), {rough.kind}",),
        figures=(*figures, _size(rough.text_bytes)),
        inputs={"exact": False, "encoding": name, "kind": rough.kind},
        notes=tuple(notes),
    )


def _rough_figure(name: str, value: int, rounding: str, whose: str, parts: list[tuple[float, float]]) -> Explained:
    from llmdrill.estimate.explain import Explained, figure

    terms = " + ".join(f"{figure(size)} / {ratio:g}" for size, ratio in parts) or "0"
    said, put = f"{rounding}(sum over kinds of text of bytes / bytes per token)", f"{rounding}({terms})"
    if name == "tokens_low" and parts:
        said, put = f"max(1, {said})", f"max(1, {put})"
    source = "measured by benchmarks/token_ratio.py; see approximate_tokens"
    return Explained(name, value, "count", f"{said}, ratios of {whose}", f"{put} = {value:,}", source)


def _size(size: int) -> Explained:
    from llmdrill.estimate.explain import Explained

    return Explained("text_bytes", size, "bytes", "length in UTF-8", f"{size:,} B", "Arithmetic")
