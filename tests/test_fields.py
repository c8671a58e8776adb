from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmdrill.fields import (
    Bytes,
    Count,
    FileModel,
    Identifier,
    Positive,
    Prose,
    Seconds,
    Share,
    Usd,
    Whole,
)


class Everything(FileModel):
    count: Count = 1.0
    seconds: Seconds = 0.0
    memory: Bytes = 0.0
    price: Usd = 0.0
    share: Share = 0.0
    whole: Whole = 0
    positive: Positive = 1
    name: Identifier = "a"
    prose: Prose = "a"


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("count", "128k", 128_000.0),
        ("count", 5, 5.0),
        ("seconds", "25ms", 0.025),
        ("seconds", "2", 2.0),
        ("seconds", 0.5, 0.5),
        ("memory", "80GB", 80e9),
        ("price", "$0.002", 0.002),
        ("price", "0.2c", 0.002),
        ("share", "85%", 0.85),
        ("share", 1, 1.0),
        ("whole", "128k", 128_000),
        ("whole", 1e3, 1000),
        ("whole", 0, 0),
        ("positive", "1e3", 1000),
        ("name", "all-minilm_l6.v2", "all-minilm_l6.v2"),
        ("prose", "  a sentence \n", "a sentence"),
    ],
)
def test_a_field_takes_a_number_or_a_quantity_as_people_write_it(field: str, written: Any, read: Any) -> None:
    value = getattr(Everything.model_validate({field: written}), field)
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("count", 0),
        ("count", "-1"),
        ("count", True),
        ("count", float("nan")),
        ("count", float("inf")),
        ("count", 10**400),
        ("count", [1]),
        ("seconds", -0.001),
        ("seconds", "-1s"),
        ("seconds", "5GB"),
        ("memory", "80Gb"),
        ("price", -1),
        ("price", None),
        ("share", 1.01),
        ("share", "101%"),
        ("share", 85),
        ("whole", 1.5),
        ("whole", "1.5"),
        ("whole", -1),
        ("whole", False),
        ("whole", "1e400"),
        ("positive", 0),
        ("name", ""),
        ("name", "Upper"),
        ("name", "1st"),
        ("name", "a b"),
        ("name", "a\n"),
        ("name", "a" * 61),
        ("name", 5),
        ("prose", ""),
        ("prose", "   "),
        ("prose", "x" * 20_001),
        ("unknown", 1),
    ],
)
def test_what_is_out_of_range_or_of_another_kind_is_refused(field: str, written: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        Everything.model_validate({field: written})
    assert refusal.value.errors()[0]["loc"][0] == field


def test_a_model_of_a_file_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Everything().count = 2.0  # type: ignore[misc]


@given(number=st.integers(0, 10**15))
def test_a_whole_number_is_the_same_written_plain_grouped_or_as_a_float(number: int) -> None:
    written = (number, float(number), f"{number}", f"{number:,}")
    assert {Everything.model_validate({"whole": value}).whole for value in written} == {number}
