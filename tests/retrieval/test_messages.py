"""Labelled messages: the shipped set, its split, and every mistake of a file at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from llmdrill.errors import ContentError
from llmdrill.retrieval.messages import POLICY, MessageSet, Part, load_messages, part_of

SHIPPED = Path(__file__).resolve().parents[2] / "scenarios" / "moderation" / "messages"
GOOD = """\
- group: scam-001
  messages:
    - {kind: plain, labels: [scam], text: "Pay the courier first."}
    - {kind: look_alike, labels: [], text: "I paid the courier."}
"""


@pytest.fixture(scope="module")
def shipped() -> MessageSet:
    return load_messages(SHIPPED)


def mistakes(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        load_messages(folder)
    return [str(mistake).removeprefix(f"{folder}/") for mistake in caught.value.mistakes]


def test_no_group_of_the_shipped_set_is_in_two_parts_and_no_message_is_lost(shipped: MessageSet) -> None:
    parts = [shipped.part(part) for part in ("train", "threshold", "test")]
    assert sum(len(part.messages) for part in parts) == len(shipped.messages)
    groups = [set(part.groups) for part in parts]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]


def test_every_part_of_the_shipped_set_has_enough_of_every_category_and_kind(shipped: MessageSet) -> None:
    least_of: dict[Part, int] = {"train": 15, "threshold": 8, "test": 8}
    for part, least in least_of.items():
        subset = shipped.part(part)
        counts = Counter(label for labels in subset.labels for label in labels)
        assert min(counts[category] for category in POLICY) >= least
        assert min(Counter(subset.kinds)[kind] for kind in ("plain", "obfuscated", "look_alike", "ordinary")) >= least


def test_the_part_of_a_group_is_the_hash_of_its_name() -> None:
    bucket = int(hashlib.sha256(b"scam-001").hexdigest()[:8], 16) % 100
    assert part_of("scam-001") == ("train" if bucket < 50 else "threshold" if bucket < 75 else "test")
    drawn = Counter(part_of(f"group-{number}") for number in range(4000))
    shares = [drawn[part] / 4000 for part in ("train", "threshold", "test")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)


def test_the_content_hash_changes_with_every_field(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    base = load_messages(tmp_path)
    first, *rest = base.messages
    changes = ({"text": "x"}, {"kind": "obfuscated"}, {"labels": frozenset({"spam"})}, {"group": "g"})
    changed = [MessageSet((dataclasses.replace(first, **change), *rest)) for change in changes]
    hashes = {each.content_sha256 for each in [base, *changed, MessageSet(base.messages, ("scam",))]}
    assert len(hashes) == 6
    assert load_messages(tmp_path).content_sha256 == base.content_sha256


def test_every_mistake_of_every_file_is_told_with_its_place(tmp_path: Path) -> None:
    bad = """\
- group: scam-001
  messages:
    - {kind: plain, labels: [scan], text: "Send the code."}
    - {kind: plain, labels: [scam], text: "Pay  the courier first."}
"""
    assert mistakes(tmp_path, a=GOOD, b=bad) == [
        f"b.yaml:1:3: [0].group: the group 'scam-001' stands at {tmp_path}/a.yaml:1 too",
        "b.yaml:3:30: [0].messages[0].labels[0]: unknown label 'scan' (did you mean scam, spam?)",
        f"b.yaml:4:37: [0].messages[1].text: the same text stands at {tmp_path}/a.yaml:3 too",
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('{kind: plain, labels: [], text: "a"}', "kind plain breaks a rule: say which in labels"),
        ('{kind: ordinary, labels: [scam], text: "a"}', "kind ordinary breaks no rule"),
        ('{kind: plain, labels: [scam, scam], text: "a"}', "the same label stands twice"),
        ('{kind: rude, labels: [scam], text: "a"}', "'plain', 'obfuscated', 'look_alike' or 'ordinary'"),
        ('{kind: plain, labels: [scam], text: ""}', "at least 1 character"),
        ("{kind: plain, labels: [scam]}", "the key 'text' is missing"),
        ('{kind: plain, labels: [scam], txt: "a"}', "unknown key 'txt'"),
    ],
)
def test_a_message_without_its_form_is_refused(tmp_path: Path, entry: str, words: str) -> None:
    told = mistakes(tmp_path, a=f"- group: g1\n  messages:\n    - {entry}\n")
    assert any(words in line and line.startswith("a.yaml:3:") for line in told), told


def test_a_folder_without_messages_is_refused(tmp_path: Path) -> None:
    assert "holds no file of messages" in mistakes(tmp_path)[0]
