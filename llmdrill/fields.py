"""Field types of files people write: strict, frozen, and quantities as people write them (``25ms``, ``80GB``)."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Annotated, Any, Final

# Looking for pydantic plugins reads the metadata of every installed package at start-up: more than a bare interpreter.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


from pydantic import VERSION, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from llmdrill.errors import UsageError
from llmdrill.units import Dimension, parse_quantity

if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "1" and VERSION.startswith(("2.11.", "2.12.", "2.13.", "2.14.")):
    # Even where it may not look, pydantic imports what it would look with: importlib.metadata, as long as an
    # interpreter takes to start. In these versions nothing else is in that module.
    _NO_PLUGINS: Any = ModuleType("pydantic.plugin._loader")
    _NO_PLUGINS.get_plugins = tuple
    sys.modules.setdefault(_NO_PLUGINS.__name__, _NO_PLUGINS)

IDENTIFIER: Final = r"^[a-z][a-z0-9_.-]*$"


class FileModel(BaseModel):
    """A strict, frozen model of a part of a file: unknown keys are refused, nothing is converted silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def _reader(dimension: Dimension, bare_unit: str | None = None) -> BeforeValidator:
    def read(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds; pydantic judges the rest
        if not isinstance(value, str):
            return value
        try:
            return parse_quantity(value, dimension, bare_unit=bare_unit)
        except UsageError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read, json_schema_input_type=float | str)


def _whole(value: Any) -> Any:  # noqa: ANN401 - as above
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[float, _reader("count"), Field(gt=0)]
Seconds = Annotated[float, _reader("seconds"), Field(ge=0)]
Bytes = Annotated[float, _reader("bytes"), Field(ge=0)]
Usd = Annotated[float, _reader("usd"), Field(ge=0)]
Share = Annotated[float, _reader("share"), Field(ge=0, le=1)]
Whole = Annotated[int, BeforeValidator(_whole), _reader("count"), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_whole), _reader("count"), Field(gt=0)]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER, max_length=60)]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=20_000, strip_whitespace=True)]
