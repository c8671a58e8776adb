"""Trees of YAML files that were read before: equal to the file, passed over when spoiled, never of another text."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill import content, read_before
from llmdrill.content import load_yaml, parse_yaml
from llmdrill.folders import cache_folder, shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.located import Located

SHIPPED = sorted(shipped_folder("scenarios").rglob("*.yaml"))
TEXT = "a: 1\nb: [x, 2.5, no, null]\nc: {d: true}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that was never read, and a home of its own."""
    monkeypatch.setenv("LLMDRILL_HOME", str(tmp_path / "home"))
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing read YAML."""

    def refuse(text: str, *, file: str) -> Located:
        raise AssertionError(f"{file} was read: {text[:20]}")

    monkeypatch.setattr(content, "parse_yaml", refuse)


def trees() -> list[Path]:
    return sorted((cache_folder() / "trees").glob("*.json"))


@pytest.mark.usefixtures("no_yaml")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_file_read_again_is_the_same_in_every_value_and_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMDRILL_HOME", str(tmp_path))
    first = parse_yaml(path.read_text("utf-8"), file=str(path))
    read_before.keep_tree(first)
    assert load_yaml(path) == first


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_every_kind_of_data_comes_back_as_it_was(data: Any) -> None:
    places = _places(data, (), {})
    read: dict[content.Path_, tuple[int, int]] = {}
    assert repr(read_before._data(read_before._node(data, (), places), (), read)) == repr(data)
    assert read == places


def _places(
    data: Any, path: content.Path_, places: dict[content.Path_, tuple[int, int]]
) -> dict[content.Path_, tuple[int, int]]:
    places[path] = (len(places) + 1, len(path) + 1)
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, tuple) else ()
    for part, inner in parts:
        _places(inner, (*path, part), places)
    return places


def test_an_edited_file_is_read_anew_and_two_files_of_one_text_have_names_of_their_own(file: Path) -> None:
    assert load_yaml(file).data["a"] == 1
    file.write_text(TEXT.replace("a: 1", "a: 2"))
    assert load_yaml(file).data["a"] == 2
    file.write_text(TEXT)
    assert load_yaml(file).data["a"] == 1
    assert len(trees()) == 2
    twin = file.with_name("twin.yaml")
    twin.write_text(TEXT)
    assert load_yaml(twin).file == str(twin)
    assert len(trees()) == 2


@pytest.mark.parametrize(
    "spoil",
    [bytes, lambda tree: tree[:-1], lambda tree: tree.replace(b"2.5", b"2.6"), lambda tree: tree.partition(b"\n")[2]],
    ids=["empty", "cut-short", "altered", "without-its-hash"],
)
def test_a_spoiled_tree_is_passed_over_and_replaced(file: Path, spoil: Any) -> None:
    first = load_yaml(file)
    (tree,) = trees()
    good = tree.read_bytes()
    tree.write_bytes(b"" if spoil is bytes else spoil(good))
    assert load_yaml(file) == first
    assert tree.read_bytes() == good


def test_a_tree_of_another_program_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_yaml(file)
    monkeypatch.setattr(read_before, "_program", lambda: "another")
    load_yaml(file)
    assert len(trees()) == 2


def test_where_nothing_can_be_kept_files_are_read_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMDRILL_HOME", str(file))  # a file: no folder can be made in it
    assert load_yaml(file).data["c"] == {"d": True}
    assert load_yaml(file).data["c"] == {"d": True}


def test_only_the_newest_trees_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_before, "MOST_KEPT", 3)
    for number in range(6):
        file.write_text(f"a: {number}\n")
        load_yaml(file)
    assert len(trees()) == 3


def test_processes_at_once_all_read_what_the_file_says(file: Path) -> None:
    numbered = [file.with_name(f"{number}.yaml") for number in range(3)]
    for number, path in enumerate(numbered):
        path.write_text(f"a: {number}\n")
    script = f"""
from pathlib import Path
from llmdrill.content import load_yaml
for number in range(30):
    assert load_yaml(Path({[*map(str, numbered)]!r}[number % 3])).data == {{"a": number % 3}}
"""
    running = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(one.wait(), one.stderr.read() if one.stderr else b"") for one in running] == [(0, b"")] * 4
