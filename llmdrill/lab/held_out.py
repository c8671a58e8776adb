"""Python source that the embedded model never saw: modules of this machine's own standard library, read as text.

The model was trained on the standard library of CPython 3.13.5 without some modules and their tests; another version
of Python has other texts under the same names, some without tests.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmdrill.errors import UsageError
from llmdrill.lab.model_files import embedded_file

TRAINED_ON: Final = "CPython 3.13.5"
HELD_OUT_FILE: Final = "held_out.txt"  # as sha256sum writes it: hashes and paths of TRAINED_ON


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One held-out module.

    Attributes:
        path: Relative to the standard library, such as ``json/decoder.py``.
        of_trained_version: Its bytes are those of ``TRAINED_ON``, so figures compare with those of the model card.
    """

    path: str
    text: str
    of_trained_version: bool


def held_out_sums() -> dict[str, str]:
    """Return the path of every held-out module with its sha256 in the version that the model was trained on."""
    rows = (line.split("  ", 1) for line in embedded_file(HELD_OUT_FILE).decode("ascii").splitlines())
    return {path: digest for digest, path in rows}


def held_out_texts(standard_library: Path | None = None) -> tuple[HeldOut, ...]:
    """Return the held-out modules that the running Python has, in the order of their paths.

    Raises:
        UsageError: If the standard library is not there as files of source.
    """
    folder = standard_library or Path(sysconfig.get_path("stdlib"))
    found = []
    for path, digest in held_out_sums().items():
        try:
            data = (folder / path).read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        found.append(HeldOut(path, text, hashlib.sha256(data).hexdigest() == digest))
    if not found:
        raise UsageError(f"{folder}: no source of the standard library here, and held-out text is read from there")
    return tuple(found)
