"""What a format's reader returns, and what it raises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parsed:
    """The text of a document, and the title it gives itself: empty if none."""

    title: str
    text: str


class UnreadableError(Exception):
    """Bytes that are no document: why in a few words that can be counted, what a person can do.

    It never leaves this package: in a folder it becomes a skipped file, for a named file a ``ContentError``.
    """

    def __init__(self, why: str, remedy: str = "") -> None:
        self.why, self.remedy = why, remedy
        super().__init__(f"{why}: {remedy}" if remedy else why)
