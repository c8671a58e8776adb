from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.units import (
    Dimension,
    format_bytes,
    format_count,
    format_quantity,
    format_seconds,
    format_share,
    format_usd,
    parse_quantity,
    six_digits,
)

DIMENSIONS: tuple[Dimension, ...] = (
    "count",
    "bytes",
    "seconds",
    "usd",
    "share",
    "per_second",
    "bytes_per_second",
    "flops",
)
SPELLINGS: list[tuple[str, Dimension, float]] = [
    ("500", "count", 500),
    ("1,000,000", "count", 1e6),
    ("1_000_000", "count", 1e6),
    ("1e3", "count", 1000),
    ("128k", "count", 128_000),
    ("128K tokens", "count", 128_000),
    ("1M", "count", 1e6),
    ("1 Mtok", "count", 1e6),
    ("7bn", "count", 7e9),
    ("70B", "count", 70e9),
    ("-3", "count", -3),
    ("80GB", "bytes", 80e9),
    ("80 gb", "bytes", 80e9),
    ("80GiB", "bytes", 80 * 2**30),
    ("512 MiB", "bytes", 512 * 2**20),
    ("1.5TB", "bytes", 1.5e12),
    ("640", "bytes", 640),
    ("25ms", "seconds", 0.025),
    ("25 MS", "seconds", 0.025),
    ("30µs", "seconds", 30e-6),
    ("30μs", "seconds", 30e-6),
    ("2 seconds", "seconds", 2),
    ("1.5min", "seconds", 90),
    ("2 hours", "seconds", 7200),
    ("30 days", "seconds", 30 * 86400),
    ("1\N{NO-BREAK SPACE}h", "seconds", 3600),
    ("$0.002", "usd", 0.002),
    ("0.2c", "usd", 0.002),
    ("0.2 ¢", "usd", 0.002),
    ("5 USD", "usd", 5),
    ("-$5", "usd", -5),
    ("$1.5k", "usd", 1500),
    ("0.85", "share", 0.85),
    ("85%", "share", 0.85),
    ("85 %", "share", 0.85),
    ("12", "per_second", 12),
    ("40 tok/s", "per_second", 40),
    ("2k tokens/s", "per_second", 2000),
    ("90 rpm", "per_second", 1.5),
    ("86400/day", "per_second", 1),
    ("12 QPS", "per_second", 12),
    ("3 ktok/day", "per_second", 3000 / 86400),
    ("3.35TB/s", "bytes_per_second", 3.35e12),
    ("900 GB / s", "bytes_per_second", 900e9),
    ("989TFLOPS", "flops", 989e12),
    ("989 TFLOP/s", "flops", 989e12),
    ("2 PFLOPs", "flops", 2e15),
]


