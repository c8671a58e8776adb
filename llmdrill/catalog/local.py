"""The accelerator ``local``: this machine, as ``llmdrill lab calibrate`` last measured it and keeps it in the store."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.accelerator import Accelerator
from llmdrill.catalog.load import LOCAL
from llmdrill.catalog.serving_constants import Band, ServingConstants
from llmdrill.errors import UsageError
from llmdrill.folders import home_folder
from llmdrill.measurement import Machine  # noqa: TC001 - the reader resolves annotations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY: Final = "machine-profile"
COMMAND: Final = "llmdrill lab calibrate"
WEIGHT_BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0}
CACHE_BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "int8": 4.0}  # a value; beside int8 weights the cache is fp32


@dataclass(frozen=True, slots=True)
class Tier:
    """Bytes per second at which a working set of so many bytes is read: the median reading, and the fastest."""

    set_bytes: float
    bytes_per_s: float
    best_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class EngineCosts:
    """What a pass of one engine in one precision costs: constants solved from timed probes.

    Attributes:
        engine: ``torch`` reads prompts and can decode; ``native`` decodes.
        precision: Of the weights.
        terms: What a constant is multiplied with, as ``llmdrill.estimate.local_serving`` names it.
        constants: One a term; seconds per unit of it, or a ratio.
        readings: Medians that they were solved from.
    """

    engine: str
    precision: str
    terms: tuple[str, ...]
    constants: tuple[float, ...]
    readings: int


@dataclass(frozen=True, slots=True)
class MachineProfile:
    """What this machine does with decoders.

    Attributes:
        date: When it was measured, ISO 8601, UTC, to the second.
        tiers: Bandwidth by working set, the smallest first.
        fp32_flops_per_s: Of a large matrix product.
        bf16_flops_per_s: Likewise.
        bands: How far predictions of probes were off that the constants had not seen.
    """

    date: str
    machine: Machine
    tiers: tuple[Tier, ...]
    fp32_flops_per_s: float
    bf16_flops_per_s: float
    costs: tuple[EngineCosts, ...]
    bands: tuple[Band, ...]
    rounds: int

    @property
    def label(self) -> str:
        """Which profile it is: date, processor, threads."""
        machine = self.machine
        return f"profile of {self.date[:16].replace('T', ' ')} UTC: {machine.cpu}, {machine.threads} threads"

    def bandwidth_bytes_per_s(self, set_bytes: float) -> float:
        """Return the bandwidth of a working set: between two measured sizes by straight line in both logarithms."""
        return _between([(tier.set_bytes, tier.bytes_per_s) for tier in self.tiers], set_bytes)

    def best_bandwidth_bytes_per_s(self, set_bytes: float) -> float:
        """Return the fastest that a working set was read, between two measured sizes likewise."""
        return _between([(tier.set_bytes, tier.best_bytes_per_s) for tier in self.tiers], set_bytes)

    def engine_costs(self, precision: str, *, decodes: bool) -> EngineCosts:
        """Return the constants of the engine that decodes or reads prompts: native decodes where it was measured.

        Raises:
            UsageError: If this precision was not measured.
        """
        if not decodes:
            precision = "bf16" if precision == "bf16" else "fp32"  # int8 weights are read by torch in fp32
        found = [costs for costs in self.costs if costs.precision == precision]
        preferred = "native" if decodes else "torch"
        found.sort(key=lambda costs: costs.engine != preferred)
        if not found:
            known = ", ".join(sorted({costs.precision for costs in self.costs}))
            raise UsageError(f"'{LOCAL}' was measured in {known}, not in {precision}: state one of these precisions")
        return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAccelerator(Accelerator):
    """This machine as an accelerator: its estimates come from its profile."""

    profile: MachineProfile

    def bandwidth_at(self, set_bytes: float) -> float:
        """Return the fastest that a working set of that size was read: a floor's."""
        return self.profile.best_bandwidth_bytes_per_s(set_bytes)

    def cache_bytes_per_value(self, precision: str) -> float:
        """Return the bytes of a value in the cache that the lab's engines keep beside weights of that precision.

        Raises:
            UsageError: If this precision was not measured.
        """
        return CACHE_BYTES[self.profile.engine_costs(precision, decodes=True).precision]

    def prompt_bytes_per_weight(self, precision: str) -> float:
        """Return the bytes held of each weight by the engine that reads prompts, where another one decodes.

        Raises:
            UsageError: If this precision was not measured.
        """
        decodes, reads = (self.profile.engine_costs(precision, decodes=which) for which in (True, False))
        return 0.0 if decodes.engine == reads.engine else WEIGHT_BYTES[reads.precision]

    @property
    def constants(self) -> ServingConstants:
        """What stands behind its estimates, in place of a serving engine's fit."""
        profile = self.profile
        return ServingConstants(
            name=LOCAL,
            kernel_s=0.0,
            all_reduce_s=0.0,
            sequence_s=0.0,
            first_token_kernel_s=0.0,
            bands=profile.bands,
            rows=sum(costs.readings for costs in profile.costs),
            fitted_to=profile.label,
            source=f"{COMMAND}, {profile.label}",
            date=dt.date.fromisoformat(profile.date[:10]),
            mixes_prefill=False,
        )


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    """Return y at a position by straight line in both logarithms, beyond either end the last one.

    >>> _between([(1.0, 100.0), (4.0, 25.0)], 2.0), _between([(1.0, 100.0), (4.0, 25.0)], 9.0)
    (50.0, 25.0)
    """
    before, y = points[0]
    if at <= before:
        return y
    for (low, low_y), (high, high_y) in itertools.pairwise(points):
        if at < high:
            return low_y * math.pow(high_y / low_y, math.log(at / low) / math.log(high / low))
    return points[-1][1]


