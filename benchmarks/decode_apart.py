"""Engines that each live in a process of their own and answer one at a time."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack
    from multiprocessing.connection import Connection

    from decode_answer import Answer, Engine

START_S = 300.0
SPIN = "GOMP_SPINCOUNT"  # how long torch's idle threads spin; our package sets it for itself when it loads torch


class Apart:
    """An engine in another process; a question to it waits for the answer, and nothing runs there in between."""

    def __init__(self, name: str, precision: str, build: Callable[[], Engine], threads: int, spin: str | None) -> None:
        self.name, self.precision = name, precision
        os.environ.pop(SPIN, None)
        if spin is not None:
            os.environ[SPIN] = spin
        own, its = multiprocessing.Pipe()
        self._ask, spawn = own, multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=serve, args=(its, build, threads), daemon=True)
        self._process.start()
        its.close()

    def wait_until_ready(self) -> None:
        """Wait until the engine stands.

        Raises:
            RuntimeError: With what it died of.
        """
        if not self._ask.poll(START_S):
            raise RuntimeError(f"did not start within {START_S:.0f} s")
        self._received()

    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer:
        answer: Answer = self._call("answer", list(prompt), tokens=tokens)
        return answer

    def batch_step_s(self, prompt: Sequence[int], *, sequences: int, steps: int) -> float:
        return float(self._call("batch_step_s", list(prompt), sequences=sequences, steps=steps))

    def bandwidth_bytes_per_s(self, size_bytes: int) -> float:
        return float(self._call("bandwidth_bytes_per_s", size_bytes))

    def end(self) -> None:
        self._process.kill()  # the server of llama.cpp may wait for its threads for ever

    def _call(self, method: str, *values: object, **named: object) -> Any:  # noqa: ANN401 - what the method returns
        self._ask.send((method, values, named))
        return self._received()

    def _received(self) -> Any:  # noqa: ANN401
        try:
            result, problem = self._ask.recv()
        except EOFError:
            result, problem = None, "its process ended"
        if problem is not None:
            raise RuntimeError(problem)
        return result


def serve(asked: Connection, build: Callable[[], Engine], threads: int) -> None:
    """Build the engine, then answer until the process is killed."""
    import torch

    torch.set_num_threads(threads)
    try:
        engine = build()
    except Exception as error:  # noqa: BLE001 - whatever an engine dies of, the others are measured
        asked.send((None, f"{type(error).__name__}: {error}".splitlines()[0]))
        return
    asked.send((None, None))
    while True:
        method, values, named = asked.recv()
        try:
            asked.send((getattr(engine, method)(*values, **named), None))
        except Exception as error:  # noqa: BLE001
            asked.send((None, f"{type(error).__name__}: {error}".splitlines()[0]))


def start_apart(
    builds: Mapping[tuple[str, str], Callable[[], Engine]],
    running: ExitStack,
    *,
    threads: int,
    spins: Mapping[str, str],
) -> tuple[list[Apart], dict[str, str]]:
    """Return the engines that start, and the reason for each that does not; leaving ``running`` ends them.

    Args:
        builds: What builds an engine, by its name and precision.
        running: Ends them.
        threads: Of each.
        spins: Engine to its setting of ``SPIN``; the others have what they bring.
    """
    engines, died = [], {}
    for (name, precision), build in builds.items():
        engine = Apart(name, precision, build, threads, spins.get(name))
        running.callback(engine.end)
        try:
            engine.wait_until_ready()
            engines.append(engine)
        except RuntimeError as error:
            died[f"{name} {precision}"] = str(error)
    return engines, died
