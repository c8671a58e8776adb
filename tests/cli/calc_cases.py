"""Run a calculator in this process: fast enough for hundreds of cases."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from typer.testing import CliRunner

from llmdrill.cli.calc import build_group
from llmdrill.errors import LlmdrillError


def run(*words: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr; the error boundary of main is played here."""
    result = CliRunner().invoke(build_group(words), list(words), input=stdin)
    if isinstance(result.exception, LlmdrillError):
        return result.exception.exit_status, result.stdout, str(result.exception)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def run_json(*words: str, stdin: str | bytes | None = None) -> dict[str, Any]:
    """Return the JSON object of a calculator that succeeds."""
    status, out, err = run(*words, "--json", stdin=stdin)
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def evaluated(filled: str) -> float:
    """Return the value of a formula with its numbers put in, as --explain shows it."""
    text = filled.replace(" × ", " * ").replace("⌊", "floor(").replace("⌋", ")").replace("⌈", "ceil(").replace("⌉", ")")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return float(eval(text, {"__builtins__": {}}, {"max": max, "min": min, "floor": math.floor, "ceil": math.ceil}))  # noqa: S307 - our own output


# A command that works for every mode of every calculator, so that tests can put a bad value in place of a good one. A
# line that is indented goes on from the one before; the files are SAMPLES.
_COMMANDS = """
kv --layers 80 --kv-heads 8 --head-dim 128 --context 1k --dtype fp16 --block 16 --reserve 2k
kv --model llama-3.1-8b --context 1k --sequences 2 --on h100 --tp 1 --precision bf16 --usable 90%
memory --model llama-3.1-8b --context 1k --sequences 2 --kv-dtype fp16 --batched-tokens 1k --on h100 --tp 1
  --usable 90% --precision bf16
memory --model llama-3.1-8b --precision gptq-4bit --group 128
memory --params 7B --bits 4.5
flops --model llama-3.1-8b --context 1k --cached 10 --batch 2 --precision bf16 --kv-dtype fp16 --on h100 --tp 1
  --measured-tokens-per-s 100 --measured-prefill-tokens-per-s 1000
latency --model llama-3.1-8b --on h100 --tp 1 --batch 32 --input 1024 --output 128 --engine vllm --precision fp8
  --kv-dtype fp16 --prefix 0.5 --accept 0.7 --draft 3 --draft-cost 0.05
cost --model gpt-4o-mini --input 500 --output 200 --requests 1M --cached 10 --reasoning 20 --per-day 100 --failures 2%
  --retries 2 --date 2026-11-10
cost --model claude-sonnet-4-5 --input 500 --cache-write 100 --per-month 1k
selfhost --input 500 --output 200 --usd-per-hour 3.6 --tokens-per-s 1000 --utilisation 50% --per-month 10M
  --against gpt-4o --date 2026-11-10
selfhost --input 500 --output 200 --on h100 --model llama-3.1-8b --batch 32 --tp 1 --precision bf16 --engine vllm
tokens --approximate --text x
train --parameters 7.5B --active 7B --tokens 100B --zero 2 --dp 64 --tp 1 --pp 1 --on h100 --mfu 40% --memory 80GB
  --usd-per-hour 2 --optimizer adamw --fit besiroglu
train --model llama-3.1-8b --method lora --rank 16 --targets q,v --seq 2k --micro-batch 1 --memory 48GB
  --intermediate 14336
train --model llama-3.1-8b --on h100 --pp 2 --microbatches 4
train --parameters 70B --budget 5.76e23 --fit hoffmann
speculative --acceptance 0.7 --draft 4 --cost-ratio 0.05 --verify-cost 0 --ops-ratio 0.05
batching --batch 8 --p50 100 --p95 400
batching --batch 8 --lengths 20,150,800
batching --batch 2 --trace trace.csv --column n
cache --kind semantic --hit-rate 30% --model gpt-4o-mini --input 500 --output 200 --lookup-cost 0.0001 --lookup 20ms
  --latency 2s --latency-p95 6s --wrong 1% --wrong-cost 0.5 --requests 1M --date 2026-11-10
cache --kind exact --hit-rate 30% --request-cost 0.01
cache --kind prefix --model claude-sonnet-4-5 --input 5000 --prefix 4000 --reuses 10 --prefill 200ms
index --vectors 1M --dimensions 768 --kind hnsw --links 32 --ef-construction 200 --ef-search 50 --cores 2
index --vectors 1M --dimensions 768 --kind ivf-pq --lists 1024 --probes 8 --subquantizers 96 --bits 8
agent --steps 5 --base 2k --output 200 --observation 300 --model gpt-4o-mini --cache-hit 0.9 --ttft 500ms --tpot 20ms
  --tool 1s --prefill-rate 8k/s --plan 300 --executor-base 500 --executor-model gpt-4o-mini --step-success 95%
  --retries 1 --checkpoint 2 --restarts 1 --detected 90% --date 2026-11-10
agent --steps 5 --base 2k --output 200 --input-price 0.1 --output-price 0.4 --cached-price 0.05
moderate --tier people,usd=0.25,latency=2h,reviews_per_h=60,precision=98%,recall=95% --messages 1M --base-rate 1%
  --hours 6
voice --capture 20ms --network-up 40ms/90ms --endpoint 500ms --asr 150ms/300ms --ttft 350ms/900ms --tpot 20ms/35ms
  --clause-tokens 12 --tts 150ms --network-down 40ms --playout 60ms --target 800ms
abtest --baseline 10% --target 12% --significance 5% --power 80% --traffic 1k --looks 5 --n 3841
abtest --baseline 10% --lift 20%
abtest --difference 1 --deviation 5
abtest --paired --baseline 70% --target 75% --discordant 20%
agree ratings.csv --columns alice,bob --order n,y --missing NA --seed 1
passk --n 10 --c 3 --k 1
perplexity --logprobs -0.5 --bytes 8
bleu --text a --against a
bleu text.txt --reference text.txt
rouge --text a --against a
rouge text.txt --reference text.txt
attention --heads 1 --context 1k --width 64 --seed 1
"""
COMMANDS = tuple(tuple(line.split()) for line in _COMMANDS.replace("\n  ", " ").splitlines() if line)
SAMPLES = {"ratings.csv": "alice,bob\ny,y\ny,n\nn,n\n", "trace.csv": "n\n20\n150\n800\n", "text.txt": "a b c d\ne f\n"}
