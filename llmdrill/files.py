"""Read what a person names: bounded, UTF-8, and never waiting for a pipe that nobody writes to."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from llmdrill.errors import ContentError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_TEXT_BYTES: Final = 50_000_000


def read_text(path: Path, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a file, without a byte-order mark.

    Raises:
        ContentError: If it cannot be read, is larger than ``most_bytes``, or is not UTF-8.
    """
    return decoded(read_bytes(path, most_bytes=most_bytes), str(path), most_bytes=most_bytes)


def read_bytes(path: Path, *, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a file, one more than ``most_bytes`` if it is larger.

    Raises:
        ContentError: If it cannot be read.
    """
    with open_bytes(path) as file:
        return file.read(most_bytes + 1)  # bounded, because a device or a pipe has no size to ask for


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read piece by piece.

    Raises:
        ContentError: If it cannot be opened, or not read to the end.
    """
    try:
        # A pipe without a writer must not make us wait for one; with a writer (`<(command)`) reading waits as usual.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - there is no path to open
            yield file
    except IsADirectoryError as error:
        raise ContentError([Mistake(str(path), 1, 1, "", "is a folder, not a file")]) from error
    except UnicodeDecodeError:
        raise  # of the reader's own
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        why = error.strerror if isinstance(error, OSError) else error
        raise ContentError([Mistake(str(path), 1, 1, "", f"cannot be read: {why}")]) from error


def decoded(raw: bytes, name: str, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return bytes as text; ``name`` is what messages call them.

    Raises:
        ContentError: If there are more than ``most_bytes``, or they are not UTF-8.
    """
    if len(raw) > most_bytes:
        raise ContentError([Mistake(name, 1, 1, "", f"is larger than {most_bytes // 1_000_000} MB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContentError([Mistake(name, line, 1, "", "is not UTF-8; save it as UTF-8")]) from error
