"""Which stages run on the accelerator ``local``: their figures hold for the machine that was calibrated alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.catalog.load import LOCAL, find_accelerator
from llmdrill.system.kinds.model_call import ModelCall

if TYPE_CHECKING:
    from llmdrill.system.design import Design


def local_note(design: Design) -> str | None:
    """Say which stages rest on this machine and on which profile of it; None if no stage does.

    Raises:
        UsageError: If there is no profile; with the command that makes one.
    """
    found = {
        name: find_accelerator(str(stage.on))
        for name, stage in design.stages.items()
        if isinstance(stage, ModelCall) and stage.served == "self"
    }
    local = {name: accelerator.note for name, accelerator in found.items() if accelerator.name == LOCAL}
    if not local:
        return None
    which = next(iter(local.values()))
    return f"{', '.join(local)} on '{LOCAL}': figures of this machine alone, {which}"
