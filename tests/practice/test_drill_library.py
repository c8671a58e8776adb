"""The library: an index that changes nothing but the time it takes, and packs that are found without being run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from practice_cases import KINDS, write

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.folders import cache_folder
from llmdrill.practice import library as library_module
from llmdrill.practice.library import load_drill, load_library
from llmdrill.practice.packs import Pack, folder_named, packs
from llmdrill.practice.topics import TOPICS


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the person's own folder with a drill of each kind, and a cache that no other test writes to."""
    monkeypatch.setattr(library_module, "cache_folder", lambda: tmp_path / "cache")
    for kind in KINDS:
        write(home / "drills", kind, drill_id=f"own-{kind}")
    return home / "drills"


def test_the_index_says_the_same_when_it_is_read_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_library()
    assert {f"own-{kind}" for kind in KINDS} <= {one.entry.id for one in first.drills}
    monkeypatch.setattr(library_module, "_row", lambda _: pytest.fail("a file was parsed again"))
    assert load_library() == first


def test_a_file_that_changed_is_read_anew_and_one_that_is_gone_is_gone(own: Path) -> None:
    load_library()
    path = own / "own-choice.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("What a larger k", "What larger k"), encoding="utf-8")
    (own / "own-order.yaml").unlink()
    again = load_library()
    assert again.find("own-choice").entry.title == "What larger k does"
    with pytest.raises(UnknownNameError, match="did you mean"):
        again.find("own-order")


@pytest.mark.parametrize("damage", ["", "{", '{"program": 1}', "[]", '{"files": {"x": 3}}'])
def test_a_damaged_index_is_made_anew(own: Path, damage: str) -> None:
    first = load_library()
    index = library_module._index_file()
    kept = json.loads(index.read_text(encoding="utf-8"))
    index.write_text(damage and json.dumps(kept | json.loads(damage)) if damage == '{"files": {"x": 3}}' else damage)
    assert load_library() == first


def test_a_broken_file_is_told_and_hides_no_other(own: Path) -> None:
    (own / "own-order.yaml").write_text("topic: [", encoding="utf-8")
    found = load_library()
    assert [one.file.name for one in found.broken] == ["own-order.yaml"]
    assert found.find("own-choice")


def test_drills_are_chosen_by_all_that_is_asked(own: Path) -> None:
    found = load_library([Pack("yours", own)])
    assert [one.entry.id for one in found.select(kind="code", tier=1, role="product")] == ["own-code"]
    assert {one.entry.kind for one in found.select(topic="rag-pipeline")} == {"order", "debug"}
    assert not found.select(kind="code", tier=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drill_is_loaded_as_its_file_states_it(own: Path, kind: str) -> None:
    drill = load_drill(load_library().find(f"own-{kind}"))
    assert (drill.id, drill.kind) == (f"own-{kind}", kind)


def test_a_drill_that_moved_since_it_was_listed_is_refused(own: Path) -> None:
    listed = load_library().find("own-choice")
    listed.file.write_text(listed.file.read_text(encoding="utf-8").replace("id: own-choice", "id: another"))
    with pytest.raises(UsageError, match="has just moved"):
        load_drill(listed)


def test_an_installed_pack_is_found_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_pack"
    write(package / "content", "choice")
    (package / "__init__.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    info = tmp_path / "some_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-pack\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[llmdrill.content]\nsome = some_pack.content\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    from llmdrill.practice import packs as packs_module

    packs_module._installed.cache_clear()
    try:
        found = {pack.name: pack for pack in packs()}["some"]
    finally:
        packs_module._installed.cache_clear()
    assert found.folder == package / "content"
    assert not found.trusted
    assert "some_pack" not in sys.modules
    assert load_library([found]).find("my-drill").pack == found


@pytest.mark.parametrize("value", ["../../etc", "a/b", "", "no_such_package_here", "json..x", "os:path", "json./etc"])
def test_an_entry_point_that_names_no_folder_of_a_package_is_none(value: str) -> None:
    assert folder_named(value) is None


def test_the_cache_is_where_caches_are(home: Path) -> None:
    load_library()
    assert (cache_folder() / "drills.json").is_file()


def test_the_page_on_drill_files_lists_every_topic() -> None:
    page = (Path(__file__).parents[2] / "docs" / "drill-format.md").read_text(encoding="utf-8")
    assert [tag for tag in TOPICS if f"| `{tag}` | {TOPICS[tag]} |" not in page] == []