def keep_profile(profile: MachineProfile, *, folder: Path | None = None) -> None:
    """Keep the profile in the store, in place of the one before.

    Raises:
        StoreError: If the store cannot be written.
    """
    from llmdrill.store import Store

    document = json.dumps(dataclasses.asdict(profile), separators=(",", ":"))
    with Store(folder or home_folder()) as store:
        store.save_measurement(KEY, document, now=profile.date)


def stored_profile(*, folder: Path | None = None) -> MachineProfile:
    """Return the profile of this machine.

    Raises:
        UsageError: If there is none, or one that this version cannot read; with the command that makes one.
        StoreError: If the store cannot be opened.
    """
    from llmdrill.catalog.reader import plain_record
    from llmdrill.store import FILE_NAME, Store

    folder = folder or home_folder()
    if (folder / FILE_NAME).is_file():
        with Store(folder) as store:
            document = store.measurement(KEY)
        if document is not None:
            try:
                return plain_record(MachineProfile, json.loads(document))
            except (ValueError, TypeError, AttributeError) as error:
                raise UsageError(f"the profile of '{LOCAL}' is of another version: run `{COMMAND}` again") from error
    raise UsageError(f"the accelerator '{LOCAL}' is this machine, which was not measured yet: run `{COMMAND}` first")


def local_accelerator() -> LocalAccelerator:
    """Return this machine as an accelerator.

    Raises:
        UsageError, StoreError: As ``stored_profile`` says.
    """
    profile = stored_profile()
    return LocalAccelerator(
        name=LOCAL,
        memory_bytes=float(profile.machine.memory_bytes),
        bandwidth_bytes_per_s=profile.tiers[-1].bytes_per_s,
        fp16_flops_per_s=max(profile.bf16_flops_per_s, 2 * profile.fp32_flops_per_s),  # floors take half of it in fp32
        fp8_flops_per_s=None,
        tdp_w=None,
        source=f"{COMMAND}, {profile.label}",
        date=dt.date.fromisoformat(profile.date[:10]),
        note=profile.label,
        profile=profile,
    )
