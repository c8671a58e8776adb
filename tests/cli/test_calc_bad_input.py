"""Bad input to every calculator and to the gate: one clear line on stderr, status 2, nothing on stdout, never a hang.

The cases are made from the options that the commands themselves declare: a new option or calculator is covered as soon
as it has a command in calc_cases.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
import typer
from calc_cases import COMMANDS, SAMPLES

from llmdrill.cli.calc import CALCULATORS, build_group
from llmdrill.folders import shipped_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Any text is a good one.
TEXTS: Final = {"tokens": {"text"}, "bleu": {"text", "against"}, "rouge": {"text", "against"}, "agree": {"missing"}}
# What looks bad and is meant: a log-probability is below zero, lengths are a list, a column may be called anything.
MEANT: Final = {
    ("perplexity", "logprobs"): {"-1", "-inf"},
    ("batching", "lengths"): {"1,5"},
    ("abtest", "difference"): {"-1"},
    ("abtest", "lift"): {"-1"},
    ("agree", "seed"): {"-1", "٣٠"},
}
HANG_S: Final = 15
LONGEST: Final = 600
LONGEST_OF_TYPER: Final = 12_000  # it repeats what was typed
BAD_VALUES: Final = {
    "negative": "-1",
    "nan": "nan",
    "infinite": "inf",
    "minus-infinite": "-inf",
    "1e400": "1e400",
    "empty": "",
    "blank": " ",
    "unit": "5 parsec",
    "decimal-comma": "1,5",
    "hex": "0x10",
    "two-numbers": "1 2 x",
    "word": "banana",
    "other-digits": "٣٠",
    "huge": "x" * 10_000,
    "many-digits": "9" * 5_000,
    "escape": "\x1b[31m5",
}
CONTENTS: Final = {
    "empty": b"",
    "bom": b"\xef\xbb\xbf",
    "nul": b"\x00\x00\x00",
    "list": b"[1, 2]",
    "text": b'"hello"',
    "number": b"12",
    "null": b"null",
    "nan": b"NaN",
    "truncated": b'{"hidden_size": 64',
    "deep": b"[" * 50_000,
    "deep-object": b'{"a":' * 20_000,
    "huge-number": b'{"hidden_size": 1e400, "num_hidden_layers": 2}',
    "many-digits": b'{"hidden_size": ' + b"9" * 6000 + b"}",
    "negative": b'{"hidden_size": -64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 10}',
    "yaml-bomb": b"tiers: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n".encode() for one, two in pairwise("abcdefghi")),
    "yaml-deep": b"tiers: " + b"[" * 50_000,
    "yaml-tag": b"tiers: !!python/object/apply:os.system ['true']\n",
}


class Option(NamedTuple):
    """An option or argument of a calculator, and a good command that uses it."""

    calculator: str
    name: str
    flag: str  # empty for an argument
    words: tuple[str, ...]
    file: bool
    kind: str  # typer's name of its type; all but "str" are read by typer itself

    def with_value(self, value: str) -> list[str]:
        """Return the good command with this option's value in place of its own."""
        words = list(self.words)
        while self.flag in words:
            at = words.index(self.flag)
            del words[at : at + 2]
        if not self.flag:
            return ["calc", self.calculator, *_without_rivals(words), "--", value]
        return ["calc", self.calculator, *words, f"{self.flag}={value}"]


def _without_rivals(words: list[str]) -> list[str]:
    """Return the words without those that a FILE stands in place of."""
    rivals = {"--text", "--against", "--logprobs", "--n", "--c"}
    kept = [word for at, word in enumerate(words) if word not in rivals and (not at or words[at - 1] not in rivals)]
    return [word for word in kept if word not in SAMPLES]


def _options() -> Iterator[Option]:
    group: Any = typer.main.get_command(build_group(None))
    for calculator in CALCULATORS:
        commands = [words for name, *words in COMMANDS if name == calculator] or [[]]
        for param in group.commands[calculator].params:
            flag = max(param.opts, key=len) if param.param_type_name == "option" else ""
            if getattr(param, "is_flag", False) or param.name in {"help", "assertions"}:
                continue
            words = tuple(next((one for one in commands if flag in one), commands[0]))
            said = f"{param.name} {getattr(param, 'help', '')}"
            any_text = param.name in TEXTS.get(calculator, ())
            file = not flag or bool(re.search(r"\.json\b|\bCSV\b|\bJSON\b|\bFile of\b", said) and not any_text)
            yield Option(
                calculator, param.name, flag, words, file=file or param.type.name == "path", kind=param.type.name
            )


