"""`lab decode`: predictions against real tensors and counted operations, identities between figures, what is shown."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.flops import attention_flops  # noqa: E402
from llmdrill.experiments.decode import _meaning, floors_of, measure_decode  # noqa: E402
from llmdrill.experiments.prompt_flops import prompt_flops  # noqa: E402
from llmdrill.experiments.result import experiment_json  # noqa: E402
from llmdrill.lab.cycle_run import PROMPT, DecodeOptions  # noqa: E402
from llmdrill.lab.decoder import generate, random_decoder  # noqa: E402
from llmdrill.lab.embedded import embedded_decoder, embedded_tokenizer, end_of_text_id  # noqa: E402
from llmdrill.lab.shapes import named_shape  # noqa: E402

if TYPE_CHECKING:
    from llmdrill.experiments.floors import Floors

pytestmark = pytest.mark.lab

SMALL = {"steps": 4, "output_tokens": 4, "prompt_test_tokens": 8, "generation_test_tokens": 4, "repeats": 1}


def measured(**changed: Any) -> Any:
    return measure_decode(DecodeOptions(**SMALL | changed))


def floors(shape: str = "tiny", precision: str = "fp32") -> Floors:
    rounds = SimpleNamespace(bandwidth_bytes_per_s=(1.0,), peak_flops_per_s=(1.0,))
    seen = SimpleNamespace(
        decoder=random_decoder(named_shape(shape), seed=0), rounds=rounds, precision=precision, prompt_precision="fp32"
    )
    return floors_of(seen)  # type: ignore[arg-type]


def test_predicted_bytes_of_a_torch_step_are_those_of_the_tensors() -> None:
    found = measured(shape="tiny", engine="torch").finding("step_bytes")
    assert found.predicted == found.measured


def test_predicted_flops_of_a_prompt_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    decoder, tokens = random_decoder(named_shape("tiny"), seed=0), 96
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        decoder.start(sequences=1, capacity_tokens=tokens).prefill([list(range(tokens))])
    ours = floors()
    attention = attention_flops(ours.record.attention, tokens=tokens, context_tokens=tokens)  # unmasked, as counted
    norms = 2 * tokens * 64 * 5  # the closed form multiplies them, torch's counter does not
    expected = prompt_flops(ours.record, tokens=tokens) - norms + attention / 2
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-6)


def test_figures_of_one_round_are_bound_by_their_definitions() -> None:
    found = measured(shape="tiny")
    at = {one.name: one for one in found.findings}
    tpot_s, bandwidth = at["tpot_ms"].measured / 1000, at["bandwidth_bytes_per_s"].measured
    assert at["mbu_share"].measured == pytest.approx(at["step_bytes"].measured / tpot_s / bandwidth)
    assert at["tpot_ms"].predicted == pytest.approx(1000 * at["step_bytes"].predicted / bandwidth)
    flops = prompt_flops(floors().record, tokens=8) / 8
    achieved = flops * at["pp8_tokens_per_s"].measured / at["peak_flops_per_s"].measured
    assert at["mfu_share"].measured == pytest.approx(achieved)
    assert at["itl_p50_ms"].n == 3
    assert at["itl_p50_ms"].measured <= at["itl_p90_ms"].measured <= at["itl_p99_ms"].measured


def test_random_weights_show_no_text_and_say_what_they_are_good_for() -> None:
    found = measured(shape="tiny")
    assert found.lines == ()
    assert any(note.startswith("random weights: latency and memory only") for note in found.notes)
    assert found.inputs["prompt"] is None
    assert len(found.inputs["prompt_ids"]) == found.inputs["prompt_tokens"] == 64


def test_the_pieces_shown_are_the_prompt_and_the_text_goes_on_as_greedy_generation_does() -> None:
    found = measured(engine="torch", steps=6)
    prompt = [end_of_text_id(), *embedded_tokenizer().encode_ordinary(PROMPT)]
    assert found.inputs["prompt_ids"] == prompt
    start, end = (next(at for at, line in enumerate(found.lines) if word in line) for word in ("cut into", "After"))
    shown = " ".join(line.strip() for line in found.lines[start + 1 : end])
    pieces = [ast.literal_eval(one) for one in split_literals(shown)]
    assert "".join(pieces) == f"<|endoftext|>{PROMPT}"
    new = generate(embedded_decoder(), [prompt], max_new_tokens=6, stop_ids=frozenset({end_of_text_id()}))[0]
    expected = PROMPT + embedded_tokenizer().decode(list(new))
    assert [line[2:] for line in found.lines[end + 1 :]] == expected.splitlines()


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (1.3, "more than can be"),
        (0.9, "memory bounds it"),
        (0.55, "45% of the step is not reading"),
        (0.0, "100% of the step is not reading"),
    ],
)
@pytest.mark.parametrize(("prompt_s", "tells"), [(0.001, "serves all 10 tokens"), (1.0, "gains little")])
def test_what_bounds_a_step_is_said_by_how_near_it_comes_to_plain_reading(
    share: float, says: str, prompt_s: float, tells: str
) -> None:
    first, second = meaning(share, prompt_s=prompt_s)
    assert says in first
    assert tells in second


def meaning(share: float, *, prompt_s: float = 1.0, bandwidths: tuple[float, ...] = (1e9, 1e9)) -> tuple[str, str]:
    rounds = SimpleNamespace(
        requests=(SimpleNamespace(tpot_s=0.01),), prompt_test_s=(prompt_s,), bandwidth_bytes_per_s=bandwidths
    )
    run = SimpleNamespace(rounds=rounds, options=DecodeOptions(prompt_test_tokens=10), step_bytes=1000)
    return _meaning(run, used_share=share)  # type: ignore[arg-type] # the parts that it reads


def test_a_share_of_a_bandwidth_that_spreads_is_called_rough_and_explains_nothing() -> None:
    first, _ = meaning(0.9, bandwidths=(4e9, 5e9, 20e9, 22e9))
    assert "ran at 4 GB/s to 22 GB/s" in first
    assert "rough" in first
    assert "memory bounds" not in first
    steady, _ = meaning(0.9, bandwidths=(20e9, 20e9, 21e9, 21e9, 5e9))  # one reading that was disturbed
    assert "memory bounds" in steady


def split_literals(line: str) -> list[str]:
    """Return the Python string literals of a line, which are parted by one space."""
    found, rest = [], line
    while rest:
        quote = rest[0]
        end = 1
        while rest[end] != quote:
            end += 2 if rest[end] == "\\" else 1
        found.append(rest[: end + 1])
        rest = rest[end + 2 :]
    return found


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    found = experiment_json(measured(shape="tiny"))
    assert found["schema"] == "llmdrill/lab-decode@1"
    keys = {"first_token_s", "ttft_ms", "tpot_ms", "itl_p50_ms", "itl_p90_ms", "itl_p99_ms", "mbu_share", "mfu_share"}
    keys |= {"step_bytes", "bandwidth_bytes_per_s", "peak_flops_per_s", "pp8_tokens_per_s", "tg4_tokens_per_s"}
    assert keys <= set(found)
    assert set(found["predicted"]) == {"ttft_ms", "tpot_ms", "pp8_tokens_per_s", "tg4_tokens_per_s", "step_bytes"}
    assert found["weights_matter"] == []
    assert [row["step"] for row in found["cycle"]] == [1, 2, 3, 4]
    assert len(found["meaning"]) == 2
    assert found["spread"] == {}  # one round has none


def test_every_prediction_has_its_formula_and_every_timed_figure_says_what_it_is() -> None:
    for one in measured(shape="tiny").findings:
        assert bool(one.formula) == (one.predicted is not None), one.name
        assert one.note, one.name


@pytest.mark.parametrize("changed", [{"prompt": "x", "shape": "tiny"}, {"prompt": ""}, {"prompt": "x " * 2000}])
def test_a_prompt_that_cannot_be_run_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"random weights|empty|1024"):
        measured(**changed)
