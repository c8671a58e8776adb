"""A process of its own that loads one embedder and says what it holds: run as ``python -m``, asked by embed_run."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from llmdrill.lab.embed import load_minilm
from llmdrill.lab.machine import resident_bytes

KIB_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024  # macOS tells bytes, Linux KiB


def measure(asked: dict[str, Any]) -> dict[str, int | None]:
    """Return by how much loading let this process grow, and by how much more, at most, embedding the texts did."""
    folder = None if asked["embedder"] is None else Path(asked["embedder"])
    before = resident_bytes()
    embedder = load_minilm(folder, precision=asked["precision"], engine=asked["engine"])
    loaded = resident_bytes()
    texts = [" ".join(["word"] * embedder.max_tokens)] * asked["texts"]
    peak_before = _peak_bytes()
    vectors = embedder.embed(texts)
    if before is None or loaded is None:
        return {"load_bytes": None, "embed_bytes": None, "vector_bytes": vectors.nbytes}
    # What loading held for a moment may hide what embedding holds: then nothing is known but that it is less.
    grown = _peak_bytes() - loaded if _peak_bytes() > peak_before else max(0, (resident_bytes() or loaded) - loaded)
    return {"load_bytes": loaded - before, "embed_bytes": grown, "vector_bytes": vectors.nbytes}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB_OF_MAXRSS


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
