"""Bad input to every experiment of the lab: one line on stderr, status 2, nothing on stdout, and no work before it.

The cases are made from the options that the commands themselves declare: a new option or experiment is covered as soon
as it is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer

pytest.importorskip("torch")

from llmdrill.cli.lab import EXPERIMENTS, build_group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli_cases import Ran

    from conftest import Call

pytestmark = pytest.mark.lab

LONGEST: Final = 600
GROUP: Final[Any] = typer.main.get_command(build_group(None))
OPTIONS: Final = {name: {one.name: one for one in GROUP.commands[name].params} for name in EXPERIMENTS}
ANYWHERE: Final = (
    ("--threads", "0"),
    ("--threads", "x"),
    ("--seed", "-1"),
    ("--seed", "x"),
    ("--json", "--format", "markdown"),
    ("--format", "xml"),
    ("--nosuch",),
    ("nosuch",),
    ("--svg", "/no/such/folder/x.svg"),
    ("--svg", "/"),
    ("--assert", "nonsense"),
    ("--assert", "total_bytes <= soon"),
    ("--assert", "ttft_ms <= 40", "--assert", "ttft_ms"),
)
ANY_TEXT: Final = {("decode", "prompt"), ("all", "out")}


def fault(ran: Ran, *, says: str = "") -> str | None:
    """Return what is wrong with a refusal; None if it is one line on stderr, status 2 and nothing on stdout."""
    lines = ran.err.splitlines()
    if ran.status != 2 or ran.out:
        return f"status {ran.status}, stdout {ran.out[:80]!r}, stderr {ran.err[-200:]!r}"
    if len(lines) != 1 or len(lines[0]) > LONGEST or not lines[0].startswith("llmdrill: "):
        return f"{len(lines)} lines: {ran.err[:200]!r}"
    return None if says in lines[0] else f"'{says}' is not in: {lines[0]}"


def faults(call: Call, name: str, cases: dict[tuple[object, ...], str]) -> dict[str, str]:
    """Return what is wrong by the words that were typed; each case says what its refusal must say."""
    found = {words: fault(call("lab", name, *words), says=says) for words, says in cases.items()}
    return {" ".join(map(str, words)): wrong for words, wrong in found.items() if wrong}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a command gets as far as torch: what is refused behind this was refused before any work."""

    def began(threads: int | None) -> None:
        pytest.fail(f"work began with {threads} threads")

    monkeypatch.setattr("llmdrill.cli.lab.command.use_threads", began)
    monkeypatch.setattr("llmdrill.cli.lab.all_.use_threads", began)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_every_experiment_refuses_is_refused_before_any_work(call: Call, name: str) -> None:
    assert faults(call, name, dict.fromkeys(ANYWHERE, "")) == {}


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_numbers_and_choices_out_of_range_are_refused_before_any_work(call: Call, name: str) -> None:
    cases = dict(_out_of_range(name))
    assert cases
    assert faults(call, name, cases) == {}


def _out_of_range(name: str) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield values that typer itself can refuse, for every option that it reads as a number or a choice."""
    for option in OPTIONS[name].values():
        flag = max(option.opts, key=len)
        if getattr(option, "is_flag", False) or not flag.startswith("--"):
            continue
        if option.type.name == "choice":
            yield (f"{flag}=nosuch",), flag
        for bound, step in (("min", -1), ("max", 1)):
            if getattr(option.type, bound, None) is not None:
                yield (f"{flag}={getattr(option.type, bound) + step}",), "is not in the range"
        if "range" in option.type.name:
            yield from ({(f"{flag}={word}",): flag for word in ("x", "", "1e", "nan x", "9" * 400 + "x")}).items()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option.name)
        for name, options in OPTIONS.items()
        for option in options.values()
        if option.type.name == "str" and option.name not in {"model", "draft_model", "shape", "assertions", "text"}
    ],
)
def test_quantities_that_cannot_be_read_are_refused(call: Call, name: str, option: str) -> None:
    flag = max(OPTIONS[name][option].opts, key=len)
    if (name, option) not in ANY_TEXT:
        assert faults(call, name, {(f"{flag}={word}",): "" for word in ("nonsense", "-1", "1e400", "inf", "")}) == {}


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder whose weights are a pickle."""
    folder = tmp_path_factory.mktemp("pickled")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return folder


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "model" in OPTIONS[name]])
def test_models_that_cannot_be_loaded_are_refused(call: Call, name: str, pickled: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    cases: dict[tuple[object, ...], str] = {
        ("--model", "/no/such/folder"): "/no/such/folder: neither a model folder nor in the Hugging Face cache",
        ("--model", "no/such"): "no/such: neither",
        ("--model", pickled): "a pickle can run code when it is loaded",
        ("--model", tmp_path): "config.json",
        ("--model", ""): "",
    }
    assert faults(call, name, cases) == {}


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "shape" in OPTIONS[name]])
def test_shapes_that_nobody_knows_and_a_shape_beside_a_model_are_refused(call: Call, name: str) -> None:
    cases: dict[tuple[object, ...], str] = {
        ("--shape", "smollm2-135"): "did you mean smollm2-135m",
        ("--shape", "nosuch"): "nosuch",
        ("--model", "some/model", "--shape", "tiny"): "some/model and the shape tiny",
    }
    assert faults(call, name, cases) == {}


def test_texts_that_cannot_be_read_are_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    for words in ("/no/such/file", tmp_path, tmp_path / "empty", tmp_path / "bytes"):
        ran = call("lab", "perplexity", "--text", words)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert str(words) in ran.err
