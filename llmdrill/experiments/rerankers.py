"""The rerankers that can run here, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import MissingExtraError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.rerank import Encode, Reranker

RerankerName = Literal["bi-encoder", "maxsim", "cross-encoder"]
BI_ENCODER: Final = "bi-encoder"
MAXSIM: Final = "maxsim"
CROSS_ENCODER: Final = "cross-encoder"
RERANKERS: Final = (BI_ENCODER, MAXSIM, CROSS_ENCODER)


def make_reranker(
    name: str, embedder: Embedder, *, cache: EmbeddingCache | None = None, cross_encoder: str | None = None
) -> Reranker:
    """Return a reranker that encodes texts when it is asked.

    Args:
        name: One of ``RERANKERS``.
        embedder: Whose vectors, or token vectors, the first two compare.
        cache: Of the vectors of whole texts.
        cross_encoder: Folder or hub id of the third.

    Raises:
        UnknownNameError: If there is no such reranker.
        UsageError: If the cross-encoder is not named, or the embedder gives no token vectors.
        ModelFileError, MissingExtraError: As ``load_cross_encoder`` says.
    """
    from llmdrill.retrieval.rerank import BiEncoderReranker, MaxSimReranker, text_vectors

    if name == BI_ENCODER:
        return BiEncoderReranker(text_vectors(embedder, cache))
    if name == MAXSIM:
        return MaxSimReranker(token_encoder(embedder))
    if name != CROSS_ENCODER:
        raise UnknownNameError("reranker", name, RERANKERS)
    if cross_encoder is None:
        raise UsageError("a cross-encoder is not shipped: name one with --cross-encoder FOLDER_OR_ID")
    try:
        from llmdrill.lab.cross_encoder import load_cross_encoder
    except ImportError as error:
        raise MissingExtraError("a cross-encoder", "lab") from error
    return replace(load_cross_encoder(cross_encoder), name=CROSS_ENCODER)  # which one it is, the person has said


def token_encoder(embedder: Embedder) -> Encode:
    """Return what gives the token vectors of texts of any length.

    Raises:
        UsageError: If the embedder keeps its token vectors to itself.
    """
    from llmdrill.lab.embed import MiniLm, token_vectors
    from llmdrill.retrieval.rerank import of_windows

    real = getattr(embedder, "loaded", embedder)  # the embedder may wait with its weights
    if not isinstance(real, MiniLm):
        raise UsageError(f"the embedder '{embedder.name}' gives no token vectors: maxsim needs them")
    return of_windows(lambda texts: token_vectors(real, texts), embedder)
