"""Options that the experiments on retrieval share, so that they read alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.experiments.retrieval_bench import Bench

Retriever = Literal["dense", "keyword", "hybrid"]
Fusion = Literal["rrf", "linear"]
Split = Literal["dev", "test", "all"]
Match = Literal["chunk", "sentence"]

CorpusOption = Annotated[
    str,
    typer.Option(
        "--corpus",
        metavar="NAME_OR_FOLDER",
        help="The shipped corpus `rag`, `pydoc` (this Python's docstrings), a folder in BEIR layout, or any documents.",
    ),
]
QuestionsOption = Annotated[
    Path | None,
    typer.Option("--questions", metavar="FILE", help="Labelled questions for a folder of documents (YAML)."),
]
AllowMissingOption = Annotated[
    bool, typer.Option("--allow-missing", help="Leave out judgements of documents that the corpus lacks.")
]
EmbedderOption = Annotated[
    Path | None,
    typer.Option("--embedder", metavar="FOLDER", help="A BERT encoder on disk; default: the installed one."),
]
RetrieverOption = Annotated[Retriever, typer.Option("--retriever", help="By vectors, by keywords (BM25), or by both.")]
ChunkerOption = Annotated[
    str, typer.Option("--chunker", help="fixed, recursive, sentence, structural or semantic: where text is cut.")
]
MatchOption = Annotated[
    Match, typer.Option("--match", help="What is compared with the question; the chunk around it is returned.")
]
ChunkTokensOption = Annotated[
    int, typer.Option("--chunk-tokens", min=1, max=1_000_000, help="Budget of a chunk, in the embedder's tokens.")
]
OverlapOption = Annotated[
    int, typer.Option("--overlap", min=0, help="Of them, tokens that a chunk may repeat from the one before.")
]
KOption = Annotated[int, typer.Option("--k", min=1, max=10_000, help="Chunks returned (documents, where they rank).")]
CandidatesOption = Annotated[
    int, typer.Option("--candidates", min=1, max=100_000, help="Chunks that each side puts into the fusion.")
]
FusionOption = Annotated[
    Fusion, typer.Option("--fusion", help="Of a hybrid: reciprocal ranks, or scores brought to one scale and added.")
]
DenseWeightOption = Annotated[
    float, typer.Option("--dense-weight", min=0.0, max=1.0, help="Weight of vectors in linear fusion.")
]
StemOption = Annotated[bool, typer.Option("--stem", help="Reduce words to their stems for BM25 (extra `stem`).")]
TruncateOption = Annotated[
    bool, typer.Option("--truncate", help="Embed only what the embedder sees at once of a chunk: the trap.")
]
SplitOption = Annotated[Split, typer.Option("--split", help="Questions to score; designs are tuned on dev.")]
CompareOption = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        metavar="SETTINGS",
        help="A further design, as it differs: 'retriever=dense,chunk_tokens=128'. Repeat for more.",
    ),
]
LlmOption = Annotated[
    str | None, typer.Option("--llm", metavar="NAME", help="A priced model of the catalogue that reads what is found.")
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Neither read nor keep embeddings: everything is computed anew.")
]


def open_bench(
    corpus: str,
    *,
    questions: Path | None = None,
    allow_missing: bool = False,
    embedder: Path | None = None,
    no_cache: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Return the corpus, the embedder and the cache that these options name; nothing is embedded yet."""
    from llmdrill.experiments.retrieval_bench import load_bench

    return load_bench(
        corpus,
        questions=questions,
        allow_missing=allow_missing,
        embedder=embedder,
        use_cache=not no_cache,
        say=say,
    )