OPTIONS: Final = tuple(_options())
VALUES: Final = [one for one in OPTIONS if one.flag and not one.file]
FILES: Final = [one for one in OPTIONS if one.file]


def _ids(options: list[Option]) -> list[str]:
    return [f"{one.calculator}-{one.name}" for one in options]


@pytest.fixture(autouse=True)
def _samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every test stand in a folder with the sample files, and turn a hang into an error."""

    def hung(number: int, frame: object) -> None:
        raise RuntimeError(
            f"hung for {HANG_S} s"
        )  # no TimeoutError: that is an OSError, which readers turn into a refusal

    for name, text in SAMPLES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, hung)
    yield
    signal.signal(signal.SIGALRM, before)


def fault(ran: Any, *, longest: int = LONGEST) -> str | None:
    """Return what is wrong with a refusal; None if it is one clear line on stderr, status 2 and nothing on stdout."""
    usage = ("Usage:", "Try ", "\t")  # typer's own lines around its message; with a tab, the choices there are
    lines = [line for line in ran.err.splitlines() if line.strip() and not line.startswith(usage)]
    if ran.status != 2 or ran.out:
        return f"status {ran.status}, stdout {ran.out[:80]!r}, stderr {ran.err[-200:]!r}"
    if len(lines) != 1 or len(lines[0]) > longest or "Traceback" in ran.err:
        return f"{len(lines)} lines of up to {max(map(len, lines), default=0)}: {ran.err[:200]!r}"
    return "a control character" if any(ord(letter) < 32 for letter in lines[0]) else None


def assert_refused(ran: Any) -> None:
    assert fault(ran) is None, fault(ran)


def faults_of(call: Any, option: Option, values: dict[str, str], *, may_work: bool = False) -> dict[str, str]:
    """Return what is wrong, by the name of the value; ``may_work``: what is taken is fine as long as it is JSON."""
    longest = LONGEST_OF_TYPER if option.kind != "str" else LONGEST
    found = {}
    for name, value in values.items():
        signal.alarm(HANG_S)
        try:
            ran = call(*option.with_value(value))
        except Exception as error:  # noqa: BLE001 - every one is a finding
            found[name] = repr(error)[:200]
            continue
        finally:
            signal.alarm(0)
        wrong = None if may_work and ran.status == 0 else fault(ran, longest=longest)
        if wrong:
            found[name] = wrong
    return found


def test_every_calculator_has_a_command_that_bad_values_can_be_put_into() -> None:
    assert {words[0] for words in COMMANDS} == set(CALCULATORS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_work_as_long_as_every_value_is_good(call: Any, words: tuple[str, ...]) -> None:
    ran = call("calc", *words, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["schema"] == f"llmdrill/calc-{words[0]}@1"


@pytest.mark.parametrize("option", VALUES, ids=_ids(VALUES))
def test_bad_values_are_refused_in_a_line(call: Any, option: Option) -> None:
    meant = MEANT.get((option.calculator, option.name), set())
    values = {name: value for name, value in BAD_VALUES.items() if value not in meant}
    assert faults_of(call, option, values, may_work=option.name in TEXTS.get(option.calculator, ())) == {}


@pytest.mark.parametrize("option", VALUES, ids=_ids(VALUES))
def test_zero_is_taken_or_refused_in_a_line(call: Any, option: Option) -> None:
    ran = call(*option.with_value("0"), "--json")
    if ran.status:
        assert_refused(ran)
    else:
        json.loads(ran.out, parse_constant=pytest.fail)  # no NaN, no Infinity


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return paths of what cannot be read, by what it is."""
    folder = tmp_path_factory.mktemp("unreadable")
    paths = {kind: folder / f"{kind}.json" for kind in ("missing", "folder", "not-utf8", "sparse-300-mb", "closed")}
    paths["folder"].mkdir()
    paths["not-utf8"].write_bytes('{"titre": "café"}'.encode("latin-1"))
    with paths["sparse-300-mb"].open("wb") as file:
        file.truncate(300_000_000)
    paths["closed"].write_text("{}", encoding="utf-8")
    paths["closed"].chmod(0)
    if os.geteuid() == 0:  # root reads every file
        del paths["closed"]
    named = {"endless": "/dev/zero", "long-name": f"{folder}/{'x' * 300}.json", "nul-in-name": f"{folder}/a\x00.json"}
    return {kind: str(path) for kind, path in paths.items()} | named


