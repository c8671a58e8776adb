"""pass@k, perplexity, BLEU and ROUGE as commands: every way in, and what is refused at its line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = [(6, 0), (6, 3), (6, 6)]
SAMPLES = [("a", True), ("b", False), ("a", False), ("b", True)]
CHAT = {
    "choices": [
        {
            "logprobs": {
                "content": [
                    {"token": "a", "logprob": -0.25, "bytes": [97]},
                    {"token": "é", "logprob": -1, "bytes": [195, 169]},
                ]
            }
        }
    ]
}
OLD = {"choices": [{"logprobs": {"token_logprobs": [None, -0.25, -1.0]}}]}


def test_pass_at_k_of_one_problem_stands_beside_the_biased_estimate() -> None:
    found = run_json("passk", "--n", "10", "--c", "3", "--k", "1", "--k", "5")
    assert found["pass_at_1"] == 0.3
    assert (found["pass_at_5"], found["biased_pass_at_5"]) == (0.916667, 0.83193)
    assert found["pass_at_5_low"] is None


@pytest.mark.parametrize(
    "text",
    [
        "n,c\n" + "".join(f"{n},{c}\n" for n, c in COUNTS),
        "task,c,n\n" + "".join(f"t,{c},{n}\n" for n, c in COUNTS),
        "".join(json.dumps({"n": n, "c": c}) + "\n" for n, c in COUNTS),
        "\ufeffn,c\r\n" + "".join(f"{n}, {c}\r\n" for n, c in COUNTS),
    ],
)
def test_problems_come_as_csv_or_as_json_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "counts").write_text(text, encoding="utf-8", newline="")
    found = run_json("passk", str(tmp_path / "counts"), "--k", "2")
    assert found["pass_at_2"] == pytest.approx((0 + 0.8 + 1) / 3, rel=1e-5)
    assert found["pass_at_2_low"] < found["pass_at_2"] < found["pass_at_2_high"]
    assert found["problems"] == 3
    assert run_json("passk", "-", "--k", "2", stdin=text)["pass_at_2"] == found["pass_at_2"]


def test_samples_as_human_eval_writes_them_are_counted_per_task() -> None:
    text = "".join(json.dumps({"task_id": task, "passed": passed, "result": "x"}) + "\n" for task, passed in SAMPLES)
    found = run_json("passk", "-", stdin=text)
    assert (found["pass_at_1"], found["problems"], found["samples"], found["correct"]) == (0.5, 2, 4, 2)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("n,c\n5,2\n5,6\n", ":3:"),
        ("n,c\n5,2\n\n5,x\n", ":4:"),
        ("n,c\n5\n", ":2:"),
        ("n,c\n", ":1:"),
        ("a,b\n1,2\n", "no column 'n'"),
        ('{"n": 5, "c": 2}\n{"n": 5}\n', ":2:"),
        ('{"n": 5, "c": 2}\n{"n": true, "c": 1}\n', ":2:"),
        ('{"n": 5, "c": 2}\n{"n": 5.0, "c": 1}\n', ":2:"),
        ('{"n": 5, "c": 2}\nnonsense\n', ":2:1: is not JSON"),
        ('{"n": 5, "c": 2}\n{"task_id": 1, "passed": true}\n', "mixes"),
        ('{"n": 1e400, "c": 2}\n', ":1:"),
        ("", "no column"),
    ],
)
def test_a_problem_that_is_none_is_told_at_its_line(text: str, place: str) -> None:
    status, out, err = run("passk", "-", stdin=text)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert place in err


def test_more_draws_than_samples_are_refused_with_the_remedy() -> None:
    status, _, err = run("passk", "-", "--k", "6", stdin="n,c\n10,2\n5,2\n")
    assert status == EXIT_CANNOT_RUN
    assert "not determined by 5 samples: generate at least 6" in err


@pytest.mark.parametrize("response", [CHAT, OLD, [-0.25, -1]])
def test_perplexity_is_the_same_from_every_format(response: Any) -> None:
    from_json = run_json("perplexity", "-", stdin=json.dumps(response))
    listed = run_json("perplexity", "--logprobs", "-0.25, -1")
    lines = run_json("perplexity", "-", stdin="-0.25\n\n-1\n")
    for found in (from_json, listed, lines):
        assert (found["perplexity"], found["bits_per_token"]) == (1.86825, 0.901684)
    assert from_json["bits_per_byte"] == (0.601123 if response is CHAT else None)


def test_the_base_of_the_logarithm_and_the_bytes_are_given() -> None:
    found = run_json("perplexity", "--logprobs", "-3 -1", "--base", "2", "--bytes", "8")
    assert (found["perplexity"], found["bits_per_token"], found["bits_per_byte"]) == (4, 2, 0.5)
    assert run_json("perplexity", "--logprobs", "-1", "--base", "10")["perplexity"] == 10


@pytest.mark.parametrize("logprobs", ["-1 -inf", "-1 -9999"])
def test_a_token_of_no_probability_makes_every_figure_null(logprobs: str) -> None:
    found = run_json("perplexity", "--logprobs", logprobs)
    assert found["perplexity"] is None
    assert found["bits_per_token"] is None
    assert "infinite" in found["notes"][0]
    status, _, err = run("perplexity", "--logprobs", logprobs, "--assert", "perplexity < 10")
    assert status == 1
    assert "unknown" in err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-0.5\n0.1\n", ":2:1: a log-probability must be at most 0, got 0.1"),
        ("-0.5\nnan\n", ":2:"),
        ("-0.5\ninf\n", ":2:"),
        ("-0.5\nminus one\n", ":2:"),
        ("", "no log-probability"),
        ("[-0.5, 0.1]", "[1]: a log-probability must be at most 0"),
        ("[-0.5, null]", "[1]"),
        ("[-0.5, true]", "[1]"),
        ("[-0.5, NaN]", "[1]"),
        ("[]", "no log-probability"),
        ("[-0.5", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[-" + "9" * 6000 + "]", "too large"),
        ("{}", "holds neither"),
        ('{"choices": []}', "holds neither"),
        ('{"choices": [{"logprobs": null}]}', "holds neither"),
        ('{"choices": [{"logprobs": {}}]}', "neither content nor token_logprobs"),
        ('{"choices": [{"logprobs": {"content": [1]}}]}', "content[0].logprob"),
        ('{"choices": [{"logprobs": {"token_logprobs": [-1, null]}}]}', "token_logprobs[1]"),
    ],
)
def test_what_is_no_log_probability_is_told_at_its_place(text: str, place: str) -> None:
    status, out, err = run("perplexity", "-", stdin=text)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert place in err
    assert len(err.splitlines()) == 1


def test_bleu_of_files_is_the_readme_example_with_its_signature(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    texts = {
        "candidates": "The dog bit the man.\nIt wasn't surprising.\nThe man had just bitten him.\n",
        "first": "The dog bit the man.\nIt was not unexpected.\nThe man bit him first.\n",
        "second": "The dog had bit the man.\r\nNo one was surprised.\r\nThe man had bitten the dog.",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    words = ("bleu", *(str(tmp_path / "candidates"),), "--reference", str(tmp_path / "first"))
    found = run_json(*words, "--reference", str(tmp_path / "second"), "--sentences")
    assert found["bleu"] == 48.5308
    assert found["signature"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert [row["line"] for row in found["sentence_bleu"]] == [1, 2, 3]
    assert run_json(*words)["bleu"] < found["bleu"]


def test_rouge_of_a_sentence_names_its_tokenizer() -> None:
    pytest.importorskip("rouge_score")
    words = ("rouge", "--text", "police kill the gunman", "--against", "police killed the gunman")
    found = run_json(*words)
    assert (found["rouge_1_f1"], found["rouge_2_f1"], found["rouge_l_f1"]) == (0.75, 0.333333, 0.75)
    assert "tok:latin|stem:no" in found["signature"]
    assert run_json(*words, "--tokenize", "spaces")["rouge_l_f1"] == 0.75
    stemmed = run_json("rouge", "--text", "cats running", "--against", "cat runs", "--stem")
    assert stemmed["rouge_1_f1"] == 1


@pytest.mark.parametrize("name", ["bleu", "rouge"])
def test_texts_that_do_not_stand_line_by_line_are_refused(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rouge_score")
    (tmp_path / "two").write_text("a b\nc d\n", encoding="utf-8")
    (tmp_path / "one").write_text("a b\n", encoding="utf-8")
    (tmp_path / "none").write_text("\n\n", encoding="utf-8")
    one, two, none = (str(tmp_path / file) for file in ("one", "two", "none"))
    for words, why in (
        ((two, "--reference", one), "has 1 lines, the candidates 2"),
        ((none, "--reference", one), "holds no text"),
        ((one,), "give a FILE"),
        (("--text", "a"), "give a FILE"),
        ((one, "--reference", one, "--text", "a", "--against", "a"), "give a FILE"),
        (("-", "--reference", "-"), "only once"),
    ):
        status, out, err = run(name, *words)
        assert (status, out) == (EXIT_CANNOT_RUN, "")
        assert why in err


@pytest.mark.parametrize("name", ["bleu", "rouge"])
def test_without_the_extra_the_command_that_installs_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("sacrebleu", "sacrebleu.metrics.bleu", "rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, module, None)
    status, out, err = run(name, "--text", "a", "--against", "a")
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert "llmdrill[text-metrics]" in err
