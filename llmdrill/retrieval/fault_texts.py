"""What a fault is called, how it shows, what mends it, which fixes are wrong and why: read from ``faults.yaml``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, RootModel

from llmdrill.content import load_yaml, validate
from llmdrill.errors import UnknownNameError
from llmdrill.fields import FileModel, Identifier, Prose

Layer = Literal["retrieval", "context", "reasoning"]
FILE: Final = Path(__file__).with_name("faults.yaml")


class WrongFix(FileModel):
    """A remedy that does not help, and why."""

    fix: Prose
    why: Prose


class FaultText(FileModel):
    """A fault in words.

    Attributes:
        layer: Where it sits: in what is found, in what the prompt makes of it, or in what the model makes of that.
        planted: What was done.
        symptom: What a user or an operator sees.
        fix: The smallest remedy.
        guard: The check that sees it without labels (``fault_guards``); None where none of them does.
        question: Of the shipped corpus ``rag``; it shows the fault.
        sound_answer: Written by a person, to the sound pipeline's prompt; ``[document]`` is a citation.
        answer: Likewise to the faulty one's.
    """

    id: Identifier
    title: Prose
    layer: Layer
    planted: Prose
    symptom: Prose
    fix: Prose
    wrong_fixes: Annotated[tuple[WrongFix, ...], Field(min_length=3, max_length=3)]
    guard: Identifier | None
    question: Identifier
    sound_answer: Prose
    answer: Prose


class _FaultFile(RootModel[tuple[FaultText, ...]]):
    """What the file holds."""


@lru_cache(maxsize=1)
def fault_texts() -> tuple[FaultText, ...]:
    """Return all faults, in the order of the file.

    Raises:
        ContentError: If the file is malformed.
    """
    return validate(load_yaml(FILE), _FaultFile).root


def fault_text(fault: str) -> FaultText:
    """Return one fault's words.

    Raises:
        UnknownNameError: If there is no such fault.
    """
    for text in fault_texts():
        if text.id == fault:
            return text
    raise UnknownNameError("fault", fault, [text.id for text in fault_texts()])
