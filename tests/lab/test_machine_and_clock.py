"""The machine's description and the clock."""

from __future__ import annotations

import itertools
import mmap
import os
from pathlib import Path

import pytest

from llmdrill.lab.clock import Timing, timed, timed_alternately
from llmdrill.lab.machine import cpu_name, resident_bytes, this_machine


def test_this_machine_is_described_by_what_the_system_says() -> None:
    machine = this_machine()
    versions = dict(machine.versions)
    assert machine.cpu
    assert machine.threads >= 1
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory_bytes > 100_000_000
    assert list(versions) == [name for name in ("python", "torch", "numpy", "tokenizers") if name in versions]
    assert versions["numpy"]


def test_the_first_model_name_of_cpuinfo_is_the_cpu(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast CPU 9000\nprocessor : 1\nmodel name\t: Other\n")
    assert cpu_name(cpuinfo) == "Fast CPU 9000"
    cpuinfo.write_text("processor : 0\n")
    assert cpu_name(cpuinfo)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process's memory")
def test_touched_memory_is_seen() -> None:
    before = resident_bytes()
    size = 50_000_000
    with mmap.mmap(-1, size) as held:  # pages of its own: nothing that was freed before is used again
        held.write(b"x" * size)
        after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 0.8 * size


def test_warm_up_runs_are_not_timed() -> None:
    ticks, runs = itertools.count(), itertools.count()
    timing = timed(lambda: next(runs), warm_up=2, repeats=3, now=lambda: float(next(ticks)))
    assert timing.seconds == (1.0, 1.0, 1.0)
    assert next(runs) == 5


def test_works_are_timed_in_turn_and_each_by_its_own_clock() -> None:
    ran: list[str] = []
    seconds = (9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 2.0, 8.0)  # of each run; the first four warm up
    now = itertools.accumulate(itertools.chain.from_iterable((0.0, one) for one in seconds)).__next__
    works = {"one": lambda: ran.append("one"), "other": lambda: ran.append("other")}
    found = timed_alternately(works, warm_up=2, repeats=2, now=now)
    assert ran == ["one", "other"] * 4
    assert (found["one"].seconds, found["other"].seconds) == ((1.0, 2.0), (3.0, 8.0))
    assert found["other"].over(found["one"]) == (3.0, 4.0)


def test_the_median_ignores_one_slow_reading_and_the_spread_shows_it() -> None:
    assert Timing((1.0, 1.0, 1.2, 9.0)).median_s == pytest.approx(1.1)
    assert Timing((1.0, 1.0, 1.0, 9.0)).p95_s == pytest.approx(7.8)
    assert Timing((1.0, 2.0, 3.0)).spread_share == pytest.approx(0.5)


@pytest.mark.parametrize(("warm_up", "repeats"), [(0, 0), (-1, 3)])
def test_nothing_to_repeat_is_refused(warm_up: int, repeats: int) -> None:
    with pytest.raises(ValueError, match="cannot time"):
        timed(lambda: None, warm_up=warm_up, repeats=repeats)
