"""`llmdrill lab chunking` as a person or a script runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_cases import run, without_torch

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

ONE = ("lab", "chunking", "--method", "fixed", "--size", "64")


def test_keyword_search_is_compared_without_the_model(tmp_path: Path) -> None:
    designs = ("--method", "small-to-big", "--overlap-share", "0", "--retriever", "keyword", "--json")
    ran = run(*ONE, *designs, environ=without_torch(tmp_path))
    assert ran.status == 0, ran.err
    found = ran.json
    assert [row["design"] for row in found["at_equal_tokens"]] == ["fixed 64/0", "small-to-big 64/0"]
    assert found["budget_tokens"] == 320 >= max(row["sent_tokens"] for row in found["at_equal_tokens"])
    assert found["stored"][1]["vectors"] > found["stored"][1]["chunks"]
    assert found["chunks"] == found["predicted"]["chunks"]
    assert found["embedder"] is None


@pytest.mark.parametrize("words", [(), ("--method", "semantic", "--retriever", "keyword")])
def test_what_needs_the_model_names_the_extra(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = run(*ONE, *words, environ=without_torch(tmp_path))
    assert (ran.status, ran.out) == (2, "")
    assert "needs the extra 'lab'" in ran.err


@pytest.mark.lab
def test_semantic_chunks_are_cut_by_the_embedded_model(call: Call, tmp_path: Path) -> None:
    folder, questions = tmp_path / "documents", tmp_path / "questions.yaml"
    folder.mkdir()
    cats = "The cat sleeps on the sofa. Cats purr when they are content. A kitten plays with wool."
    banks = "Interest rates rose in March. Banks lend at higher rates. The loan costs more now."
    (folder / "both.md").write_text(f"{cats} {banks}\n", encoding="utf-8")
    evidence = "[{document: both.md, quote: The loan costs more now., grade: 2}]"
    questions.write_text(f"- {{id: a, text: Are loans dearer?, evidence: {evidence}}}\n", encoding="utf-8")
    ran = call(
        *("lab", "chunking", "--corpus", folder, "--questions", questions, "--method", "semantic", "--size", 28),
        *("--overlap-share", 0, "--k", 1, "--retriever", "dense", "--json"),
    )
    assert ran.status == 0, ran.err
    assert ran.json["recall_at_k"] == 1
    assert ran.json["chunks"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--method", "semantc"), "did you mean semantic"),
        (("--overlap-share", "1"), "--overlap-share: give shares from 0"),
        (("--llm", "gpt-nine"), "unknown API model"),
        (("--corpus", "no/such/folder"), "there is no such file or folder"),
    ],
)
def test_bad_input_is_one_line(call: Call, words: tuple[str, ...], says: str) -> None:
    ran = call("lab", "chunking", *words)
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert says in ran.err
