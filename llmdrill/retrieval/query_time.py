"""How long it takes to embed a query alone: read now, or when it was embedded on this machine before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.retrieval.embed import embedding_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.embed import Embedder
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
    from llmdrill.retrieval.progress import Progress

MOST_TIMED: Final = 100  # queries: enough for a 95th percentile


def query_embedding_s(
    queries: Sequence[str],
    embedder: Embedder,
    *,
    machine: str,
    cache: DiskEmbeddingCache | None,
    progress: Progress,
) -> tuple[float, ...]:
    """Return the seconds that each of the first queries took, embedded one at a time as a person's question is.

    Args:
        queries: At most ``MOST_TIMED`` of them are timed.
        embedder: Not even loaded where all of them were timed before.
        machine: What tells this machine, and its load, from others: readings are kept under it.
        cache: Keeps readings; None reads the clock anew.
        progress: Holds the clock.
    """
    timed = list(queries[:MOST_TIMED])
    keys = [f"{machine}/{embedding_key(query, embedder)}" for query in timed]
    known = cache.get_seconds(keys) if cache else {}
    missing = {key: query for key, query in zip(keys, timed, strict=True) if key not in known}
    if missing:
        progress.say(f"timing {len(missing)} queries")
        embedder.embed([timed[0]])  # unread: the weights load, and whatever else happens once
        fresh = {key: _seconds(query, embedder, progress) for key, query in missing.items()}
        if cache:
            cache.put_seconds(fresh)
        known |= fresh
    return tuple(known[key] for key in keys)


def _seconds(query: str, embedder: Embedder, progress: Progress) -> float:
    began = progress.now()
    embedder.embed([query])
    return progress.now() - began
