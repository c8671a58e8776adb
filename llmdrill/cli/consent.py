"""Ask once before the code of a pack runs that does not come with llmdrill."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from llmdrill.practice.packs import Pack

AgreeOption = Annotated[bool, typer.Option("--agree", help="Agree to running the code of this pack from now on.")]


def require_agreement(pack: Pack, *, agree: bool, otherwise: str) -> None:
    """Return if the pack's code may run, having asked where that is not known yet.

    Args:
        pack: Where the drill comes from.
        agree: The person has said so already.
        otherwise: What can be done without.

    Raises:
        UsageError: If the person does not agree, or nobody is there to be asked.
    """
    from llmdrill.practice.consent import has_agreed, keep_agreement

    if has_agreed(pack):
        return
    told = f"the code of {pack.folder} did not come with llmdrill and runs with your rights"
    if not agree and not sys.stdin.isatty():
        raise UsageError(f"{told}; read it, then say --agree once ({otherwise})")
    if not agree and not typer.confirm(f"{told}: limits stop mistakes, not malice. Run it, now and later?", err=True):
        raise UsageError(f"not agreed, nothing was run ({otherwise})")
    keep_agreement(pack, now=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
