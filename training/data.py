"""The training text: the standard library of one CPython release, split by whole modules.

Any source of the same files is the same data: every file is checked against files.sha256. A module and its tests
share one group, and a group is trained on, or used to watch the training (validation), or kept for the report (test).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import tarfile
import urllib.request
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

RELEASE: Final = "3.13.5"
URL: Final = f"https://www.python.org/ftp/python/{RELEASE}/Python-{RELEASE}.tar.xz"
TARBALL_SHA256: Final = "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640"
LIST: Final = Path(__file__).with_name("files.sha256")

VALIDATION_SHARE: Final = 0.01
TEST_SHARE: Final = 0.03
SHINGLE_LINES: Final = 5
NEAR_ACROSS: Final = 0.3  # of a file's shingles in files of the other side of the split: it is left out of training
NEAR_WITHIN: Final = 0.8  # of a file's shingles in earlier files of training: it teaches nothing new

Part = Literal["train", "validation", "test"]

# Tests whose name does not begin with the name of the module that they test.
TESTED_BY: Final[dict[str, str]] = {
    **dict.fromkeys(("httplib", "httpservers", "cookielib", "http_cookiejar"), "http"),
    **dict.fromkeys(("urlparse", "robotparser"), "urllib"),
    **dict.fromkeys(("deque", "defaultdict", "userdict", "userlist", "userstring", "ordered_dict"), "collections"),
    **dict.fromkeys(("sax", "pyexpat", "minidom", "pulldom", "xmltests"), "xml"),
    **dict.fromkeys(("ttk", "ttk_textonly", "tcl", "_tkinter"), "tkinter"),
    **dict.fromkeys(("htmlparser",), "html"),
    **dict.fromkeys(("docxmlrpc",), "xmlrpc"),
    **dict.fromkeys(("idle",), "idlelib"),
    **dict.fromkeys(("cprofile", "_lsprof"), "profile"),
    **dict.fromkeys(("memoryio", "fileio", "bufio", "univnewlines", "largefile", "io"), "io"),
    **dict.fromkeys(("sre_compile", "sre_constants", "sre_parse", "reperf"), "re"),
    **dict.fromkeys(("pickletools", "compat_pickle", "picklebuffer"), "pickle"),
    **dict.fromkeys(("strptime", "strftime"), "datetime"),
    **dict.fromkeys(("fork_wait", "popen"), "subprocess"),
    **dict.fromkeys(("lock", "thread", "threadsignals", "threadedtempfile", "dummy_thread"), "threading"),
    **dict.fromkeys(("archiver",), "tarfile"),
    **dict.fromkeys(("concurrent_futures",), "concurrent"),
    **dict.fromkeys(("numeric_tower", "abstract_numbers"), "numbers"),
    **dict.fromkeys(("weakrefset", "weakset"), "weakref"),
    **dict.fromkeys(("rlcompleter", "readline", "repl"), "pyrepl"),
    **dict.fromkeys(("codeccallbacks", "multibytecodec", "charmapcodec"), "codecs"),
    **dict.fromkeys(("abstract_base", "typechecks"), "abc"),
    **dict.fromkeys(("typinganndata", "ann_module"), "typing"),
    **dict.fromkeys(("_collections_abc", "collections_abc"), "collections"),
    **dict.fromkeys(("apple",), "apple_support"),
    **dict.fromkeys(("nturl2path",), "urllib"),
    **dict.fromkeys(("interpchannels", "_interpreters"), "interpreters"),
    **dict.fromkeys(("opcodes", "peepholer", "_opcode", "_opcode_metadata"), "dis"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One file of the corpus."""

    path: str
    group: str
    part: Part
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the files."""

    files: int
    bytes: int
    not_utf8: int
    generated: int
    exact_duplicates: int
    near_held_out: int
    near_in_training: int
    files_by_part: dict[str, int]
    bytes_by_part: dict[str, int]
    held_out_groups: dict[str, str]


def read_source(source: Path | None, *, download_to: Path) -> dict[str, bytes]:
    """Return every Lib/**/*.py of a source folder or tarball; without one, download the release."""
    source = source or _downloaded(download_to)
    if not source.exists():
        raise SystemExit(f"{source}: there is no such tarball or folder")
    if source.is_dir():
        root = source / "Lib" if (source / "Lib").is_dir() else source
        return {f"Lib/{path.relative_to(root).as_posix()}": path.read_bytes() for path in sorted(root.rglob("*.py"))}
    packed = source.read_bytes()
    if hashlib.sha256(packed).hexdigest() != TARBALL_SHA256:
        raise SystemExit(f"{source}: not the tarball of CPython {RELEASE} (sha256 {TARBALL_SHA256})")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        found = (member for member in archive if re.fullmatch(r"[^/]+/Lib/.*\.py", member.name) and member.isfile())
        return {member.name.split("/", 1)[1]: _content(archive, member) for member in found}


def _downloaded(folder: Path) -> Path:
    """Return the release's tarball, fetched once."""
    target = folder / URL.rsplit("/", 1)[-1]
    if not target.exists():
        try:
            with urllib.request.urlopen(URL) as answer:
                target.write_bytes(answer.read())
        except OSError as error:
            raise SystemExit(f"{URL}: {error}; fetch it by hand and name it with --source") from error
    return target


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream else b""


