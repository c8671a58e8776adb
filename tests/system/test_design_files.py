"""Design files: read strictly, with places; written so that they load back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system_cases import mistakes_of

from llmdrill.content import parse_yaml, validate
from llmdrill.errors import ContentError
from llmdrill.system.design import Design, load_design, write_design
from llmdrill.system.kinds import KINDS

if TYPE_CHECKING:
    from pathlib import Path

HEAD = f"""schema: llmdrill/design@1
title: A design
scenario: {{id: rag, sha256: "{"a" * 64}"}}
"""
CONTRACT = (
    HEAD
    + """requirements:
  total_p95: 4s
  recall: 85%
stages:
  chunk: {kind: chunking, offline: true, method: structural, size_tokens: 200, overlap_tokens: 30}
  index: {kind: index, offline: true, after: [chunk], refresh: 15min}
  guard: {kind: rules}
  embed: {kind: embedding, after: [guard], model: all-minilm-l6-v2, served: local}
  search: {kind: vector_search, after: [embed], k: 20}
  keywords: {kind: keyword_search, after: [guard], k: 20, codes: true}
  rrf: {kind: fusion, after: [search, keywords], method: rrf, k: 5}
  llm: {kind: llm, after: [rrf], model: gpt-4o-mini, served: api, prompt_tokens: 250}
evaluation:
  metrics: {recall_at_k: ">= 0.85", faithfulness: ">= 0.9"}
  judge: "…"
words: {llm: "why …"}
"""
)


def _refusals(text: str) -> list[str]:
    with pytest.raises(ContentError) as caught:
        validate(parse_yaml(text, file="d.yaml"), Design)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_the_design_of_the_contract_loads(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(CONTRACT, encoding="utf-8")
    design = load_design(path).design
    assert list(design.stages)[:3] == ["chunk", "index", "guard"]
    assert design.stages["index"].refresh == 900  # type: ignore[union-attr]
    assert design.stages["rrf"].after == ("search", "keywords")


def test_every_kind_says_what_it_does_in_a_sentence() -> None:
    for name, kind in KINDS.items():
        assert kind.sentence.endswith("."), name
        assert kind.model_fields["kind"].annotation.__args__ == (name,)  # type: ignore[union-attr]


def test_all_mistakes_of_a_file_come_at_once_each_with_its_place() -> None:
    found = _refusals(
        HEAD
        + """stages:
  guard: {kind: ruls}
  embed: {kind: embedding, modl: x}
  search: {kind: vector_search, k: -2}
  slow: {kind: tool, latency_p50: 3s}
