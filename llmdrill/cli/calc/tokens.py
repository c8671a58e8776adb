"""`llmdrill calc tokens`: how many tokens a text has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.errors import ContentError, Mistake, UsageError

MAX_TEXT_BYTES: Final = 50_000_000


def tokens(
    *,
    file: Annotated[str | None, typer.Argument(help="A UTF-8 text file, or - for standard input.")] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as o200k_base or cl100k_base.")] = None,
    model: Annotated[str | None, typer.Option(help="An API model with a public tokenizer.")] = None,
    approximate: Annotated[bool, typer.Option("--approximate", help="Count roughly, from the bytes alone.")] = False,
) -> Answer:
    """Count the tokens of a text."""
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.tokens import BYTES_PER_TOKEN, approximate_tokens, count_tokens

    name = _encoding(encoding, model, approximate=approximate)
    read = _text(text, file)
    size = len(read.encode("utf-8", errors="surrogatepass"))
    value = count_tokens(read, name) if name else approximate_tokens(read)
    if name is None:
        derivation = ("ceil(bytes / bytes per token)", f"ceil({size} / {BYTES_PER_TOKEN:g}) = {value}")
        source = "measured ratio; see approximate_tokens"
    else:
        derivation = (f"length of the {name} encoding", f"{size} B → {value}")
        source = "tiktoken, the published rank file"
    return Answer(
        calculator="tokens",
        lines=(f"{value:,} tokens" if name else f"about {value:,} tokens",),
        figures=(
            Explained("tokens", value, "count", *derivation, source),
            Explained("text_bytes", size, "bytes", "length in UTF-8", f"{size} B", "Arithmetic"),
        ),
        inputs={"exact": name is not None, "encoding": name},
    )


def _encoding(encoding: str | None, model: str | None, *, approximate: bool) -> str | None:
    """Return the encoding to count with; None for a rough count."""
    from llmdrill.estimate.tokens import encoding_of

    if encoding is not None and model is not None:
        raise UsageError("give --encoding or --model, not both")
    if approximate:
        return None
    if encoding is None and model is None:
        raise UsageError("which tokenizer? give --encoding (such as o200k_base), --model, or --approximate")
    return encoding if encoding is not None else encoding_of(str(model))


def _text(text: str | None, file: str | None) -> str:
    """Return the text to count: given, from a file, or from standard input."""
    if (text is None) == (file is None):
        raise UsageError("give one text: --text TEXT, a FILE, or - for standard input")
    if text is not None:
        return text
    name = "standard input" if file == "-" else str(file)
    try:
        raw = typer.get_binary_stream("stdin").read(MAX_TEXT_BYTES + 1) if file == "-" else _read(Path(str(file)))
    except OSError as error:
        raise ContentError([Mistake(name, 1, 1, "", f"cannot be read: {error.strerror}")]) from error
    if len(raw) > MAX_TEXT_BYTES:
        raise ContentError([Mistake(name, 1, 1, "", f"is larger than {MAX_TEXT_BYTES // 1_000_000} MB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContentError([Mistake(name, line, 1, "", "is not UTF-8")]) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TEXT_BYTES + 1)