def check_files(files: Mapping[str, bytes], listed: Mapping[str, str]) -> dict[str, bytes]:
    """Return the listed files, or stop at the first that is absent or differs."""
    for path, expected in listed.items():
        if path not in files:
            raise SystemExit(f"{path}: absent from the source; it is not CPython {RELEASE} with its tests")
        if hashlib.sha256(files[path]).hexdigest() != expected:
            raise SystemExit(f"{path}: differs from that of CPython {RELEASE}")
    return {path: files[path] for path in sorted(listed)}


def read_list(path: Path = LIST) -> dict[str, str]:
    """Return sha256 by path, from a file that ``sha256sum -c`` reads too."""
    rows = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in rows}


def module_of(path: str) -> str:
    """Return the module that a file is part of or tests, without the marks of its helpers (``_``, ``_py``, ``test_``).

    >>> [module_of(path) for path in ("Lib/json/decoder.py", "Lib/test/test_json/test_dump.py", "Lib/_pydatetime.py")]
    ['json', 'json', 'datetime']
    """
    parts = PurePosixPath(path).parts[1:]
    of_tests = parts[0] == "test" and len(parts) > 1
    name = PurePosixPath(parts[1] if of_tests else parts[0]).stem
    if of_tests and parts[1:3] == ("support", "interpreters"):
        return "interpreters"
    if of_tests:
        name = name[5:] if name.startswith("test_") else re.sub(r"^_test_|_?tests?$|_?testers?$", "", name) or name
    return re.sub(r"^_(?:py(?=[a-z]{2}))?", "", name).lower() or name


def groups(paths: Iterable[str]) -> dict[str, str]:
    """Return the group of every path: its module's name, with tests of a part of a module counted to the module.

    >>> groups(["Lib/email/header.py", "Lib/test/test_email/test_header.py", "Lib/test/test_emailish.py"]).values()
    dict_values(['email', 'email', 'email'])
    >>> groups(["Lib/re/_parser.py", "Lib/test/test_reprlib.py", "Lib/test/test_re_more.py"]).values()
    dict_values(['re', 'reprlib', 're'])
    """
    paths = list(paths)
    library = sorted({module_of(path) for path in paths if not path.startswith("Lib/test/")}, key=len, reverse=True)
    known = set(library)
    found: dict[str, str] = {}
    for path in paths:
        name = module_of(path)
        name = TESTED_BY.get(name, name)
        if name not in known and path.startswith("Lib/test/"):
            name = next((module for module in library if _begins_with(name, module)), name)
        found[path] = _family(TESTED_BY.get(name, name))
    return found


def _family(name: str) -> str:
    """Return one name for tests that differ in a table or a stage only."""
    return next((family for family in ("codecencodings", "codecmaps", "compiler") if name.startswith(family)), name)


def _begins_with(name: str, module: str) -> bool:
    return name.startswith(f"{module}_") or (len(module) > 4 and name.startswith(module))


def part_of(group: str) -> Part:
    """Return where a group belongs, decided by the hash of its name alone.

    >>> part_of("json") == part_of("json")
    True
    """
    at = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) / 2**32
    if at < VALIDATION_SHARE:
        return "validation"
    return "test" if at < VALIDATION_SHARE + TEST_SHARE else "train"


