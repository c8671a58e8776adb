"""The computations behind number questions: published values, and refusals of arguments that are not theirs."""

from __future__ import annotations

from typing import Any

import pytest
from system_cases import api, estimated, scenario

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.system.kinds.vector_search import VectorSearch
from llmdrill.system.numbers import COMPUTATIONS, ComputedNumber, compute_number
from llmdrill.system.scenario import NumberQuestion


def _computed(by: str, dimension: str = "count", **arguments: Any) -> ComputedNumber:
    question = NumberQuestion.model_validate(
        {
            "id": "q",
            "prompt": "?",
            "dimension": dimension,
            "computed": {"by": by, "arguments": arguments},
            "hint": "Think.",
        }
    )
    return compute_number(question, scenario(), estimated({"llm": api()}, draws=500))


@pytest.mark.parametrize(
    ("by", "arguments", "value"),
    [
        # Kwon et al. 2023 (arXiv:2309.06180), section 3: OPT-13B keeps 800 KB a token, 1.6 GB for 2,048 tokens.
        ("kv_cache_bytes", {"model": "opt-13b", "context_tokens": 2048}, 2048 * 819_200),
        ("weights_bytes", {"model": "llama-3.1-8b", "bits": 16}, 2 * 8_030_261_248),
        ("weights_bytes", {"model": "llama-3.1-8b", "precision": "fp8"}, 9_081_200_640),  # as `calc memory`
        ("api_usd_per_month", {"model": "gpt-4o", "requests": "1M", "input_tokens": 500, "output_tokens": 200}, 3250),
        ("tokens_per_month", {}, 700e6),
        ("peak_requests_per_s", {}, 4e6 / (730 * 3600)),
        ("index_bytes", {"vectors": "1M", "dimensions": 384}, 1.536e9),
        ("index_bytes", {"vectors": 20_000, "dimensions": 384, "links": 32}, 36_162_530),  # a serialised Faiss graph
        ("chunks_expected", {"corpus_tokens": 1000, "size_tokens": 200}, 5),
        ("sequences_in_flight", {"rate": "10/s", "seconds": "1.5s"}, 15),
        ("human_hours_per_day", {"requests_per_month": "60M", "share": "0.8%", "seconds_per_item": "30s"}, 131.5),
        ("needed_sample", {"share": "50%", "margin": "5%"}, 385.0),  # 384.16, and there are no parts of a person
    ],
)
def test_computations_give_published_or_countable_values(by: str, arguments: dict[str, Any], value: float) -> None:
    found = _computed(by, **arguments)
    assert found.value == pytest.approx(value, rel=1e-3)
    assert found.explained is not None
    assert found.explained.filled


def test_a_decode_floor_reads_all_weights_once() -> None:
    whole = _computed("decode_floor_s", model="llama-3.1-8b", accelerator="h100-sxm-80gb", bits=16)
    halved = _computed("decode_floor_s", model="llama-3.1-8b", accelerator="h100-sxm-80gb", bits=8)
    assert 15e9 / 3.35e12 <= whole.value <= 16.1e9 / 3.35e12  # type: ignore[operator]
    assert halved.value == pytest.approx(whole.value / 2)  # type: ignore[operator]


def test_a_prefill_floor_takes_two_operations_a_parameter_and_token() -> None:
    found = _computed("prefill_floor_s", model="llama-3.1-8b", accelerator="h100-sxm-80gb", tokens=1000)
    assert found.value == pytest.approx(2 * 7.5e9 * 1000 / 989e12, rel=0.05)


def test_questions_on_the_own_design_take_its_estimate() -> None:
    assert _computed("design.usd_per_month", "usd").value == pytest.approx(3250)
    assert _computed("design.bottleneck", "stage").value == "llm"
    question = NumberQuestion.model_validate(
        {"id": "q", "prompt": "?", "dimension": "usd", "computed": {"by": "design.usd_per_month"}, "hint": "x"}
    )
    assert compute_number(question, scenario(), None).value is None


def test_what_the_estimate_does_not_know_is_none_with_a_reason() -> None:
    question = NumberQuestion.model_validate(
        {"id": "q", "prompt": "?", "dimension": "seconds", "computed": {"by": "design.total_p95"}, "hint": "x"}
    )
    found = compute_number(question, scenario(), estimated({"llm": api(rate_limit_per_s=0.1)}, draws=500))
    assert found.value is None
    assert "over the rate limit" in found.why_unknown


def test_unknown_computations_and_arguments_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean kv_cache_bytes"):
        _computed("kv_cache_byte")
    with pytest.raises(UsageError, match=r"takes no argument 'contex_tokens' .did you mean context_tokens"):
        _computed("kv_cache_bytes", model="opt-13b", contex_tokens=1)
    with pytest.raises(UsageError, match="needs the argument 'context_tokens'"):
        _computed("kv_cache_bytes", model="opt-13b")
    with pytest.raises(UsageError, match="takes no argument"):
        _computed("design.usd_per_month", model="x")
    with pytest.raises(UsageError, match="bits must be one of"):
        _computed("weights_bytes", model="opt-13b", bits=7)


def test_every_computation_names_arguments_once() -> None:
    for name, one in COMPUTATIONS.items():
        assert len({*one.required, *one.optional}) == len(one.required) + len(one.optional), name


def test_an_index_holds_values_of_a_type_that_exists() -> None:
    with pytest.raises(UsageError, match=r"bytes_per_value must be one of 4 .fp32., 2"):
        _computed("index_bytes", vectors=1000, dimensions=8, bytes_per_value=3)
    with pytest.raises(UsageError, match="'vectors' must be a whole number"):
        _computed("index_bytes", vectors=1000.5, dimensions=8)
    with pytest.raises(ValueError, match="bytes_per_value must be one of"):
        VectorSearch.model_validate({"kind": "vector_search", "k": 3, "bytes_per_value": 3})
