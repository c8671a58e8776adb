"""A machine's profile with constants made up, for tests of what runs on the accelerator `local`."""

from __future__ import annotations

from llmdrill.catalog.local import EngineCosts, MachineProfile, Tier
from llmdrill.catalog.serving_constants import Band
from llmdrill.measurement import Machine

TERMS = ("prefill_pass", "decode_pass", "weights", "rows_1", "rows_512")
CONSTANTS = (1e-4, 1e-4, 1.0, 1e-11, 6e-9)
PROFILE = MachineProfile(
    date="2026-11-22T10:00:00+00:00",
    machine=Machine("A processor", 2, 2, 16 * 10**9, "Linux", ()),
    tiers=(Tier(1e6, 80e9, 80e9), Tier(1e8, 15e9, 15e9)),
    fp32_flops_per_s=1e11,
    bf16_flops_per_s=1e11,
    costs=(EngineCosts("torch", "fp32", TERMS, CONSTANTS, 9), EngineCosts("native", "int8", TERMS, CONSTANTS, 9)),
    bands=tuple(Band(metric, "dense", 0.8, 1.25, 0.05, 9) for metric in ("tpot", "ttft", "throughput")),
    rounds=4,
)
LABEL = "profile of 2026-11-22 10:00 UTC: A processor, 2 threads"