"""
    )
    assert found[0] == "d.yaml:5:3: stages.guard: unknown stage kind 'ruls' (did you mean rules?)"
    assert "d.yaml:6:28: stages.embed.modl: unknown key 'modl' (did you mean model?)" in found
    assert any("the key 'model' is missing" in one for one in found)
    assert any(one.startswith("d.yaml:7:33: stages.search.k: ") for one in found)
    assert any("latency_p50 and latency_p95 go together" in one for one in found)


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        ("{kind: chunking, method: fixed, size_tokens: 100, overlap_tokens: 100}", "must be below size_tokens"),
        ("{kind: llm, model: llama-3.1-8b, served: self}", "needs `on`"),
        (
            "{kind: llm, model: llama-3.1-8b, served: self, on: h100, ttft_p50: 1s, ttft_p95: 2s}",
            "give both ttft and tpot",
        ),
        ("{kind: llm, model: m, ttft_p50: 2s, ttft_p95: 1s}", "below ttft_p50"),
        ("{kind: tool, latency_p50: 0s, latency_p95: 1s}", "needs a median above 0"),
        ("{kind: tool, timeout: 0s}", "lets nothing through"),
        ("{kind: router, routes: 'a=0.7, b=0.5'}", "add up to 1.2"),
        ("{kind: router, routes: ','}", "needs routes"),
        ("{kind: classifier, lower_threshold: 0.9, upper_threshold: 0.2}", "is above upper_threshold"),
        ("{kind: reranker, candidates: 5, k: 9}", "more than the candidates"),
        ("{kind: rules, passes: 120%}", "less than or equal to 1"),
        ("{kind: queue, wait_p50: 1s}", "go together"),
    ],
)
def test_settings_that_make_no_sense_are_refused(stage: str, what: str) -> None:
    assert what in _refusals(f"{HEAD}stages:\n  it: {stage}\n")[0]


def test_a_graph_that_cannot_run_is_refused_with_places() -> None:
    assert mistakes_of(f"{HEAD}stages:\n  a: {{kind: rules, after: [guart]}}\n  guard: {{kind: rules}}\n") == [
        "my.design.yaml:5:28: stages.a.after[0]: there is no stage 'guart' (did you mean guard?)"
    ]
    ring = mistakes_of(
        f"{HEAD}stages:\n  a: {{kind: rules, after: [c]}}\n  b: {{kind: rules, after: [a]}}\n"
        "  c: {kind: rules, after: [b]}\n"
    )
    assert len(ring) == 1
    assert "'a' waits for itself: a -> " in ring[0]
    offline = mistakes_of(f"{HEAD}stages:\n  a: {{kind: index}}\n")
    assert "no stage is online" in offline[0]
    lost = mistakes_of(f"{HEAD}stages:\n  a: {{kind: rules, fallback: skp}}\n")
    assert "did you mean skip?" in lost[0]
    unjoined = mistakes_of(f"{HEAD}stages:\n  r: {{kind: router, routes: 'a, b'}}\n  a: {{kind: rules}}\n")
    assert "does not wait for it" in unjoined[0]


def test_a_fallback_that_leads_back_to_itself_is_refused() -> None:
    ring = mistakes_of(f"{HEAD}stages:\n  a: {{kind: rules, fallback: b}}\n  b: {{kind: rules, fallback: a}}\n")
    assert "falls back on itself" in ring[0]


def test_an_unknown_self_hosted_model_is_refused_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(f"{HEAD}stages:\n  llm: {{kind: llm, model: lama-3.1-8b, served: self, on: h1000}}\n")
    with pytest.raises(ContentError) as caught:
        load_design(path)
    assert [mistake.where for mistake in caught.value.mistakes] == ["stages.llm.model", "stages.llm.on"]
    assert "did you mean llama-3.1-8b" in str(caught.value)


def test_a_written_design_starts_with_its_schema_and_has_one_line_a_stage() -> None:
    data = parse_yaml(CONTRACT, file="d").data
    shuffled = {key: data[key] for key in reversed(list(data))}
    text = write_design(shuffled)
    assert text.startswith("schema: llmdrill/design@1\ntitle: A design\nscenario: {id: rag, sha256: ")
    assert "  rrf: {kind: fusion, after: [search, keywords], method: rrf, k: 5}\n" in text
    assert write_design(data) == text
    assert parse_yaml(text, file="d").data == data


_TEXT = st.one_of(
    st.sampled_from(
        ["no", "012", "1e3", "12:30", "# x", "a: b", "~", "true", "", "1_000", "- a", "two\nlines", "é…", "{"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
)
_VALUE = st.one_of(_TEXT, st.integers(-9, 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@settings(max_examples=150, deadline=None)
@given(words=st.dictionaries(_TEXT, _TEXT, max_size=4), stage=st.dictionaries(_TEXT, _VALUE, max_size=5))
def test_whatever_is_written_loads_back_as_it_was(words: dict[str, str], stage: dict[str, Any]) -> None:
    data = {"schema": "llmdrill/design@1", "title": "x", "stages": {"a": {**stage, "after": ("b",)}}, "words": words}
    assert parse_yaml(write_design(data), file="d").data == data


def test_more_stages_than_a_machine_has_memory_for_are_refused_before_anything_is_drawn() -> None:
    stages = {f"s{number}": {"kind": "rules"} for number in range(201)}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": {"id": "rag", "sha256": "a" * 64}}
    with pytest.raises(ContentError, match=r"stages: .*at most 200"):
        validate(parse_yaml(write_design({**data, "stages": stages}), file="f"), Design)
    del stages["s200"]
    validate(parse_yaml(write_design({**data, "stages": stages}), file="f"), Design)