@pytest.fixture(scope="module")
def something_else(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return paths of what can be read and is something else, by what it is; and a pipe that nobody writes to."""
    folder = tmp_path_factory.mktemp("something-else")
    for name, content in CONTENTS.items():
        (folder / f"{name}.json").write_bytes(content)
    os.mkfifo(folder / "pipe.json")
    with gzip.open(folder / "bomb.gz", "wb", compresslevel=9) as bomb:
        for _ in range(300):
            bomb.write(bytes(1_000_000))
    return {name: str(folder / f"{name}.json") for name in (*CONTENTS, "pipe")} | {"bomb": str(folder / "bomb.gz")}


@pytest.mark.parametrize("option", FILES, ids=_ids(FILES))
def test_files_that_cannot_be_read_are_refused_in_a_line(call: Any, unreadable: dict[str, str], option: Option) -> None:
    # Typer's path fails on a NUL, which no shell can pass.
    paths = {name: path for name, path in unreadable.items() if option.kind != "path" or "\x00" not in path}
    assert faults_of(call, option, paths) == {}


@pytest.mark.parametrize("option", FILES, ids=_ids(FILES))
def test_files_that_hold_something_else_are_refused_in_a_line(
    call: Any, something_else: dict[str, str], option: Option
) -> None:
    any_text = option.calculator in {"tokens", "bleu", "rouge"}
    assert faults_of(call, option, something_else, may_work=any_text) == {}


@pytest.mark.parametrize("calculator", CALCULATORS)
def test_without_options_or_with_ones_it_does_not_have_it_says_so(call: Any, calculator: str) -> None:
    ran = call("calc", calculator)
    if ran.status:
        assert_refused(ran)
    words = next((words for name, *words in COMMANDS if name == calculator), [])
    for more in (
        ("--no-such-option",),
        ("--format", "xml"),
        ("--json", "--format", "markdown"),
        ("--assert", "nonsense"),
        ("--assert", "no_such_figure <= 1"),
        ("--assert", ""),
        ("one", "argument", "too", "many"),
    ):
        assert_refused(call("calc", calculator, *words, *more))


REFERENCE: Final = str(shipped_folder("scenarios") / "moderation" / "designs" / "reference.design.yaml")
GATE: Final = {"estimate": (REFERENCE,), "check": (REFERENCE, "--estimated-only"), "diff": (REFERENCE, REFERENCE)}


def _gate_options() -> Iterator[tuple[str, str, str]]:
    from llmdrill.cli.app import build_app

    group: Any = typer.main.get_command(build_app(None))
    for command in GATE:
        for param in group.commands[command].params:
            if param.param_type_name == "option" and not getattr(param, "is_flag", False) and param.name != "help":
                yield command, max(param.opts, key=len), param.type.name


@pytest.mark.parametrize(("command", "flag", "kind"), list(_gate_options()))
def test_the_gate_refuses_bad_values_in_a_line(call: Any, command: str, flag: str, kind: str) -> None:
    found = {}
    for name, value in BAD_VALUES.items():
        if kind == "int range" and name == "other-digits":  # which Python reads
            continue
        ran = call(command, *GATE[command], "--draws=500", f"{flag}={value}")
        wrong = fault(ran, longest=LONGEST_OF_TYPER)
        if wrong:
            found[name] = wrong
    assert found == {}


@pytest.mark.parametrize("command", ["estimate FILE", "check FILE", "diff FILE GOOD", "diff GOOD FILE"])
def test_the_gate_refuses_files_that_are_no_design(
    call: Any, unreadable: dict[str, str], something_else: dict[str, str], command: str
) -> None:
    found = {}
    for name, path in (unreadable | something_else).items():
        if "\x00" in path:  # typer's path fails on it, and no shell can pass it
            continue
        ran = call(*(path if word == "FILE" else word for word in command.replace("GOOD", REFERENCE).split()))
        mistakes = ran.err.splitlines()
        if ran.status != 2 or ran.out or not 1 <= len(mistakes) <= 26 or "Traceback" in ran.err:
            found[name] = (ran.status, ran.out[:100], ran.err[:200])
    assert found == {}
