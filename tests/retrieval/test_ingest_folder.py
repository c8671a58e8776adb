from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llmdrill.errors import ContentError, MissingExtraError
from llmdrill.retrieval.ingest import folder
from llmdrill.retrieval.ingest.folder import read_file, read_folder

REAL = {"guide.md": "# Guide\n\nText.\n", "sub/page.html": "<title>Page</title><p>Hello", "sub/deep/notes": "plain\r\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in REAL.items():
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path / "docs"


def skips(root: Path) -> dict[str, str]:
    return {skipped.name: skipped.why for skipped in read_folder(root).skipped}


def refusal(path: Path) -> str:
    with pytest.raises(ContentError) as caught:
        (read_folder if path.is_dir() else read_file)(path)
    ((mistake),) = caught.value.mistakes
    assert mistake.file == str(path)
    return mistake.what


def test_every_document_of_a_folder_is_found_with_its_path_as_id_and_its_folder_as_family(root: Path) -> None:
    corpus = read_folder(root)
    assert [(each.id, each.family, each.title, each.text) for each in corpus.documents] == [
        ("guide.md", ".", "Guide", "# Guide\n\nText.\n"),
        ("sub/deep/notes", "sub/deep", "notes", "plain\n"),
        ("sub/page.html", "sub", "Page", "Hello\n"),
    ]
    assert (corpus.questions, corpus.skipped, corpus.notes) == ((), (), ())


def test_what_is_no_document_is_skipped_counted_and_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdf")
    monkeypatch.setattr(folder, "MAX_DOCUMENT_CHARACTERS", 50)
    monkeypatch.setattr(folder, "MAX_FILE_BYTES", 400)
    files = {
        "picture.png": b"\x89PNG\0",
        "text.md": b"binary\0after all",
        "old.txt": "café".encode("latin-1"),
        "code.py": b"x = 1",
        "empty.rst": b" \n",
        "long.txt": b"x" * 51,
        "huge.txt": b"x" * 401,
        ".hidden.md": b"secret",
        ".git/config": b"secret",
        "broken.pdf": b"%PDF-1.4 no",
    }
    for name, raw in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(raw)
    os.mkfifo(root / "pipe.txt")
    expected = {
        ".git": "hidden",
        ".hidden.md": "hidden",
        "broken.pdf": "broken",
        "code.py": "without a document's suffix",
        "empty.rst": "empty",
        "huge.txt": "larger than 0 MB",
        "long.txt": "longer than 0 million characters",
        "old.txt": "not UTF-8",
        "picture.png": "binary",
        "pipe.txt": "neither file nor folder",
        "text.md": "binary",
    }
    corpus = read_folder(root)
    assert {skipped.name: skipped.why for skipped in corpus.skipped} == expected
    assert [document.id for document in corpus.documents] == sorted(REAL)
    (note,) = corpus.notes
    assert note.startswith("11 files skipped: 2 hidden (")
    assert "2 binary (picture.png, text.md)" in note


def test_a_loop_of_links_ends_and_nothing_is_read_twice(root: Path) -> None:
    (root / "sub/up").symlink_to("..", target_is_directory=True)
    (root / "a-link").symlink_to("sub/page.html")
    (root / "one").symlink_to("other")
    (root / "other").symlink_to("one")
    os.link(root / "guide.md", root / "hard.md")
    seen = "link to what is here already"
    found = skips(root)
    assert {found.pop("sub/up"), found.pop("a-link"), found.pop("hard.md")} == {seen}
    assert found == dict.fromkeys(("one", "other"), "cannot be read: Too many levels of symbolic links")
    assert [document.id for document in read_folder(root).documents] == sorted(REAL)


def test_a_link_out_of_the_folder_is_followed_and_one_that_leads_nowhere_told(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/far.txt").write_text("far", encoding="utf-8")
    (root / "away").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    (root / "gone.md").symlink_to("nowhere")
    assert "away/far.txt" in {document.id for document in read_folder(root).documents}
    assert skips(root) == {"gone.md": "cannot be read: No such file or directory"}


@pytest.mark.skipif(sys.platform == "darwin", reason="this file system refuses names that are not UTF-8")
def test_two_names_that_cannot_be_told_apart_do_not_become_one_id(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/n\xff.md")).write_text("one", encoding="utf-8")
    (root / "n\ufffd.md").write_text("two", encoding="utf-8")
    corpus = read_folder(root)
    assert [document.id for document in corpus.documents].count("n\ufffd.md") == 1
    assert [skipped.why for skipped in corpus.skipped] == ["of the same name as another"]
    assert corpus.content_sha256


def test_a_folder_without_a_document_is_refused_with_what_was_skipped(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "holds no document that can be read: it is empty"
    (tmp_path / "a.bin").write_bytes(b"\0")
    assert refusal(tmp_path) == "holds no document that can be read (1 file skipped: 1 binary (a.bin))"


@pytest.mark.parametrize(
    ("name", "raw", "what"),
    [
        ("old.txt", b"\xe9t\xe9", "is not UTF-8: save it as UTF-8"),
        ("data.xyz", b"\0\1", "is binary"),
        ("empty.md", b"", "is empty"),
        ("broken.html", b"<![CDAT[", "is broken as HTML"),
    ],
)
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, raw: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(raw)
    assert refusal(tmp_path / name).startswith(what)


def test_a_document_of_fifty_megabytes_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(b"words and " * 5_000_000)
    assert refusal(path) == "is longer than 5 million characters: split it"


def test_a_named_file_of_an_unknown_kind_is_taken_for_text(tmp_path: Path) -> None:
    (tmp_path / "notes.adoc").write_text("= Title", encoding="utf-8")
    document = read_file(tmp_path / "notes.adoc")
    assert (document.id, document.title, document.text) == ("notes.adoc", "notes", "= Title")


def test_without_pypdf_a_pdf_is_skipped_among_others_and_asked_for_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.setitem(sys.modules, "pypdf.errors", None)
    (root / "book.pdf").write_bytes(b"%PDF-1.4")
    assert skips(root) == {"book.pdf": "PDF without the extra 'pdf'"}
    for name in REAL:
        (root / name).unlink()
    for path in (root, root / "book.pdf"):
        with pytest.raises(MissingExtraError, match=r"llmdrill\[pdf\]"):
            (read_folder if path.is_dir() else read_file)(path)
