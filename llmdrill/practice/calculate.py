"""Call a calculator that a drill names: a function of ``llmdrill.estimate``, its arguments bound by their annotations.

No expression of a file is evaluated: a file names public functions and gives them literals, references (``$name``) and
mappings that become the dataclasses the functions ask for.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from llmdrill.errors import LlmdrillError, UsageError
from llmdrill.fields import FileModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
ARITHMETIC: Final = "arithmetic"
# Where the classes live that annotations of llmdrill.estimate name and import for the type checker alone.
_CLASSES: Final = {
    "AttentionShape": "llmdrill.catalog.architecture",
    "StateLayers": "llmdrill.catalog.architecture",
    "Price": "llmdrill.catalog.price",
    "Speculation": "llmdrill.estimate.serving_point",
    "Lognormal": "llmdrill.estimate.lognormal",
    "Load": "llmdrill.estimate.serving_load",
}
_RECORDS: Final = {
    "ModelRecord": "find_model",
    "AttentionShape": "find_model",
    "Accelerator": "find_accelerator",
    "ServingConstants": "find_serving",
    "Price": "find_price",
}
_LIST: Final = re.compile(r"(?:Sequence|tuple|list)\[(.+?)(?:, \.\.\.)?\]")


class Call(FileModel):
    """A calculator's name and its arguments.

    Attributes:
        calculator: ``module.function`` of llmdrill.estimate, or ``arithmetic.function``.
        arguments: Literals, ``$name`` references, lists of them, or mappings for dataclasses.
        field: Of what it returns, dotted, where that is a dataclass.
    """

    calculator: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    field: str = ""


def call_value(call: Call, values: Mapping[str, Any]) -> float:
    """Return what the calculator returns for these values, as a number.

    Raises:
        UsageError: If there is no such function, reference or field, an argument is missing or unknown, or the result
            is no finite number.
    """
    function = find_calculator(call.calculator)
    bound = {name: _resolved(argument, values) for name, argument in call.arguments.items()}
    signature = inspect.signature(function)
    try:
        arguments = {
            name: _typed(argument, _annotation(signature, name), function.__module__)
            for name, argument in bound.items()
        }
        ready = signature.bind(**arguments)
        result = _part(function(*ready.args, **ready.kwargs), call.field)
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError, LlmdrillError) as error:
        raise UsageError(f"{call.calculator}: {error}") from error
    return _number(result, call)


@functools.cache
def find_calculator(name: str) -> Callable[..., Any]:
    """Return the public function that ``module.function`` names.

    Raises:
        UsageError: If there is none.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no calculator: write module.function, such as kv_cache.kv_cache_bytes")
    module_name, _, function_name = name.partition(".")
    place = "llmdrill.practice" if module_name == ARITHMETIC else "llmdrill.estimate"
    try:
        module = importlib.import_module(f"{place}.{module_name}")
    except ImportError as error:
        raise UsageError(f"'{name}': llmdrill.estimate has no module '{module_name}'") from error
    found = getattr(module, function_name, None)
    if not inspect.isfunction(found) or found.__module__ != module.__name__:
        raise UsageError(f"'{name}': {module_name} has no function '{function_name}'")
    return found


def _resolved(argument: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - plain data of a file
    if isinstance(argument, str) and argument.startswith("$"):
        if argument[1:] not in values:
            raise UsageError(f"'{argument}' is no parameter, column of cases or earlier step")
        return values[argument[1:]]
    if isinstance(argument, dict):
        return {key: _resolved(inner, values) for key, inner in argument.items()}
    if isinstance(argument, (list, tuple)):
        return tuple(_resolved(inner, values) for inner in argument)
    return argument


def _annotation(signature: inspect.Signature, name: str) -> str:
    parameter = signature.parameters.get(name)
    if parameter is None:
        raise UsageError(f"takes no '{name}', but {', '.join(signature.parameters)}")
    return str(parameter.annotation)


def _typed(argument: Any, annotation: str, module: str) -> Any:  # noqa: ANN401
    """Return an argument as a function of ``module`` wants it: a dataclass from a mapping, a record by its name."""
    wanted = annotation.removesuffix(" | None").strip("'\"")
    if isinstance(argument, str) and wanted in _RECORDS:
        return _record(argument, wanted)
    if isinstance(argument, dict) and not wanted.startswith("Mapping"):
        made = _class(wanted, module)
        fields = {field.name: str(field.type) for field in dataclasses.fields(made)}
        return made(**{name: _typed(inner, fields.get(name, ""), made.__module__) for name, inner in argument.items()})
    if isinstance(argument, tuple) and (several := _LIST.fullmatch(wanted)):
        return tuple(_typed(inner, several[1], module) for inner in argument)
    if isinstance(argument, float) and argument.is_integer() and wanted == "int":
        return int(argument)
    return argument


def _record(name: str, wanted: str) -> Any:  # noqa: ANN401
    from llmdrill.catalog import load

    record = getattr(load, _RECORDS[wanted])(name)
    return record.attention if wanted == "AttentionShape" else record


def _class(name: str, module: str) -> Any:  # noqa: ANN401
    found = getattr(importlib.import_module(_CLASSES.get(name, module)), name, None)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UsageError(f"a mapping is given where '{name}' is wanted")
    return found


def _part(result: Any, field: str) -> Any:  # noqa: ANN401
    for part in filter(None, field.split(".")):
        if part.startswith("_"):
            raise UsageError(f"'{field}' is no public field")
        result = result[int(part)] if part.isdecimal() else getattr(result, part)
    return result


def _number(result: Any, call: Call) -> float:  # noqa: ANN401
    value = getattr(result, "value", result)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{call.calculator}: gives {value!r}, which is no finite number; name its field")
    return float(value)
