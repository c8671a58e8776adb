"""The accelerators: sane, sourced, equal to the readings where those agree, and rented by one rule."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_accelerator, load_accelerators
from llmdrill.catalog.records import Accelerator, Rental

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared measurements are not beside the repository")

COLUMNS = {
    "memory_bytes": ("memory_gb", 1e9),
    "bandwidth_bytes_per_s": ("memory_bandwidth_gb_s", 1e9),
    "fp16_flops_per_s": ("dense_fp16_bf16_tflops", 1e12),
    "fp8_flops_per_s": ("dense_fp8_tflops", 1e12),
    "int8_ops_per_s": ("dense_int8_tops", 1e12),
    "tdp_w": ("tdp_w", 1.0),
}
# Where the catalogue does not say what the readings say, and why.
EXPLAINED = {
    ("t4", "bandwidth_bytes_per_s"): "one reading says 300 GB/s; the memory's clock times its width gives 320",
    ("b200-sxm-180gb", "bandwidth_bytes_per_s"): "the readings are of the DGX board; the HGX board has 7.7 TB/s",
    ("b300-sxm-288gb", "memory_bytes"): "the reading is what a driver shows; the datasheet says 288 GB",
    ("gb300", "memory_bytes"): "the reading is what a driver shows; the datasheet says 288 GB",
}
ACCELERATORS = load_accelerators()
each = pytest.mark.parametrize("accelerator", ACCELERATORS, ids=lambda one: one.name)


def readings() -> list[dict[str, str]]:
    with (DATA / "hardware" / "gpus.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@needs_data
def test_the_catalogue_says_what_the_readings_say() -> None:
    seen = set()
    for row in readings():
        accelerator = find_accelerator(row["gpu"])
        for field, (column, scale) in COLUMNS.items():
            if row[column] and (accelerator.name, field) not in EXPLAINED:
                ours = getattr(accelerator, field)
                assert ours == pytest.approx(float(row[column]) * scale, rel=0.03), (accelerator.name, field)
                seen.add((accelerator.name, field))
    assert len(seen) > 130


@needs_data
def test_what_one_reading_alone_says_is_marked_or_has_a_second_source() -> None:
    for row in readings():
        accelerator = find_accelerator(row["gpu"])
        for field, (column, _) in COLUMNS.items():
            if row[f"{column}_n_sources"] == "1" and field not in accelerator.single_source:
                assert ";" in accelerator.source, (accelerator.name, field)


@needs_data
def test_every_measured_serving_row_names_an_accelerator_of_the_catalogue() -> None:
    with (DATA / "measured" / "serving.csv").open(newline="") as file:
        names = {row["gpu"] for row in csv.DictReader(file)}
    assert {find_accelerator(name).name for name in names}


def test_there_is_something_for_everybody() -> None:
    assert len(ACCELERATORS) >= 40
    servers = (
        "l4 l40s a10g a100 h100 h200 b200 b300 gb200 gb300 gh200 mi300x mi325x t4 v100 H100-PCIe H100-NVL H200-NVL"
    )
    others = "4090 3090 5090 rtx-pro-6000 tpu-v5e v5p trillium m2-ultra apple-m4-max cpu"
    wanted = f"{servers} {others}".split()
    assert all(find_accelerator(name) for name in wanted)


@each
def test_figures_are_of_the_right_order(accelerator: Accelerator) -> None:
    assert 10e9 <= accelerator.memory_bytes <= 600e9
    assert 20e9 <= accelerator.bandwidth_bytes_per_s <= 10e12
    assert accelerator.tdp_w is None or 50 <= accelerator.tdp_w <= 1500
    assert accelerator.link_bytes_per_s is None or 10e9 <= accelerator.link_bytes_per_s <= 1e12
    assert (accelerator.link_bytes_per_s is None) == (not accelerator.link)
    fp16, fp8, fp4 = accelerator.fp16_flops_per_s, accelerator.fp8_flops_per_s, accelerator.fp4_flops_per_s
    assert fp16 is None or 0.1e12 <= fp16 <= 3e15
    assert fp8 is None or fp16 is None or fp16 <= fp8 <= 2.1 * fp16
    assert fp4 is None or (fp8 is not None and 2 * fp8 <= fp4 <= 3.2 * fp8)


@each
def test_single_sources_name_fields_that_are_known(accelerator: Accelerator) -> None:
    fields = {field.name for field in dataclasses.fields(accelerator)}
    assert set(accelerator.single_source) <= fields
    assert all(getattr(accelerator, name) is not None for name in accelerator.single_source)


@each
def test_every_rent_has_a_provider_a_source_and_a_day(accelerator: Accelerator) -> None:
    for rental in accelerator.rentals:
        assert rental.provider
        assert rental.source
        assert dt.date(2026, 1, 1) <= rental.date <= accelerator.date
        assert 0.1 < rental.usd_per_hour < 12
    days = [(rental.provider, rental.date) for rental in accelerator.rentals]
    assert len(days) == len(set(days))


def test_most_have_a_rent_and_the_others_say_none_rather_than_zero() -> None:
    assert sum(one.rental is not None for one in ACCELERATORS) >= 25
    assert find_accelerator("h20").rental is None


def test_of_the_newest_day_s_rents_the_cheapest_is_taken() -> None:
    rental = find_accelerator("a100-sxm-80gb").rental
    assert rental is not None
    assert (rental.provider, rental.usd_per_hour, rental.date) == ("runpod", 1.79, dt.date(2026, 11, 9))


RENTALS = st.builds(
    Rental,
    provider=st.sampled_from(["aws", "lambda", "runpod"]),
    usd_per_hour=st.sampled_from([1.0, 2.0, 3.0]),
    source=st.just("a page"),
    date=st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 3)),
)


@given(rentals=st.lists(RENTALS, min_size=1), seed=st.randoms())
def test_the_order_of_rents_in_the_file_does_not_matter(rentals: list[Rental], seed: object) -> None:
    shuffled = rentals.copy()
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (dataclasses.replace(ACCELERATORS[0], rentals=tuple(some)) for some in (rentals, shuffled))
    assert one.rental == other.rental
    assert one.rental is not None
    newest = [rental for rental in rentals if rental.date == one.rental.date]
    assert all(rental.date <= one.rental.date for rental in rentals)
    assert one.rental.usd_per_hour == min(rental.usd_per_hour for rental in newest)
