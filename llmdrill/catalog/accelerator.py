"""An accelerator's datasheet and what it cost to rent."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rental:
    """What one accelerator cost per hour: one provider, one day."""

    provider: str
    usd_per_hour: float
    source: str
    date: dt.date
    note: str = ""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator's datasheet, per device.

    Attributes:
        memory_bytes: Nominal, in SI bytes (80 GB is 80e9); a driver shows a few percent more or less.
        bandwidth_bytes_per_s: Of its memory.
        fp16_flops_per_s: Dense matrix multiplication in fp16 or bf16, FLOP/s; None where no figure is solid.
        fp8_flops_per_s: Dense, in fp8; None where it has none or no source gives it.
        tdp_w: Board power.
        fp4_flops_per_s: Dense, in fp4; None as above.
        int8_ops_per_s: Dense, in int8; None as above.
        link_bytes_per_s: What it sends to its peers in the node over all its links, one direction.
        link: What those links are.
        single_source: Fields that only one public source gives; the others agree in at least two.
        rentals: Dated prices, in any order.
    """

    name: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    fp16_flops_per_s: float | None
    fp8_flops_per_s: float | None
    tdp_w: float | None
    source: str
    date: dt.date
    fp4_flops_per_s: float | None = None
    int8_ops_per_s: float | None = None
    link_bytes_per_s: float | None = None
    link: str = ""
    aliases: tuple[str, ...] = ()
    single_source: tuple[str, ...] = ()
    rentals: tuple[Rental, ...] = ()
    note: str = ""

    def bandwidth_at(self, set_bytes: float) -> float:  # noqa: ARG002 - a machine with caches overrides this
        """Return the bandwidth at which a working set of that size is read: the memory's, whatever its size."""
        return self.bandwidth_bytes_per_s

    def cache_bytes_per_value(self, precision: str) -> float:  # noqa: ARG002 - as above
        """Return the bytes of a cached value beside weights of that precision, where none are asked for: 2 (fp16)."""
        return 2.0

    def prompt_bytes_per_weight(self, precision: str) -> float:  # noqa: ARG002 - as above
        """Return the bytes held of each weight, beside those that decode, for prompts: 0, one copy does both."""
        return 0.0

    @property
    def rental(self) -> Rental | None:
        """The cheapest rental of the newest day, the first provider by name among equals; None if none was read."""
        if not self.rentals:
            return None
        newest = max(rental.date for rental in self.rentals)
        return min(
            (rental for rental in self.rentals if rental.date == newest),
            key=lambda rental: (rental.usd_per_hour, rental.provider),
        )