@pytest.mark.parametrize(("text", "dimension", "value"), SPELLINGS)
def test_a_quantity_is_read_as_people_write_it(text: str, dimension: Dimension, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "said"),
    [
        ("", "count", "not a quantity"),
        ("many", "count", "write it like 500, 128k, 1M"),
        ("nan", "count", "not a quantity"),
        ("inf", "usd", "not a quantity"),
        ("1e400", "count", "too large"),
        ("1e308k", "count", "too large"),
        ("1,5s", "seconds", "not a quantity"),
        ("1,00,000", "count", "not a quantity"),
        ("1__000", "count", "not a quantity"),
        ("--5", "count", "not a quantity"),
        ("5-3", "count", "not a quantity"),
        ("٣", "count", "not a quantity"),
        ("12:30", "seconds", "unknown unit"),
        ("5 m", "seconds", "did you mean ms, min"),
        ("5 parsec", "seconds", "unknown unit 'parsec'"),
        ("$80GB", "bytes", "not a quantity"),
        ("8b", "bytes", "unknown unit 'b'"),
        ("80Gb", "bytes", "did you mean GB"),
        ("100 Gb/s", "bytes_per_second", "did you mean GB/s"),
        ("100 gb/s", "bytes_per_second", "did you mean GB/s"),
        ("80 GHz", "bytes", "unknown unit"),
        ("5 foo/s", "per_second", "unknown unit 'foo/s'"),
        ("85 percent", "share", "write it like 0.85, 85%"),
    ],
)
def test_what_could_be_misread_is_refused_with_an_example(text: str, dimension: Dimension, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_quantity(text, dimension)
    assert said in str(refusal.value)


def test_a_bare_number_takes_the_unit_that_was_asked_for() -> None:
    assert parse_quantity("250", "seconds", bare_unit="ms") == 0.25
    assert parse_quantity("2s", "seconds", bare_unit="ms") == 2
    assert parse_quantity("85", "share", bare_unit="%") == 0.85


@pytest.mark.parametrize("text", ["1" * 1_000_000 + " x y", "1 " + "x" * 1_000_000])
def test_a_very_long_text_is_refused_at_once_and_shown_shortened(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_quantity(text, "count")
    assert len(str(refusal.value)) < 200


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, parse_quantity("-0", "count")) == 1


@given(hundredths=st.integers(0, 100_000))
def test_a_percentage_is_the_share_to_the_last_bit(hundredths: int) -> None:
    assert parse_quantity(f"{hundredths}%", "share") == hundredths / 100


@given(number=st.integers(0, 10**15))
def test_grouping_thousands_changes_nothing(number: int) -> None:
    assert parse_quantity(f"{number:,}", "count") == parse_quantity(f"{number:_}", "count") == float(number)


@given(value=st.floats(1e-6, 1e6), space=st.sampled_from(["", " ", "\t", "\N{NO-BREAK SPACE}"]))
def test_a_thousand_of_the_small_unit_is_one_of_the_large(value: float, space: str) -> None:
    text = f"{value:.9f}"
    assert parse_quantity(f"{text}{space}s", "seconds") == pytest.approx(
        1000 * parse_quantity(f"{text}{space}ms", "seconds"), rel=1e-12
    )
    assert parse_quantity(f"{text}{space}MiB", "bytes") == pytest.approx(
        1024 * parse_quantity(f"{text}{space}KiB", "bytes"), rel=1e-12
    )


@given(text=st.text(max_size=80), dimension=st.sampled_from(DIMENSIONS))
def test_any_text_is_a_finite_number_or_a_usage_error(text: str, dimension: Dimension) -> None:
    try:
        value = parse_quantity(text, dimension)
    except UsageError:
        return
    assert math.isfinite(value)


@given(value=st.floats(1, 1e17))
def test_what_is_printed_for_bytes_reads_back_in_both_systems(value: float) -> None:
    for part in format_bytes(value).rstrip(")").split(" ("):
        assert parse_quantity(part, "bytes") == pytest.approx(value, rel=0.006, abs=0.5)


@pytest.mark.parametrize("dimension", ["seconds", "usd", "share", "count", "per_second", "bytes_per_second", "flops"])
@given(value=st.floats(1e-9, 1e12), negative=st.booleans())
def test_what_is_printed_reads_back(dimension: Dimension, value: float, negative: bool) -> None:
    value = -value if negative else value
    text = format_quantity(value, dimension)
    assert "e" not in text
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (format_bytes(0), "0 B"),
        (format_bytes(999_999), "1 MB (977 KiB)"),
        (format_bytes(1023 * 1024), "1.05 MB (1023 KiB)"),
        (format_bytes(2**40), "1.1 TB (1 TiB)"),
        (format_seconds(0), "0 s"),
        (format_seconds(0.00099999), "1 ms"),
        (format_seconds(119.9), "2 min"),
        (format_seconds(3599.9), "1 h"),
        (format_usd(0), "$0.00"),
        (format_usd(-5), "-$5.00"),
        (format_usd(0.0000005), "$0.0000005"),
        (format_count(0), "0"),
        (format_count(0.00002), "0.00002"),
        (format_count(999_999), "1M"),
        (format_share(0.99999), "99.999%"),
        (format_share(1), "100%"),
        (format_share(0.999), "99.9%"),
        (format_quantity(12, "per_second"), "12/s"),
    ],
)
def test_numbers_are_printed_for_people(printed: str, text: str) -> None:
    assert printed == text


@given(value=st.floats(-1e12, 1e12))
def test_six_digits_are_kept_and_rounding_twice_changes_nothing(value: float) -> None:
    assert six_digits(value) == pytest.approx(value, rel=5.1e-6)
    assert six_digits(six_digits(value)) == six_digits(value)
