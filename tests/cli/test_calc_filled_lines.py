"""The line that `--explain` fills in is arithmetic: worked out again it gives the figure, to its six digits."""

from __future__ import annotations

import math
import re

import pytest
from calc_cases import run_json

# What no line of arithmetic can tell: a quantile, an integral, a sum over a list, a search.
WORDS = ("Q(", "∫", "x_i", "one more token")
SELFHOST = "selfhost --usd-per-hour 3.99 --tp 2 --input 1000 --output 500"
TRAIN = "train --on h100 --usd-per-hour 2 --tokens 1T --model"
CACHE = (
    "cache --kind semantic --request-cost 0.0123456 --lookup-cost 0.00001 --latency 2s --latency-p95 6s --requests 1M"
)
PREFIX = "cache --kind prefix --model claude-sonnet-4-5 --input 99999 --output 300 --prefill 800ms --requests 1k"
AGENT = "agent --base 2000 --output 150 --observation 350 --model claude-sonnet-4-5 --ttft 500ms --tpot 20ms --tool 1s"

LINES = (
    "cost --model gpt-4o --input 500 --output 200",
    "cost --model gpt-4o --input 1 --batch --failures 0.99 --retries 1 --failures-free",
    "cost --model claude-sonnet-4-5 --input 250k --output 1k --cached 200k --cache-write 10k --requests 7 --per-day 9",
    "cost --model gpt-4o --input 8k --cached 8k --reasoning 3k --failures 0.1 --retries 2 --per-month 1M",
    f"{SELFHOST} --tokens-per-s 2000 --utilisation 100% --per-month 10M --against gpt-4o",
    "selfhost --on h100 --input 1000 --output 500 --model llama-3.1-8b --batch 16 --per-month 10M --against gpt-4o",
    "train --parameters 70B --fit hoffmann",
    f"{TRAIN} llama-3.1-8b --recompute none --seq 8k --tp 2 --sequence-parallel --micro-batch 2",
    f"{TRAIN} llama-3.1-70b --tp 8 --pp 4 --dp 16 --zero 3 --recompute selective --microbatches 2",
    f"{TRAIN} llama-3.1-70b --method qlora --pp 2 --targets q,v",
    f"{TRAIN} llama-3.1-8b --method lora --dp 8 --zero 3",
    f"{TRAIN} gemma-3-27b --seq 32k",
    f"{TRAIN} deepseek-v3",
    "speculative --acceptance 0.8 --draft 5 --verify-cost 0.1",
    "speculative --acceptance 1 --draft 4",
    "speculative --acceptance 0 --draft 4",
    "batching --batch 32 --p50 200 --p95 800",
    "batching --batch 4 --lengths 20,150,800,100,33",
    f"{CACHE} --hit-rate 30% --wrong 2% --wrong-cost 0.01",
    f"{CACHE} --hit-rate 97%",
    f"{PREFIX} --prefix 1 --hit-rate 30%",
    f"{PREFIX} --prefix 99999 --reuses 2",
    f"{AGENT} --steps 1 --prefill-rate 8k/s",
    f"{AGENT} --steps 20 --step-success 95% --retries 1 --detected 0.9 --cache-hit 0.7 --parallel",
    f"{AGENT} --steps 20 --step-success 95% --checkpoint 7 --restarts 2",
    f"{AGENT} --steps 5 --step-success 0 --retries 2",
)


def worked_out(filled: str) -> float:
    """Return what the line before its last ``=`` comes to."""
    line = filled.rpartition(" = ")[0].translate(str.maketrans({"×": "*", "−": "-", "$": None}))
    line = re.sub(r"(?<=\d),(?=\d{3})", "", line).replace("^", "**")
    return float(eval(line, {"__builtins__": {}, "max": max, "min": min, "ceil": math.ceil, "exp": math.exp}))  # noqa: S307


@pytest.mark.parametrize("line", LINES)
def test_a_filled_line_comes_to_its_figure(line: str) -> None:
    found = run_json(*line.split(), "--explain")
    for name, derivation in found["explained"].items():
        if any(word in derivation["filled"] for word in WORDS):
            continue
        value = found[name]["value"] if isinstance(found[name], dict) else found[name]
        wanted = value / 1000 if name.endswith("_ms") else value
        assert worked_out(derivation["filled"]) == pytest.approx(wanted, rel=2e-5, abs=1e-12), derivation["filled"]
