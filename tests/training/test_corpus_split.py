"""The training text: a module never parts from its tests, and nothing held out is trained on."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from training.data import (
    RELEASE,
    TEST_SHARE,
    VALIDATION_SHARE,
    build_corpus,
    check_files,
    groups,
    module_of,
    part_of,
    read_list,
    read_source,
)

if TYPE_CHECKING:
    from pathlib import Path

BODY = "".join(f"def function_{at}(argument):\n    return argument + {at}\n\n" for at in range(30))


def held_out(part: str) -> str:
    """Return a made-up module that the hash puts into that part."""
    return next(name for name in (f"madeup{at}" for at in range(10_000)) if part_of(name) == part)


def trained() -> str:
    return held_out("train")


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("Lib/json/decoder.py", "json"),
        ("Lib/test/test_json/test_dump.py", "json"),
        ("Lib/_pydecimal.py", "decimal"),
        ("Lib/_pyio.py", "io"),
        ("Lib/_py_abc.py", "py_abc"),
        ("Lib/test/datetimetester.py", "datetime"),
        ("Lib/test/string_tests.py", "string"),
        ("Lib/doctest.py", "doctest"),
        ("Lib/test/test_doctest/test_doctest.py", "doctest"),
        ("Lib/test/test_unittest/test_case.py", "unittest"),
        ("Lib/test/support/interpreters/queues.py", "interpreters"),
    ],
)
def test_a_file_belongs_to_the_module_that_it_is_part_of_or_tests(path: str, module: str) -> None:
    assert module_of(path) == module


def test_every_listed_test_of_a_library_module_is_on_its_modules_side() -> None:
    group_of = groups(read_list())
    for path, group in group_of.items():
        for folder in ("Lib/test/test_", "Lib/test/_test_"):
            name = path.removeprefix(folder).split("/")[0].removesuffix(".py")
            if path.startswith(folder) and f"Lib/{name}.py" in group_of:
                assert part_of(group_of[f"Lib/{name}.py"]) == part_of(group)


@pytest.mark.parametrize(
    ("test", "module"),
    [
        ("Lib/test/test_httplib.py", "Lib/http/client.py"),
        ("Lib/test/test_deque.py", "Lib/collections/__init__.py"),
        ("Lib/test/test_urlparse.py", "Lib/urllib/parse.py"),
        ("Lib/test/test_minidom.py", "Lib/xml/dom/minidom.py"),
        ("Lib/test/test_cmd_line.py", "Lib/cmd.py"),
        ("Lib/_collections_abc.py", "Lib/collections/__init__.py"),
    ],
)
def test_a_test_of_another_name_follows_its_module_too(test: str, module: str) -> None:
    group_of = groups(read_list())
    assert group_of[test] == group_of[module]


def test_about_one_and_three_percent_of_many_names_are_held_out() -> None:
    parts = [part_of(f"name{at}") for at in range(20_000)]
    assert parts.count("validation") / len(parts) == pytest.approx(VALIDATION_SHARE, rel=0.15)
    assert parts.count("test") / len(parts) == pytest.approx(TEST_SHARE, rel=0.15)


def test_the_split_is_that_of_the_published_model() -> None:
    held = {group for group in groups(read_list()).values() if part_of(group) != "train"}
    assert {"json", "logging", "operator", "collections", "queue"} <= held
    assert not {"asyncio", "typing", "re", "email"} & held


def test_a_copy_of_a_held_out_file_is_not_trained_on() -> None:
    files = {f"Lib/{held_out('test')}.py": BODY.encode(), f"Lib/{trained()}.py": BODY.encode()}
    kept, counts = build_corpus(files)
    assert [one.part for one in kept] == ["test"]
    assert counts.exact_duplicates == 1


def test_nor_is_one_that_was_changed_a_little() -> None:
    copied = BODY.replace("function_7(", "another_name(").replace("    return", "        return")
    files = {f"Lib/{held_out('test')}.py": BODY.encode(), f"Lib/{trained()}.py": copied.encode()}
    kept, counts = build_corpus(files)
    assert [one.part for one in kept] == ["test"]
    assert counts.near_held_out == 1


def test_nor_one_that_holds_a_held_out_file_among_much_else() -> None:
    more = "".join(f"class Another{at}:\n    name = 'another {at}'\n\n" for at in range(400))
    files = {f"Lib/{held_out('validation')}.py": BODY.encode(), f"Lib/{trained()}.py": (more + BODY).encode()}
    assert build_corpus(files)[1].near_held_out == 1


def test_files_that_no_person_wrote_or_that_are_not_utf8_are_left_out() -> None:
    files = {
        "Lib/table.py": b'""" Codec cp1 generated from a mapping """\nx = 1\n',
        "Lib/latin.py": "é".encode("latin-1"),
        f"Lib/{trained()}.py": BODY.encode(),
    }
    kept, counts = build_corpus(files)
    assert len(kept) == 1
    assert (counts.generated, counts.not_utf8) == (1, 1)


def test_a_file_that_differs_from_the_list_is_refused_by_name() -> None:
    listed = {"Lib/a.py": hashlib.sha256(b"a = 1\n").hexdigest()}
    assert check_files({"Lib/a.py": b"a = 1\n", "Lib/local.py": b""}, listed) == {"Lib/a.py": b"a = 1\n"}
    with pytest.raises(SystemExit, match=r"Lib/a\.py: differs"):
        check_files({"Lib/a.py": b"a = 2\n"}, listed)
    with pytest.raises(SystemExit, match=r"Lib/a\.py: absent"):
        check_files({}, listed)


def test_a_folder_is_read_as_a_tarball_would_be(tmp_path: Path) -> None:
    (tmp_path / "Lib" / "json").mkdir(parents=True)
    (tmp_path / "Lib" / "json" / "tool.py").write_bytes(b"a = 1\n")
    (tmp_path / "Lib" / "notes.txt").write_bytes(b"no")
    assert read_source(tmp_path, download_to=tmp_path) == {"Lib/json/tool.py": b"a = 1\n"}


def test_a_source_that_is_not_there_and_a_release_that_cannot_be_fetched_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="no such tarball or folder"):
        read_source(tmp_path / "absent.tar.xz", download_to=tmp_path)
    monkeypatch.setattr("training.data.URL", (tmp_path / "absent.tar.xz").as_uri())
    with pytest.raises(SystemExit, match="name it with --source"):
        read_source(None, download_to=tmp_path)


def test_another_tarball_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Python.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("Python/Lib/a.py"), io.BytesIO())
    with pytest.raises(SystemExit, match=f"not the tarball of CPython {RELEASE}"):
        read_source(path, download_to=tmp_path)
