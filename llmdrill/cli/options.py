"""Options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; the same as --format json.")]
Format = Annotated[Literal["text", "json", "markdown"], typer.Option("--format", help="How to print the result.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colour and no boxes: words only.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything drawn at random.")]
Draws = Annotated[int, typer.Option("--draws", min=100, max=1_000_000, help="Requests drawn for the percentiles.")]
Embedder = Annotated[
    str | None, typer.Option("--embedder", help="Folder of the embedding model, if not the installed one.")
]
