"""Bytes per token of kinds of text, and the error of `--approximate`: the figures in llmdrill/estimate/token_ratio.py.

Needs tiktoken's rank files (TIKTOKEN_CACHE_DIR or a network). The texts: this repository's articles and CPython's help
topics (english), CPython's modules and headers (code), the catalogue as JSON (json), and benchmarks/token_texts,
written for this purpose, one paragraph a text. For each kind: bytes per token (median, and the p5 and p95, at least a
quarter away where under 30 texts were measured), then the error of the rough count with the kind seen from the text
alone, how often the true count lies in the stated span, and how often the kind is seen rightly.
"""

from __future__ import annotations

import json
import statistics
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiktoken
import yaml

from llmdrill.estimate.token_ratio import RATIOS, approximate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SHORTEST, LONGEST = 500, 200_000  # bytes of a text that is measured; paragraphs are shorter
FEW_TEXTS, WIDE = 30, 1.25  # the tails of so few texts say little: at least a quarter either way
LANGUAGES = {
    "latin": ("german", "french", "spanish"),
    "cyrillic": ("russian", "ukrainian"),
    "arabic": ("arabic",),
    "devanagari": ("hindi",),
    "cjk": ("chinese", "japanese"),
    "hangul": ("korean",),
}


def articles() -> Iterator[str]:
    for file in sorted((ROOT / "scenarios").rglob("*.md")):
        yield file.read_text(encoding="utf-8")
    from pydoc_data.topics import topics

    yield from topics.values()


def programs() -> Iterator[str]:
    library, include = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("include"))
    for file in (
        *sorted(library.glob("*.py")),
        *sorted((library / "asyncio").glob("*.py")),
        *sorted(include.glob("*.h")),
    ):
        yield file.read_text(encoding="utf-8", errors="ignore")


def records() -> Iterator[str]:
    for file in sorted((ROOT / "llmdrill" / "catalog").glob("*.yaml")):
        lists: list[Any] = [
            value for value in yaml.safe_load(file.read_text("utf-8")).values() if isinstance(value, list)
        ]
        for values in lists:
            for start in range(0, len(values), 10):
                for indent in (None, 2):
                    yield json.dumps(values[start : start + 10], default=str, indent=indent)


def paragraphs(language: str) -> list[str]:
    text = (ROOT / "benchmarks" / "token_texts" / f"{language}.txt").read_text(encoding="utf-8")
    return text.strip().split("\n\n")


def texts_by_kind() -> dict[str, list[str]]:
    long = {"english": articles(), "code": programs(), "json": records()}
    found = {kind: [one for one in texts if SHORTEST <= len(one) <= LONGEST] for kind, texts in long.items()}
    for kind, languages in LANGUAGES.items():
        found[kind] = [paragraph for language in languages for paragraph in paragraphs(language)]
    return found


def size(text: str) -> int:
    return len(text.encode())


def measured(texts: list[str], tokens: list[int]) -> dict[str, float]:
    ratios = sorted(size(text) / count for text, count in zip(texts, tokens, strict=True))
    last, median = len(ratios) - 1, statistics.median(ratios)
    low, high = ratios[round(0.05 * last)], ratios[round(0.95 * last)]
    if len(texts) < FEW_TEXTS:
        low, high = min(ratios[0], median / WIDE), max(ratios[-1], median * WIDE)
    return {"median": round(median, 2), "p5": round(low, 2), "p95": round(high, 2)}


def errors(kind: str, texts: list[str], tokens: list[int], encoding: str) -> dict[str, float]:
    rough = [approximate_tokens(text, encoding=encoding) for text in texts]
    off = sorted(one.tokens / count - 1 for one, count in zip(rough, tokens, strict=True))
    inside = statistics.mean(one.low <= count <= one.high for one, count in zip(rough, tokens, strict=True))
    return {
        "median_error": round(statistics.median(off), 3),
        "lowest_error": round(off[0], 3),
        "highest_error": round(off[-1], 3),
        "inside_share": round(inside, 3),
        "kind_seen_share": round(statistics.mean(one.kind == kind for one in rough), 3),
    }


def main() -> None:
    result: dict[str, Any] = {"benchmark": "token_ratio", "tiktoken": tiktoken.__version__, "encodings": {}}
    by_kind = texts_by_kind()
    for encoding in RATIOS:
        tokenizer = tiktoken.get_encoding(encoding)
        print(
            f"{encoding:<12}{'texts':>6}{'median':>8}{'p5':>7}{'p95':>7}   rough count: median  lowest  highest  inside"
        )
        rows = result["encodings"][encoding] = {}
        for kind, texts in by_kind.items():
            tokens = [len(tokenizer.encode(text, disallowed_special=())) for text in texts]
            row = measured(texts, tokens) | (errors(kind, texts, tokens, encoding) if kind in RATIOS[encoding] else {})
            rows[kind] = {"texts": len(texts)} | row
            print(
                f"  {kind:<10}{len(texts):>6}{row['median']:>8.2f}{row['p5']:>7.2f}{row['p95']:>7.2f}"
                f"{row.get('median_error', 0):>22.0%}{row.get('lowest_error', 0):>8.0%}"
                f"{row.get('highest_error', 0):>9.0%}{row.get('inside_share', 0):>8.0%}"
                f"{row.get('kind_seen_share', 0):>8.0%}"
            )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
