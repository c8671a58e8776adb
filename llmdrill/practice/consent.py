"""The code of a pack that somebody else wrote runs only after the person has agreed to that pack, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.folders import home_folder
from llmdrill.store import Store

if TYPE_CHECKING:
    from llmdrill.practice.packs import Pack


def has_agreed(pack: Pack) -> bool:
    """Tell whether the pack's code may run: it comes with llmdrill, or the person has agreed to it before."""
    if pack.trusted:
        return True
    with Store(home_folder()) as store:
        return store.agreed(_subject(pack))


def keep_agreement(pack: Pack, *, now: str) -> None:
    """Keep that the person agrees to the code of the pack in this folder."""
    with Store(home_folder()) as store:
        store.agree(_subject(pack), now=now)


def _subject(pack: Pack) -> str:
    return f"code of {pack.key}"
