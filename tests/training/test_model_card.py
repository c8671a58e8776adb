"""The model card is the record of the training, put into its template: nothing in it is typed by hand."""

from __future__ import annotations

from pathlib import Path

from training.card import card

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_model_card_is_what_its_command_writes_from_the_record() -> None:
    fresh = card(REPOSITORY / "training" / "record")
    assert (REPOSITORY / "docs" / "model-card.md").read_text(encoding="utf-8") == fresh, "run python -m training.card"
