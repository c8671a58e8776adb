from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag

from llmdrill.content import load_yaml, parse_yaml, validate
from llmdrill.errors import ContentError, UnknownNameError
from llmdrill.fields import FileModel, Identifier, Seconds
from llmdrill.folders import content_files, find_content, shipped_folder
from llmdrill.scalar import plain_scalar
from llmdrill.system.design import Design
from llmdrill.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def data_of(text: str) -> Any:
    return parse_yaml(text, file="f.yaml").data


def refusal_of(text: str) -> str:
    with pytest.raises(ContentError) as refusal:
        parse_yaml(text, file="f.yaml")
    return str(refusal.value)


# --- YAML 1.2's meaning -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("012", 12),
        ("+12", 12),
        ("-12", -12),
        ("0o14", 12),
        ("0xC", 12),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-11-10", "2026-11-10"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ('"5"', "5"),
        ("'5'", "5"),
        ('"no"', "no"),
        ("|-\n  5", "5"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(written: str, meant: object) -> None:
    read = data_of(f"a: {written}\n")["a"]
    assert read == meant
    assert type(read) is type(meant)


def test_the_old_directive_does_not_bring_the_old_meaning_back() -> None:
    assert data_of("%YAML 1.1\n---\na: no\n") == {"a": "no"}


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert data_of("1: a\nno: b\n~: c\n") == {"1": "a", "no": "b", "~": "c"}


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back(value: float) -> None:
    assert plain_scalar(repr(value)) == value


def test_an_alias_is_the_value_it_names() -> None:
    assert data_of("a: &x {b: 1}\nc: [*x, *x]\n") == {"a": {"b": 1}, "c": ({"b": 1}, {"b": 1})}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.yaml", tmp_path / "marked.yaml"
    plain.write_bytes(b"a: 1\n")
    marked.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(marked).data == {"a": 1}
    assert load_yaml(marked).sha256 == load_yaml(plain).sha256


# --- refusals, each with its place --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1:1: is empty"),
        ("# only a comment\n", "f.yaml:1:1: is empty"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: this key stands twice (first on line 1); keep one"),
        ("a:\n  - b: 1\n    b: 2\n", "f.yaml:3:5: a[0].b: this key stands twice (first on line 2); keep one"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: is not YAML"),
        ("a:\n\tb: 1\n", "indent with spaces, not with a tab"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: is not YAML"),
        ("a: 'open\n", "is not YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: is not YAML: expected a single document"),
        ("a: 1\nb: \x07\n", "f.yaml:2:1: is not YAML"),
        ("ä: 1\nb: \x00\n", "f.yaml:2:1: is not YAML"),
        ("a: \ud800\n", "f.yaml:1:1: is not YAML"),
        ('a: "\\ud800"\n', "f.yaml:1:7: is not YAML"),
        ("a: *b\n", "f.yaml:1:4: is not YAML: found undefined alias"),
        ("a: 1e400\n", "f.yaml:1:4: a: the number 1e400 is too large"),
        (f"a: {'1' * 5000}\n", "is too large"),
        ("? [a]\n: 1\n", "f.yaml:1:3: a key must be plain text"),
        ("a: !!python/name:os.system\n", "f.yaml:1:4: a: the tag !!python/name:os.system is not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system is not allowed"),
        ("a: !mine {b: 1}\n", "the tag !mine is not allowed"),
        ("a: !!str 5\n", "the tag !!str is not allowed"),
        ("a: !!int '5'\n", "the tag !!int is not allowed"),
    ],
)
def test_a_malformed_text_is_refused_with_its_place(text: str, said: str) -> None:
    assert said in refusal_of(text)


def test_every_mistake_of_the_text_is_told_at_once_in_the_order_of_the_file() -> None:
    lines = refusal_of("a: 1\na: 2\nb: !x 1\nc: 1e999\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["f.yaml:2:1", "f.yaml:3:4", "f.yaml:4:4"]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "- " * 100_000 + "x", "{a: " * 100_000, "&a [*a]", "a: &a\n  b: *a\n"],
    ids=["flow lists", "block lists", "flow mappings", "a list of itself", "a mapping of itself"],
)
def test_depth_is_bounded_before_the_interpreter_is(text: str) -> None:
    assert f"{MAX_DEPTH} levels" in refusal_of(text)


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert data_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_billion_laughs_are_bounded() -> None:
    laughs = [f"a0: &a0 [{', '.join(['ha'] * 9)}]"]
    laughs += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    assert f"{MAX_NODES:,} values" in refusal_of("\n".join(laughs))


@given(text=st.text(alphabet="ab:-?[]{}&*!|>'\"#%,~ \t\n01.e\x00é", max_size=60))
def test_any_text_is_data_or_a_content_error(text: str) -> None:
    with contextlib.suppress(ContentError):
        parse_yaml(text, file="f.yaml")


# --- files --------------------------------------------------------------------------------------------------------


def not_utf8(folder: Path) -> Path:
    (folder / "f.yaml").write_bytes(b"a: 1\nb: \xff\n")
    return folder / "f.yaml"


def too_large(folder: Path) -> Path:
    (folder / "f.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    return folder / "f.yaml"


def endless(folder: Path) -> Path:
    (folder / "f.yaml").symlink_to("/dev/zero")
    return folder / "f.yaml"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (not_utf8, ":2:1: is not UTF-8"),
        (too_large, ":1:1: is larger than 4 MB"),
        (endless, ":1:1: is larger than 4 MB"),
        (lambda folder: folder, ":1:1: is a folder, not a file"),
        (lambda folder: folder / "absent.yaml", ":1:1: cannot be read: No such file or directory"),
        (lambda folder: folder / ("x" * 300), ":1:1: cannot be read: File name too long"),
        (lambda folder: folder / "a\0b", ":1:1: cannot be read"),
    ],
)
def test_an_unreadable_file_is_refused_with_its_name(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    path = make(tmp_path)
    with pytest.raises(ContentError) as refusal:
        load_yaml(path)
    assert str(refusal.value).startswith(f"{path}{said}")


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a: 1\n")
    os.close(writing)
    link = tmp_path / "pipe.yaml"
    link.symlink_to(f"/dev/fd/{reading}")
    assert load_yaml(link).data == {"a": 1}
    os.close(reading)


def test_a_name_finds_shipped_content_and_the_persons_own_comes_first(home: Path) -> None:
    shipped = content_files("scenarios")
    assert shipped
    name = next(iter(shipped))
    assert find_content("scenarios", name).parent == shipped_folder("scenarios")
    (home / "scenarios").mkdir()
    mine = home / "scenarios" / f"{name}.yaml"
    mine.write_text("a: 1\n")
    assert find_content("scenarios", name) == mine


def test_an_unknown_name_is_refused_with_the_nearest(home: Path) -> None:
    (home / "scenarios").mkdir()
    (home / "scenarios" / "support-desk.yaml").touch()
    with pytest.raises(UnknownNameError, match=r"unknown scenario 'suport-desk' \(did you mean support-desk\?\)"):
        find_content("scenarios", "suport-desk")


@pytest.mark.parametrize(
    "name", ["absent.yaml", "a/b", "~nobody-has-this-name/x.yaml", "x" * 300 + ".yaml", "a\0.yaml"]
)
def test_a_path_to_no_file_is_refused(name: str) -> None:
    with pytest.raises(ContentError, match="there is no such file"):
        find_content("scenarios", name)


# --- models -------------------------------------------------------------------------------------------------------


class Api(FileModel):
    kind: Literal["api"]
    price: float = 0.0


class Local(FileModel):
    kind: Literal["local"]
    device: str = "cpu"


class Person(FileModel):
    model: str
    age_years: int = 0


class Whole(FileModel):
    schema_: Annotated[Literal["test@1"], Field(alias="schema")]
    name: Identifier
    timeout: Seconds = 1.0
    steps: dict[
        Identifier,
        Annotated[
            Annotated[Api, Tag("api")] | Annotated[Local, Tag("local")],
            Discriminator(lambda value: value.get("kind") if isinstance(value, dict) else None),
        ],
    ] = Field(default_factory=dict)
    people: tuple[Person, ...] = ()
    limit: str | float | int = 0
    text: str = Field(default="", max_length=100)


GOOD = """\
schema: test@1
name: one
timeout: 25ms
steps:
  device: {kind: api, price: 1}
  other: {kind: local}
people:
  - {model: x, age_years: 3}
limit: 85%
"""


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(ContentError) as refusal:
        validate(parse_yaml(text, file="f.yaml"), Whole)
    return str(refusal.value).splitlines()


def test_a_right_file_becomes_its_model() -> None:
    whole = validate(parse_yaml(GOOD, file="f.yaml"), Whole)
    assert (whole.timeout, whole.steps["other"], whole.people[0].age_years) == (0.025, Local(kind="local"), 3)


@pytest.mark.parametrize(
    ("instead", "of", "said"),
    [
        ("nam: one", "name: one", "f.yaml:2:1: nam: unknown key 'nam' (did you mean name?)"),
        ("nam: one", "name: one", "f.yaml:1:1: the key 'name' is missing"),
        ("schema: test@2", "schema: test@1", "f.yaml:1:1: schema: input should be 'test@1', got 'test@2'"),
        ("name: One", "name: one", "f.yaml:2:1: name: a name is small letters, digits, '_', '.' and '-', beginning"),
        ("name: 5", "name: one", "f.yaml:2:1: name: must be text, got 5; put it in quotes"),
        ("name: no", "name: no", ""),
        ("timeout: 25 parsec", "timeout: 25ms", "f.yaml:3:1: timeout: '25 parsec': unknown unit 'parsec'"),
        ("timeout: -1", "timeout: 25ms", "f.yaml:3:1: timeout: input should be greater than or equal to 0, got -1"),
        ("timeout: true", "timeout: 25ms", "f.yaml:3:1: timeout: must be a number, got true"),
        ("prize: 1", "price: 1", "f.yaml:5:23: steps.device.prize: unknown key 'prize' (did you mean price?)"),
        ("devise: 1", "price: 1", "f.yaml:5:23: steps.device.devise: unknown key 'devise' (known: kind, price)"),
        (
            "age_year: 3",
            "age_years: 3",
            "f.yaml:8:16: people[0].age_year: unknown key 'age_year' (did you mean age_years",
        ),
        ("age_years: 3.5", "age_years: 3", "f.yaml:8:16: people[0].age_years: must be a whole number, got 3.5"),
        ("limit: [1]", "limit: 85%", "f.yaml:9:1: limit: must be text or a number, got a list"),
        ("limit:", "limit: 85%", "f.yaml:9:1: limit: must be text or a number, got nothing"),
        ("people: {}", "people:\n  - {model: x, age_years: 3}", "f.yaml:7:1: people: must be a list, got a mapping"),
    ],
)
def test_a_mistake_is_told_at_its_place_in_the_words_of_the_file(instead: str, of: str, said: str) -> None:
    text = GOOD.replace(of, instead)
    if said:
        assert [line for line in mistakes_of(text) if line.startswith(said)], mistakes_of(text)
    else:
        assert validate(parse_yaml(text, file="f.yaml"), Whole)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    lines = mistakes_of("schema: test@1\ntimeout: -1\nextra: 1\npeople: [{}, {model: 1}]\nlimit: {}\n")
    places = [tuple(map(int, line.split(":")[1:3])) for line in lines]
    assert len(lines) == 6
    assert places == sorted(places)


def test_a_long_value_is_shown_shortened() -> None:
    line = mistakes_of(f"{GOOD}text: {'x' * 5000}\n")[0]
    assert "at most 100 characters" in line
    assert len(line) < 200


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abé:", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["schema", "name", "steps", "people", "kind", "model"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(data=PLAIN)
def test_any_data_is_a_model_or_a_content_error(data: Any) -> None:
    located = parse_yaml(json.dumps(data), file="f.yaml")
    with contextlib.suppress(ContentError):
        validate(located, Whole)
    with contextlib.suppress(ContentError):
        validate(located, Design)
