"""Load torch and the model while a person reads: two to three seconds that nobody waits for."""

from __future__ import annotations

import atexit
import ctypes
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LEAVE_WITHIN_S: Final = 10.0


class Warmup(Generic[T]):
    """Work that starts early in a daemon thread and is waited for only when its result is needed."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, name="llmdrill-warmup", daemon=True)
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._started = threading.Lock()

    def start(self) -> Warmup[T]:
        """Start the work; a second call does nothing."""
        if self._started.acquire(blocking=False):
            atexit.register(self._leave)
            self._thread.start()
        return self

    def ready(self) -> bool:
        """Tell whether ``result`` would return (or raise) without waiting."""
        return self._started.locked() and not self._thread.is_alive()

    def result(self) -> T:
        """Wait for the work and return what it returned, or raise what it raised."""
        self.start()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            self._error = error

    def _leave(self) -> None:
        """Stop the thread before the interpreter goes.

        A thread that is inside torch's C++ when the interpreter ends aborts the process ("terminate called without an
        active exception": 9 of 46 exits during loading). So it is asked to leave at its next line of Python.
        """
        if self._thread.is_alive():
            ident = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
            self._thread.join(_LEAVE_WITHIN_S)
