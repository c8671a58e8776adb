from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import ContentError
from llmdrill.measurement import (
    MAX_FILE_BYTES,
    Figure,
    Machine,
    Measurement,
    Table,
    measurement_from_json,
    measurement_key,
    measurements_json,
    read_measurements,
)
from llmdrill.units import six_digits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = Measurement(
    kind="retrieval",
    key=measurement_key({"k": 5}),
    figures=(Figure("recall_at_k", 0.8125, low=0.75, high=0.875, n=120, note="95 % interval"), Figure("mrr", None)),
    tables=(Table("by kind", ("kind", "recall", "n"), (("code", 0.5, 12), ("all", None, 120))),),
    machine=Machine("a cpu", cores=2, threads=2, memory_bytes=2**34, platform="linux", versions=(("torch", "2.13.0"),)),
    seed=0,
    repeats=3,
    seconds=1.5,
    notes=("random weights: latency and memory only",),
)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(ContentError) as refusal:
        read_measurements(path)
    assert str(refusal.value).startswith(f"{path}:1:1: ")
    return str(refusal.value)


def test_measurements_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", json.dumps(measurements_json([RUN, replace(RUN, kind="decoding")])))
    assert read_measurements(path) == (RUN, replace(RUN, kind="decoding"))


def shown(part: Any) -> Any:
    """Whole numbers are bytes and counts: exact. Others are rounded."""
    return six_digits(part) if isinstance(part, float) and not part.is_integer() else part


@given(value=numbers, low=numbers, cell=numbers | st.text() | st.integers(-(2**40), 2**40))
def test_any_figure_and_any_cell_survive_to_six_digits(value: float | None, low: float | None, cell: Any) -> None:
    run = replace(RUN, figures=(Figure("x", value, low=low),), tables=(Table("t", ("a",), ((cell,),)),))
    back = measurement_from_json(json.loads(json.dumps(measurements_json([run])))["measurements"][0])
    read = (back.figures[0].value, back.figures[0].low, back.tables[0].rows[0][0])
    assert read == tuple(shown(part) for part in (value, low, cell))


def test_writing_what_was_read_gives_the_same_file() -> None:
    once = json.dumps(measurements_json([RUN]))
    again = json.dumps(measurements_json([measurement_from_json(json.loads(once)["measurements"][0])]))
    assert again == once


def test_a_figure_that_was_not_measured_is_none() -> None:
    assert RUN.figure("mrr") == Figure("mrr", None)
    assert RUN.figure("ndcg") is None


def test_the_key_changes_with_every_part_and_not_with_their_order() -> None:
    parts: dict[str, object] = {"corpus": "ab12", "model": "x", "k": 5}
    keys = {measurement_key({**parts, name: "other"}) for name in parts}
    assert len(keys | {measurement_key(parts)}) == 4
    assert measurement_key(dict(reversed(parts.items()))) == measurement_key(parts)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda run: run.pop("machine"), "machine: field required"),
        (lambda run: run.update(other=1), "other: unexpected"),
        (lambda run: run.update(seed="0"), "seed: input should be a valid integer"),
        (lambda run: run["figures"][0].update(value="0.8"), "figures.0.value: input should be a valid number"),
        (lambda run: run["figures"][0].update(value=True), "figures.0.value: input should be a valid number"),
        (lambda run: run["figures"][0].update(value=float("nan")), "figures.0.value: input should be a finite number"),
        (lambda run: run["figures"][0].update(high=float("inf")), "figures.0.high: input should be a finite number"),
        (lambda run: run["figures"][0].update(other=1), "figures.0.other: unexpected"),
        (lambda run: run["figures"].append(run["figures"][0]), "a figure's name comes twice"),
        (lambda run: run["tables"][0]["rows"].append([{}]), "tables.0.rows.2.0"),
        (lambda run: run["machine"].update(versions=[["torch"]]), "machine.versions.0"),
    ],
)
def test_a_measurement_that_was_tampered_with_is_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    data = json.loads(json.dumps(measurements_json([RUN])))
    edit(data["measurements"][0])
    assert said in refusal_of(written(tmp_path / "m.json", json.dumps(data)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "5",
        "\x00",
        "[" * 100_000,
        '{"schema": "llmdrill/design@1"}',
        '{"schema": "llmdrill/measurement@1"}',
        '{"schema": "llmdrill/measurement@1", "measurements": 5}',
        '{"schema": "llmdrill/measurement@1", "measurements": ["a"]}',
        '{"schema": "llmdrill/measurement@1", "measurements": [{}]}',
    ],
)
def test_what_is_no_measurement_file_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    refusal = refusal_of(written(tmp_path / "m.json", text))
    assert "is no measurement file" in refusal
    assert "llmdrill measure DESIGN" in refusal


def test_a_file_of_another_schema_is_refused_whatever_else_it_holds(tmp_path: Path) -> None:
    data = {**measurements_json([RUN]), "schema": "llmdrill/measurement@2"}
    refusal = refusal_of(written(tmp_path / "m.json", json.dumps(data)))
    assert "its schema is not llmdrill/measurement@1" in refusal


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal_of(tmp_path / "absent.json")
    assert "is a folder" in refusal_of(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xff"}')
    assert "UnicodeDecodeError" in refusal_of(tmp_path / "latin.json")
    (tmp_path / "endless.json").symlink_to("/dev/zero")
    assert f"larger than {MAX_FILE_BYTES // 1_000_000} MB" in refusal_of(tmp_path / "endless.json")
