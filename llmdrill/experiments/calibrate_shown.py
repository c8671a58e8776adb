"""How a calibration is shown: held-out errors, the solved constants, the bandwidth curve, and what it means."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.catalog.local import MachineProfile
    from llmdrill.experiments.calibrate import Confronted

US_PER_S: Final = 1e6
PS_PER_S: Final = 1e12
MIB: Final = float(1 << 20)
GOOD_MAPE: Final = 0.10
FAIR_MAPE: Final = 0.25
BUSY_SPREAD: Final = 0.1  # between the quartiles of one time: an idle machine has a few hundredths


def held_out_table(confronted: Sequence[Confronted]) -> Table:
    """Return every held-out time: predicted, measured, the error, and whether the interval holds it."""
    columns = ("shape", "request", "engine", "quantity", "predicted_ms", "measured_ms", "error", "inside")
    rows = tuple(
        (
            one.asked.name,
            one.asked.request,
            f"{'torch' if one.quantity == 'ttft' else one.asked.engine} {one.asked.precision}",
            one.quantity,
            _ms(one.predicted.value),
            _ms(one.measured_s),
            round(one.error, 3),
            "yes" if one.covered else "no",
        )
        for one in confronted
    )
    note = (
        "request: prompt + output tokens, x requests together; prompts of int8 weights are read in fp32; error ="
        " predicted / measured - 1; inside: within the 80 % interval of the prediction"
    )
    return Table("held out", columns, rows, note)


def profile_tables(profile: MachineProfile) -> tuple[Table, Table]:
    """Return the bandwidth by working set, and the solved constants of every engine."""
    tiers = tuple((int(tier.set_bytes), round(tier.bytes_per_s)) for tier in profile.tiers)
    rows = []
    for costs in profile.costs:
        of = dict(zip(costs.terms, costs.constants, strict=True))
        scales = {"decode_pass": US_PER_S, "decode_layer": US_PER_S, "weights": 1.0, "cache": 1.0}
        scales |= dict.fromkeys(("rows_1", "rows_8", "rows_512"), PS_PER_S)
        cells = (_rounded(of.get(name), scale) for name, scale in scales.items())
        rows.append((f"{costs.engine} {costs.precision}", *cells))
    columns = ("engine", "pass_us", "layer_us", "weights_ratio", "cache_ratio", "row_1_ps", "rows_8_ps", "rows_512_ps")
    note = "of a decode step; ratios: times what plain reading takes; ps: for a weight beyond its reading, by rows"
    return (
        Table("bandwidth", ("set_bytes", "bytes_per_s"), tiers, "of reading a working set over and over"),
        Table("constants", columns, tuple(rows), note),
    )


def pictures_of(confronted: Sequence[Confronted], profile: MachineProfile) -> tuple[Picture, ...]:
    """Return the bandwidth curve, and predicted beside measured."""
    sizes, rates = zip(*((tier.set_bytes / MIB, tier.bytes_per_s / 1e9) for tier in profile.tiers), strict=True)
    curve = Picture(
        "Bandwidth by working set", "MiB read over and over", "GB/s", (Series("read", sizes, rates),), log_x=True
    )
    measured, predicted = zip(
        *sorted((one.measured_s * MS_PER_S, one.predicted.value * MS_PER_S) for one in confronted), strict=True
    )
    lines = (Series("predicted", measured, predicted), Series("exact", measured, measured))
    held = Picture("Held-out times", "measured ms", "predicted ms", lines, log_x=True, log_y=True)
    return curve, held


def meaning_of(confronted: Sequence[Confronted], *, spread: float, speed: float | None) -> tuple[str, str]:
    """Say how far predictions were off, and what that allows.

    Args:
        confronted: Predictions and measurements.
        spread: Between rounds, of one and the same time.
        speed: Of the machine now, 1 being when an earlier run made the profile; None: this run made it.
    """
    off = [abs(one.error) for one in confronted]
    mape, shapes = fmean(off), len({one.asked.name for one in confronted})
    what = "Constants solved from probes alone" if speed is None else "The profile of an earlier run"
    first = (
        f"{what} predicted {len(off)} times of {shapes} shapes that no probe has, off by {format_share(mape)} in the"
        f" mean and {format_share(median(off))} in the median."
    )
    worst = max(confronted, key=lambda one: abs(one.error))
    tail = f"the worst is {worst.quantity.upper()} of {worst.asked.name} ({worst.error:+.0%})"
    if mape <= GOOD_MAPE:
        return first, f"That is enough to compare designs on this machine; {tail}."
    if speed is not None and abs(speed - 1.0) > GOOD_MAPE:
        drift = f"Bandwidth and matrix products ran at {speed:.2f} times the speed they had then"
        return first, f"{drift}, so the machine drifted or is busy: calibrate again when it is idle; {tail}."
    if spread > BUSY_SPREAD:
        apart = f"The same pass took other times from round to round, spread over {format_share(spread)} of its median"
        return first, f"{apart}, so the machine was busy: calibrate again when it is idle; {tail}."
    if mape <= FAIR_MAPE:
        return first, f"That is enough for a first choice, not for a limit that is close; {tail}."
    return first, f"That is too far off to decide by: calibrate again, and leave the machine idle; {tail}."


def _ms(seconds: float) -> float:
    return float(f"{seconds * MS_PER_S:.4g}")


def _rounded(value: float | None, scale: float) -> float | None:
    return None if value is None else float(f"{value * scale:.4g}")
