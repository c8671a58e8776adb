"""Check the settings of one stage before it becomes part of a design."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from llmdrill.errors import UsageError
from llmdrill.system.kinds import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.system.kinds.base import StageBase


@functools.cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Stage)


def check_settings(kind: str, settings: Mapping[str, object]) -> StageBase:
    """Return the stage these settings make.

    Raises:
        UsageError: If the kind refuses one of them; only the first is told.
    """
    try:
        return cast("StageBase", _adapter().validate_python({"kind": kind, **settings}))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][-1]) if len(detail["loc"]) > 1 else kind
        message = str(detail["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{name}: {message[0].lower()}{message[1:]}") from error