def is_generated(text: str) -> bool:
    """Return whether the first lines say that a program wrote the file (tables of characters, the help topics)."""
    return any("generated" in line.lower() for line in text.split("\n", 4)[:4])


def shingles(text: str) -> frozenset[int]:
    """Return the hashes of every run of five lines with something on them, indentation aside."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 3]
    runs = ("\n".join(lines[at : at + SHINGLE_LINES]) for at in range(max(1, len(lines) - SHINGLE_LINES + 1)))
    return frozenset(int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest()) for run in runs)


def overlap(one: frozenset[int], others: Collection[int]) -> float:
    """Return the share of ``one`` that ``others`` hold too.

    >>> overlap(frozenset({1, 2, 3, 4}), {3, 4, 5})
    0.5
    """
    return sum(item in others for item in one) / len(one) if one else 0.0


def build_corpus(files: Mapping[str, bytes]) -> tuple[tuple[Document, ...], Counts]:
    """Split the files by module, and leave out what cannot be read, is generated, or stands twice."""
    dropped: Counter[str] = Counter()
    group_of, documents, seen = groups(files), list[Document](), set[str]()
    by_part = sorted(files, key=lambda path: (part_of(group_of[path]) == "train", path))  # held-out files win
    for path in by_part:
        try:
            text = files[path].decode("utf-8")
        except UnicodeDecodeError:
            dropped["not_utf8"] += 1
            continue
        if is_generated(text):
            dropped["generated"] += 1
        elif text in seen or not text.strip():
            dropped["exact_duplicates"] += 1
        else:
            seen.add(text)
            documents.append(Document(path, group_of[path], part_of(group_of[path]), text))
    kept = _without_near_duplicates(documents, dropped)
    return kept, _count(files, kept, dropped)


def _without_near_duplicates(documents: Sequence[Document], dropped: Counter[str]) -> tuple[Document, ...]:
    """Leave files out of training that share much with held-out files, or with earlier files of training."""
    of = {document.path: shingles(document.text) for document in documents}
    held_out = [document for document in documents if document.part != "train"]
    every_held_out = frozenset[int]().union(*(of[document.path] for document in held_out))
    kept, trained = list(held_out), set[int]()
    for document in (one for one in documents if one.part == "train"):
        mine = of[document.path]
        shared = mine & every_held_out
        if overlap(mine, every_held_out) >= NEAR_ACROSS or (
            shared and any(overlap(of[other.path], shared) >= NEAR_ACROSS for other in held_out)
        ):
            dropped["near_held_out"] += 1
        elif overlap(mine, trained) >= NEAR_WITHIN:
            dropped["near_in_training"] += 1
        else:
            trained |= mine
            kept.append(document)
    return tuple(kept)


def _count(files: Mapping[str, bytes], kept: Sequence[Document], dropped: Counter[str]) -> Counts:
    number, size = Counter[str](), Counter[str]()
    for document in kept:
        number[document.part] += 1
        size[document.part] += len(document.text.encode())
    return Counts(
        files=len(files),
        bytes=sum(map(len, files.values())),
        not_utf8=dropped["not_utf8"],
        generated=dropped["generated"],
        exact_duplicates=dropped["exact_duplicates"],
        near_held_out=dropped["near_held_out"],
        near_in_training=dropped["near_in_training"],
        files_by_part=dict(number),
        bytes_by_part=dict(size),
        held_out_groups={one.group: one.part for one in kept if one.part != "train"},
    )


def load_corpus(source: Path | None, *, download_to: Path) -> tuple[tuple[Document, ...], Counts]:
    """Read, check and split the pinned release."""
    return build_corpus(check_files(read_source(source, download_to=download_to), read_list()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the source and say how it is split.")
    parser.add_argument("--source", type=Path, help=f"tarball or folder of CPython {RELEASE}; else it is downloaded")
    parser.add_argument("--write-list", action="store_true", help="write files.sha256 anew")
    options = parser.parse_args()
    if options.write_list:
        files = read_source(options.source, download_to=Path())
        rows = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
        LIST.write_text("".join(rows), encoding="utf-8")
    print(json.dumps(asdict(load_corpus(options.source, download_to=Path())[1]), indent=1))


if __name__ == "__main__":
    main()
