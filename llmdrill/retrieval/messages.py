"""Load a labelled set of messages for a filter: groups of near messages, split so that a group stays together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, RootModel, model_validator

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError, Mistake, did_you_mean, nearest_names
from llmdrill.fields import FileModel, Identifier, Prose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmdrill.located import Located

MessageKind = Literal["plain", "obfuscated", "look_alike", "ordinary"]
Part = Literal["train", "threshold", "test"]

KINDS: Final[tuple[MessageKind, ...]] = ("plain", "obfuscated", "look_alike", "ordinary")
VIOLATING_KINDS: Final = frozenset({"plain", "obfuscated"})
POLICY: Final = ("harassment", "threat", "personal_data", "scam", "spam", "prohibited_sale")
TRAIN_BELOW: Final = 50  # of a hundred buckets that groups are hashed into
THRESHOLD_BELOW: Final = 75


@dataclass(frozen=True, slots=True)
class Message:
    """A message and what a careful reader calls it; no label means it is fine."""

    text: str
    kind: MessageKind
    labels: frozenset[str]
    group: str

    @property
    def violates(self) -> bool:
        return bool(self.labels)


@dataclass(frozen=True)
class MessageSet:
    """Messages in order of their groups, and the categories they may be labelled with."""

    messages: tuple[Message, ...]
    categories: tuple[str, ...] = POLICY

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(message.text for message in self.messages)

    @property
    def labels(self) -> tuple[frozenset[str], ...]:
        return tuple(message.labels for message in self.messages)

    @property
    def kinds(self) -> tuple[MessageKind, ...]:
        return tuple(message.kind for message in self.messages)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(message.group for message in self.messages)

    @cached_property
    def content_sha256(self) -> str:
        """The sha256 of texts, kinds, labels and groups: a measurement on other content is another measurement."""
        rows = [[each.group, each.kind, sorted(each.labels), each.text] for each in self.messages]
        return hashlib.sha256(json.dumps([self.categories, rows], ensure_ascii=False).encode()).hexdigest()

    def part(self, part: Part) -> MessageSet:
        """Return the messages to train on, to set thresholds on, or to test on."""
        return MessageSet(tuple(each for each in self.messages if part_of(each.group) == part), self.categories)


def part_of(group: str) -> Part:
    """Return the part a group belongs to, by its name alone: half train, a quarter each for thresholds and test.

    Formula:
        The first 8 hex digits of the sha256 of the group's name, modulo 100: below 50 train, below 75 threshold.
    """
    bucket = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % 100
    return "train" if bucket < TRAIN_BELOW else "threshold" if bucket < THRESHOLD_BELOW else "test"


class MessageEntry(FileModel):
    """A message as its file states it."""

    kind: MessageKind
    labels: tuple[str, ...]
    text: Prose

    @model_validator(mode="after")
    def _labels_suit_kind(self) -> MessageEntry:
        if self.kind in VIOLATING_KINDS and not self.labels:
            raise ValueError(f"a message of kind {self.kind} breaks a rule: say which in labels")
        if self.kind not in VIOLATING_KINDS and self.labels:
            raise ValueError(f"a message of kind {self.kind} breaks no rule: labels must be []")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("the same label stands twice")
        return self


class GroupEntry(FileModel):
    """Messages that are near each other, and therefore stay in one part."""

    group: Identifier
    messages: Annotated[tuple[MessageEntry, ...], Field(min_length=1)]


class MessageFile(RootModel[tuple[GroupEntry, ...]]):
    """What a file of messages holds."""


def load_messages(folder: Path, *, categories: Sequence[str] = POLICY) -> MessageSet:
    """Return the messages of all YAML files in ``folder``.

    Raises:
        ContentError: With every mistake of all files: a malformed entry, an unknown label, a group or a text that comes
            twice, a folder without messages.
    """
    reader = _Reader(tuple(categories))
    for path in sorted(folder.glob("*.yaml")):
        reader.read(path)
    if not reader.messages and not reader.mistakes:
        reader.mistakes.append(Mistake(str(folder), 1, 1, "", "holds no file of messages <name>.yaml"))
    if reader.mistakes:
        raise ContentError(reader.mistakes)
    return MessageSet(tuple(sorted(reader.messages, key=lambda each: each.group)), tuple(categories))


class _Reader:
    """Messages and mistakes of several files, with what has been seen so far."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.messages: list[Message] = []
        self.mistakes: list[Mistake] = []
        self._first_of_text: dict[str, str] = {}
        self._first_of_group: dict[str, str] = {}

    def read(self, path: Path) -> None:
        try:
            located = load_yaml(path)
            groups = validate(located, MessageFile).root
        except ContentError as error:
            self.mistakes.extend(error.mistakes)
            return
        for number, entry in enumerate(groups):
            self._note(self._first_of_group, entry.group, located, (number, "group"), f"the group '{entry.group}'")
            for index, message in enumerate(entry.messages):
                self._message(located, (number, "messages", index), message, entry.group)

    def _message(self, located: Located, place: tuple[str | int, ...], entry: MessageEntry, group: str) -> None:
        for index, label in enumerate(entry.labels):
            if label not in self.categories:
                hint = did_you_mean(nearest_names(label, self.categories))
                self.mistakes.append(located.mistake((*place, "labels", index), f"unknown label '{label}'{hint}"))
        self._note(self._first_of_text, " ".join(entry.text.split()), located, (*place, "text"), "the same text")
        self.messages.append(Message(entry.text, entry.kind, frozenset(entry.labels), group))

    def _note(
        self,
        seen: dict[str, str],
        value: str,
        located: Located,
        place: tuple[str | int, ...],
        what: str,
    ) -> None:
        """Complain if ``value`` has been seen, else remember where."""
        line = located.places.get(place, (1, 1))[0]
        if value in seen:
            self.mistakes.append(located.mistake(place, f"{what} stands at {seen[value]} too"))
        seen.setdefault(value, f"{located.file}:{line}")
