"""Calling the command line in this process: as `main` does it, error boundary included, without a second's start-up."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from cli_cases import Ran

if TYPE_CHECKING:
    from collections.abc import Iterator


class Call(Protocol):
    """Call ``llmdrill`` with arguments."""

    def __call__(self, *arguments: object) -> Ran:
        """Return what it left."""
        ...


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Return a function that calls the command line here."""
    from llmdrill.cli import main

    before = signal.getsignal(signal.SIGINT)

    def called(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["llmdrill", *map(str, arguments)])
        capsys.readouterr()
        status: object = 0
        try:
            main()
        except SystemExit as left:
            status = left.code
        written = capsys.readouterr()
        return Ran(status if isinstance(status, int) else 0, written.out, written.err)

    yield called
    signal.signal(signal.SIGINT, before)
