"""Run the checks of a code drill on a person's file, within limits; the process that ``practice.code`` starts.

    python -I code_child.py CHECKS FILE MEMORY_BYTES CPU_SECONDS RESULT_FD

The limits stop mistakes, not malice: this is no sandbox. Results go to a descriptor of their own, a JSON object a line,
so that whatever the code prints cannot be taken for them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PREFIX = "check_"
LONGEST_MESSAGE = 2000
WRITTEN_BYTES = 16 << 20
OWN_BYTES = 512 << 20  # what Python and numpy take before anything is done with them
TORCH_BYTES = 4 << 30  # and what torch reserves


def main(checks_file: str, file: str, memory_bytes: int, cpu_s: int, result: int) -> None:
    """Load both files and run every check; an error while the person's file is loaded is the only result then."""
    checks = _load(checks_file, "checks")
    wanted = {name: check for name, check in vars(checks).items() if name.startswith(PREFIX) and callable(check)}
    oracles = {name for check in wanted.values() for name in inspect.signature(check).parameters} - {"module"}
    modules = {name: importlib.import_module({"np": "numpy"}.get(name, name)) for name in sorted(oracles)}
    _limit(memory_bytes + OWN_BYTES + (TORCH_BYTES if "torch" in modules else 0), cpu_s)
    _tell(result, {"checks": len(wanted)})  # from here on the drill's own seconds count
    try:
        module = _load(file, "solution")
    except BaseException as error:  # noqa: BLE001 - whatever somebody's file raises is told, not propagated
        _tell_check(result, "loading your file", _message(error))
        return
    for name, check in wanted.items():
        what = (inspect.getdoc(check) or name.removeprefix(PREFIX).replace("_", " ")).splitlines()[0]
        _tell_check(result, what, _problem(check, module, modules))


def _problem(check: Callable[..., None], module: ModuleType, modules: dict[str, ModuleType]) -> str | None:
    given: dict[str, Any] = {"module": module, **modules}
    try:
        check(**{name: given[name] for name in inspect.signature(check).parameters})
    except AssertionError as error:
        return str(error) or "does not hold"
    except BaseException as error:  # noqa: BLE001 - as above; SystemExit and KeyboardInterrupt among them
        return _message(error)
    return None


def _load(file: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _message(error: BaseException) -> str:
    trace = error.__traceback__
    line = None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "solution":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    place = f"line {line}: " if line else ""
    return f"{place}{type(error).__name__}: {error}" if str(error) else f"{place}{type(error).__name__}"


def _limit(memory_bytes: int, cpu_s: int) -> None:
    used_s = sum(os.times()[:2])
    for kind, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, int(used_s) + cpu_s + 1),
        (resource.RLIMIT_FSIZE, WRITTEN_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (soft, soft))


def _tell_check(result: int, what: str, problem: str | None) -> None:
    _tell(result, {"check": what, "problem": None if problem is None else problem[:LONGEST_MESSAGE]})


def _tell(result: int, told: dict[str, Any]) -> None:
    os.write(result, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(one) for one in sys.argv[3:6]))
