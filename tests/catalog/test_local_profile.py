"""The accelerator `local`: its profile in the store, and what is said where there is none."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import constants_of, find_accelerator
from llmdrill.catalog.local import (
    KEY,
    EngineCosts,
    LocalAccelerator,
    MachineProfile,
    Tier,
    keep_profile,
    local_accelerator,
    stored_profile,
)
from llmdrill.catalog.serving_constants import Band
from llmdrill.errors import UsageError
from llmdrill.measurement import Machine
from llmdrill.store import Store

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Machine("A processor", 2, 2, 16 * 10**9, "Linux", (("torch", "2"),))
PROFILE = MachineProfile(
    date="2026-11-22T10:00:00+00:00",
    machine=MACHINE,
    tiers=(Tier(1e6, 100e9, 110e9), Tier(1e8, 10e9, 12e9)),
    fp32_flops_per_s=1e11,
    bf16_flops_per_s=4e11,
    costs=(
        EngineCosts("torch", "fp32", ("decode_pass",), (0.2,), 5),
        EngineCosts("native", "fp32", ("decode_pass",), (0.1,), 5),
        EngineCosts("native", "int8", ("decode_pass",), (0.05,), 5),
    ),
    bands=tuple(Band(metric, "dense", 0.8, 1.25, 0.05, 9) for metric in ("tpot", "ttft", "throughput")),
    rounds=4,
)


def test_a_profile_comes_back_from_the_store_as_it_was_kept() -> None:
    keep_profile(PROFILE)
    assert stored_profile() == PROFILE
    newer = dataclasses.replace(PROFILE, rounds=5)
    keep_profile(newer)
    assert stored_profile() == newer


def test_local_is_the_kept_profile_as_an_accelerator_and_says_which() -> None:
    keep_profile(PROFILE)
    device = find_accelerator("Local")
    assert isinstance(device, LocalAccelerator)
    assert (device.memory_bytes, device.bandwidth_bytes_per_s, device.fp16_flops_per_s) == (16e9, 10e9, 4e11)
    assert device.note == "profile of 2026-11-22 10:00 UTC: A processor, 2 threads"
    assert constants_of(device, "default").bands == PROFILE.bands
    with pytest.raises(UsageError, match="leave out the engine 'vllm'"):
        constants_of(device, "vllm")


def test_without_a_profile_one_line_names_the_command_and_no_store_is_made(home: Path) -> None:
    with pytest.raises(UsageError, match="run `llmdrill lab calibrate` first"):
        find_accelerator("local")
    assert not (home / "llmdrill.sqlite3").exists()


@pytest.mark.parametrize("document", ["{}", "not json", "[1]", json.dumps({"date": 1})])
def test_a_profile_of_another_version_is_refused_with_the_remedy(home: Path, document: str) -> None:
    with Store(home) as store:
        store.save_measurement(KEY, document, now="")
    with pytest.raises(UsageError, match="of another version: run `llmdrill lab calibrate` again"):
        local_accelerator()


@given(size=st.floats(1.0, 1e10))
def test_bandwidth_lies_between_the_tiers_around_and_never_rises_with_the_set(size: float) -> None:
    found = PROFILE.bandwidth_bytes_per_s(size)
    assert 10e9 <= found <= 100e9
    assert PROFILE.bandwidth_bytes_per_s(2 * size) <= found


def test_half_way_between_two_sizes_in_the_logarithm_is_half_way_between_their_rates() -> None:
    assert PROFILE.bandwidth_bytes_per_s(1e7) == pytest.approx((100e9 * 10e9) ** 0.5)


def test_the_native_engine_decodes_where_it_was_measured_and_torch_reads_prompts() -> None:
    assert PROFILE.engine_costs("fp32", decodes=True).engine == "native"
    assert PROFILE.engine_costs("int8", decodes=True).precision == "int8"
    read = PROFILE.engine_costs("int8", decodes=False)
    assert (read.engine, read.precision) == ("torch", "fp32")
    with pytest.raises(UsageError, match="measured in fp32, int8, not in fp8"):
        PROFILE.engine_costs("fp8", decodes=True)
