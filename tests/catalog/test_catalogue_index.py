"""The index beside each catalogue file: fresh, equal to the YAML, and never believed when the YAML is another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.catalog import load
from llmdrill.catalog.index import Table, canonical, fresh_indexes, index_file, index_text, open_table
from llmdrill.errors import ContentError

if TYPE_CHECKING:
    from pathlib import Path

FILES = load.catalogue_files()
by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def unread(path: Path, kind: type) -> tuple[Any, ...]:
    """Stand in for the reader of YAML where it must not be called."""
    raise AssertionError(f"the YAML of {kind.__name__} was read: {path}")


def copied(path: Path, folder: Path) -> Path:
    """Return a copy of a catalogue file with a fresh index beside it."""
    copy = folder / path.name
    shutil.copy(path, copy)
    index_file(copy).parent.mkdir()
    index_file(copy).write_text(index_text(copy, load.read_file(copy, FILES[path])), "utf-8")
    return copy


@by_file
def test_the_shipped_index_is_fresh(path: Path) -> None:
    target = index_file(path)
    assert target.read_text("utf-8") == fresh_indexes()[target], "run python docs/generate.py"


@by_file
def test_the_index_gives_the_very_records_that_the_yaml_gives(path: Path, tmp_path: Path) -> None:
    table: Table[Any] = open_table(copied(path, tmp_path), FILES[path], unread)
    records = load.read_file(path, FILES[path])
    assert table.records() == records
    assert table.newest == max(record.date for record in records)
    for record in records:
        for name in (record.name, *record.aliases):
            assert record in table.matching(name)
            assert {canonical(known) for match in table.matching(name) for known in (match.name, *match.aliases)} >= {
                canonical(name)
            }


def test_an_edited_yaml_wins_over_its_index(tmp_path: Path) -> None:
    path = load.FOLDER / "prices.yaml"
    copy = copied(path, tmp_path)
    text = copy.read_text("utf-8")
    assert "input: 0.15" in text
    copy.write_text(text.replace("input: 0.15", "input: 0.16"), "utf-8")
    table: Table[Any] = open_table(copy, FILES[path], load.read_file)
    assert {price.input_usd_per_mtok for price in table.matching("gpt-4o-mini")} == {0.16}


def test_a_touched_yaml_of_the_same_bytes_keeps_its_index(tmp_path: Path) -> None:
    path = load.FOLDER / "prices.yaml"
    copy = copied(path, tmp_path)
    copy.write_bytes(path.read_bytes())
    assert open_table(copy, FILES[path], unread).matching("gpt-4o-mini")


@pytest.mark.parametrize(
    "spoiled",
    [b"", b"{", b"[]", b"\xff\xfe", {"format": "llmdrill/catalogue-index@0"}, {"fields": ["name"]}, {"records": None}],
    ids=["empty", "cut-short", "a-list", "binary", "another-format", "other-fields", "no-records"],
)
def test_an_index_that_cannot_be_used_is_passed_over(tmp_path: Path, spoiled: bytes | dict[str, Any]) -> None:
    path = load.FOLDER / "accelerators.yaml"
    copy = copied(path, tmp_path)
    target = index_file(copy)
    if isinstance(spoiled, dict):
        spoiled = json.dumps(json.loads(target.read_bytes()) | spoiled).encode()
    target.write_bytes(spoiled)
    table: Table[Any] = open_table(copy, FILES[path], load.read_file)
    assert table.records() == load.load_accelerators()


def test_without_an_index_a_malformed_yaml_is_refused_with_its_place(tmp_path: Path) -> None:
    copy = tmp_path / "serving.yaml"
    copy.write_text("records: 3\n")
    with pytest.raises(ContentError, match=r"serving\.yaml:1:1"):
        open_table(copy, FILES[load.FOLDER / "serving.yaml"], load.read_file)


def test_only_the_record_asked_for_is_built() -> None:
    script = """
import llmdrill.catalog.architecture as architecture
from llmdrill.catalog.load import find_model
built, make = [], architecture.ModelRecord.__init__
architecture.ModelRecord.__init__ = lambda self, **values: (built.append(values["name"]), make(self, **values))[1]
assert find_model("llama-3.1-8b") is find_model("meta-llama/Llama_3.1 8B")
print(*built)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["llama-3.1-8b"]
