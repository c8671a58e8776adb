"""Write the model card from the record of the training: its logs, its evaluations, the list of what was tried.

    python -m training.card --record training/record --out docs/model-card.md

Nothing in the card that a run produced is typed by hand: ``training/record`` holds ``8m.jsonl`` and ``1m.jsonl`` (logs
of all phases on end), ``8m.json`` and ``1m.json`` (what training.evaluate printed), and ``tried.md``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmdrill.picture import Picture, Series
from llmdrill.report.chart import chart

PRESETS: Final = ("8m", "1m")
TEMPLATE: Final = Path(__file__).with_name("card.md")


@dataclass(frozen=True, slots=True)
class Record:
    """What the training of one preset left behind.

    Attributes:
        log: Lines of the log, in order.
        figures: What training.evaluate printed.
    """

    log: tuple[dict[str, Any], ...]
    figures: dict[str, Any]

    @property
    def hours(self) -> float:
        """Of training, over all interruptions."""
        return max(float(line["seconds"]) for line in self.log) / 3600

    @property
    def million_tokens(self) -> float:
        """Read, repeated ones counted again."""
        return max(int(line["tokens"]) for line in self.log) / 1e6

    def curve(self) -> Series:
        """Return validation bits per byte by million tokens."""
        points = [(line["tokens"] / 1e6, line["validation_bits_per_byte"]) for line in self.log if is_validation(line)]
        return Series("", tuple(x for x, _ in points), tuple(y for _, y in points))


def is_validation(line: dict[str, Any]) -> bool:
    return "validation_bits_per_byte" in line


def read_record(folder: Path, preset: str) -> Record:
    lines = (folder / f"{preset}.jsonl").read_text(encoding="utf-8").splitlines()
    figures = json.loads((folder / f"{preset}.json").read_text(encoding="utf-8"))
    return Record(tuple(json.loads(line) for line in lines), figures)


def card(folder: Path) -> str:
    """Return the card: the template with the record's numbers in it."""
    records = {preset: read_record(folder, preset) for preset in PRESETS}
    main, rivals = records["8m"].figures, records["8m"].figures["rivals"]
    values = {
        "trained": "\n".join(
            f"| `{preset}` | {one.figures['parameters']:,} | {one.million_tokens:.1f} | {one.hours:.1f} |"
            for preset, one in records.items()
        ),
        "bits": _row([f"{one.figures['bits_per_byte']:.3f}" for one in records.values()]),
        "next_token": _row([f"{one.figures['completion']['next_token_share']:.1%}" for one in records.values()]),
        "line_end": _row([f"{one.figures['completion']['line_end_share']:.1%}" for one in records.values()]),
        "lines": f"{main['completion']['lines']:,}",
        **{name: f"{main[name]:,}" for name in ("tokens", "bytes", "length")},
        **{name: f"{rivals[name]:.3f}" for name in ("gzip_9", "xz_9e", "ngram_5")},
        "curve": _curve(records),
        "tried": (folder / "tried.md").read_text(encoding="utf-8").strip(),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _row(cells: list[str]) -> str:
    return " | ".join(cells)


def _curve(records: dict[str, Record]) -> str:
    series = tuple(
        Series(preset, curve.x, curve.y) for preset, record in records.items() if (curve := record.curve()).x
    )
    return chart(Picture("Validation while training", "million tokens", "bits per byte", series, log_x=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the model card from the record of the training.")
    parser.add_argument("--record", type=Path, default=Path("training/record"))
    parser.add_argument("--out", type=Path, default=Path("docs/model-card.md"))
    options = parser.parse_args()
    options.out.write_text(card(options.record), encoding="utf-8")


if __name__ == "__main__":
    main()
