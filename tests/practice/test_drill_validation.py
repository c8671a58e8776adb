"""The validator refuses every kind of planted defect, and lets every kind of sound drill pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from practice_cases import KINDS, mistakes, template, write

from llmdrill.folders import content_files
from llmdrill.practice.code import code_mistakes
from llmdrill.practice.drill import CodeDrill
from llmdrill.practice.library import code_folder, load_drill, load_library
from llmdrill.practice.packs import Pack
from llmdrill.practice.validate import validate_drills

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.practice.library import Listed

SHIPPED = content_files("drills")
CODE = load_library([Pack("shipped", next(iter(SHIPPED.values())).parent)]).select(kind="code")


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_every_shipped_drill_is_proven(path: Path) -> None:
    others = [other for other in SHIPPED.values() if other != path]
    assert [str(one) for one in validate_drills([path], beside=others, run_code=False)] == []


@pytest.mark.parametrize("listed", CODE, ids=lambda one: one.entry.id)
def test_every_shipped_code_drill_fails_unsolved_and_its_solution_passes(listed: Listed) -> None:
    drill = load_drill(listed)
    assert isinstance(drill, CodeDrill)
    assert list(code_mistakes(drill, code_folder(listed), run=True)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_drill_new_writes_is_proven_as_it_is(kind: str, tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, kind), run_code=True) == []


DEFECTS = [
    # form
    ("choice", ("    kind: choice", "    kind: chioce"), "chioce"),
    ("choice", ("    minutes: 1", "    minuts: 1"), "unknown key 'minuts' (did you mean minutes"),
    ("choice", ("    tier: 1 #", "    tier: 4 #"), "drills[0].tier"),
    ("choice", ("id: my-drill", "id: ../../etc/passwd"), "drills[0].id"),
    ("choice", ('url: "https', 'url: "ftp'), "drills[0].sources[0].url"),
    ("choice", ("      - The first five are still among them.", "      - ''"), "drills[0].hints[0]"),
    ("choice", ("tags: [retrieval-metrics]", "tags: [retrieval-metric]"), "unknown topic 'retrieval-metric'"),
    ("choice", ("topic: my-drill", "topic: other"), "the file is called 'my-drill'"),
    # options
    ("choice", ("right: true, ", ""), "0 options are right"),
    ("choice", (", why: It would take another ranking. Here the first five are the same.", ""), "needs 'why'"),
    ("choice", ("It may do either.", "It stays or falls."), "two options have the same text"),
    (
        "choice",
        ("The first five are still among them.", "Well, it stays or rises. Of course."),
        "gives the answer away",
    ),
    # order
    ("order", ("after: [chunk]", "after: [answer]"), "wait for each other in a circle"),
    ("order", ("after: [chunk]", "after: [chonk]"), "'chonk', which is no step"),
    ("order", ("id: embed", "id: chunk"), "two steps have the same id"),
    # debug
    ("debug", ("stale-index", "stale-indx"), "unknown fault 'stale-indx' (did you mean stale-index"),
    ("debug", ("privacy-03", "privacy-3000"), "unknown question of the corpus 'rag' 'privacy-3000'"),
    ("debug", ("layer: retrieval #", "layer: context #"), "'stale-index' is a fault of retrieval"),
    ("debug", (", question: privacy-03", ""), "needs the id of a question"),
    # numbers
    ("numeric", ("arithmetic.product #", "arithmetic.produce #"), "has no function 'produce'"),
    ("numeric", ("arithmetic.product #", "os.system #"), "has no module 'os'"),
    ("numeric", ("arithmetic.product #", "__import__.x #"), "is no calculator"),
    ("numeric", ("values: [$input_tokens", "values: [$tokens"), "'$tokens' is no parameter"),
    ("numeric", ("b: 1000000}", "b: 0}"), "the quotient's b is 0"),
    ("numeric", ("arguments: {values:", "arguments: {numbers:"), "takes no 'numbers'"),
    ("numeric", ("= {answer:usd}", "= {anser:usd}"), "names '{anser}'"),
    ("numeric", ("= {answer:usd}", "= $0.37"), "the number 0.37 is typed"),
    (
        "numeric",
        ("      {input_tokens} tokens cost?", "      that cost?"),
        "input_tokens: is drawn, and the prompt does not tell it",
    ),
    ("numeric", ("ratio: 1000}", "ratio: 1.01}"), "mistakes[0]: is right"),
    ("numeric", ("ratio: 1000}", "ratio: 1000, arguments: {}}"), "exactly one of ratio and arguments"),
    ("numeric", ("low: 1000, high: 100000", "low: 100000, high: 1000"), "there is one value only"),
    ("numeric", ("low: 1000, high: 100000", "low: -100000, high: 1000"), "only positive numbers"),
    ("numeric", ("- The price is for a million tokens.", "- It is {answer:usd}."), "names '{answer}'"),
    ("estimate", ("high: 12", "high: 1.0e400"), "too large"),
    ("estimate", ("[$users, $questions, 250]", "[$users, $questions, 1.0e308]"), "which is no finite number"),
    # prose
    ("explain", ("weight: 3", "weight: 9"), "points[0].weight"),
    ("story", ("form: postmortem #", "form: novel #"), "drills[0].form"),
    # code
    ("code", ("function: softmax", "function: softmin"), "has no function 'softmin'"),
]


@pytest.mark.parametrize(("kind", "change", "told"), DEFECTS, ids=[f"{kind}-{told[:40]}" for kind, _, told in DEFECTS])
def test_a_planted_defect_is_told_with_its_place(kind: str, change: tuple[str, str], told: str, tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, kind, change))
    assert any(told in one for one in found), found
    assert all(one.split(":")[0].isdecimal() for one in found), "line"


def test_a_mistake_that_only_some_draws_hide_is_found(tmp_path: Path) -> None:
    wrong = 'why: "The price is for a million tokens, not for a thousand.", ratio: 1000'
    change = (wrong, "why: x, ratio: {quotient: [$usd_per_mtok, $one]}")
    one = ("    steps: # computed", "    steps:\n      one: {calculator: arithmetic.sum, arguments: {values: [1]}} #")
    sound = ("choices: [0.5, 1.25, 3, 10]", "choices: [0.5, 1.25, 3, 10, 1]")
    found = mistakes(write(tmp_path, "numeric", change, one, sound))
    assert len(found) == 1
    assert "is right at" in found[0]
    assert "usd_per_mtok 1," in found[0]


def test_an_id_that_comes_twice_is_told_with_the_other_file(tmp_path: Path) -> None:
    first, second = write(tmp_path, "choice"), tmp_path / "second.yaml"
    second.write_text(template("order").replace("topic: my-drill", "topic: second"), encoding="utf-8")
    told = "'my-drill' stands in my-drill.yaml too"
    assert [one.what for one in validate_drills([first, second])] == [told]
    assert [one.what for one in validate_drills([second], beside=[first])] == [told]


def test_a_solution_that_does_not_pass_and_a_starter_that_does_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "code")
    folder = tmp_path / "code" / "my-drill"
    starter, solution = folder / "starter.py", folder / "solution.py"
    texts = starter.read_text(encoding="utf-8"), solution.read_text(encoding="utf-8")
    starter.write_text(texts[1], encoding="utf-8")
    solution.write_text(texts[0], encoding="utf-8")
    found = mistakes(path, run_code=True)
    assert "the checks hold for the unsolved starter" in found[0]
    assert "the solution does not pass" in found[1]
    assert "NotImplementedError" in found[1]
    (folder / "checks.py").unlink()
    assert "needs checks.py in code/my-drill/" in mistakes(path)[0]


def test_a_yaml_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(levels), encoding="utf-8")
    assert "aliases counted as written out" in mistakes(path)[0]


def test_a_tag_that_would_run_code_is_refused(tmp_path: Path) -> None:
    change = ("worked: |\n      Recall is", "worked: !!python/object/apply:os.system [id]\n    x: |\n      Recall is")
    assert "the tag" in mistakes(write(tmp_path, "choice", change))[0]
