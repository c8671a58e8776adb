"""The options of `llmdrill calc agent`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

Steps = Annotated[str, typer.Option(help="Steps of the loop: calls of the model, each with a tool.")]
Base = Annotated[str | None, typer.Option(help="Tokens of instructions, tools and task, sent with every step.")]
Output = Annotated[str | None, typer.Option(help="Tokens that a step writes.")]
Observation = Annotated[str, typer.Option(help="Tokens that a tool returns.")]
Model = Annotated[str | None, typer.Option(help="An API model of the catalogue, or give --input-price.")]
InputPrice = Annotated[str | None, typer.Option(help="Own price of a million input tokens, as of self-hosted ones.")]
OutputPrice = Annotated[str | None, typer.Option(help="Own price of a million output tokens.")]
CachedPrice = Annotated[str | None, typer.Option(help="Own price of a million cached tokens; default the input's.")]
CacheHit = Annotated[str, typer.Option(help="Share of the repeated prompt that the prefix cache still holds.")]
Ttft = Annotated[str | None, typer.Option(help="Time to first token of a step, such as 500ms.")]
Tpot = Annotated[str | None, typer.Option(help="Time per output token, such as 20ms.")]
Tool = Annotated[str, typer.Option(help="Time of a tool, such as 1s.")]
PrefillRate = Annotated[
    str | None, typer.Option(help="Prompt tokens read per second, such as 8k/s, if --ttft leaves the prompt out.")
]
Plan = Annotated[str | None, typer.Option(help="Tokens of a plan made ahead; assumed steps × output.")]
ExecutorBase = Annotated[str | None, typer.Option(help="Tokens of an executor's instructions; assumed --base.")]
ExecutorModel = Annotated[str | None, typer.Option(help="A smaller API model for the plan's steps.")]
Parallel = Annotated[bool, typer.Option("--parallel", help="The plan's steps run at once.")]
StepSuccess = Annotated[str | None, typer.Option(help="Probability that a step succeeds: 0.95, 95%.")]
Retries = Annotated[str, typer.Option(help="Further attempts at a failed step.")]
Checkpoint = Annotated[str | None, typer.Option(help="Steps between checkpoints; default none.")]
Restarts = Annotated[str, typer.Option(help="Further attempts from the last checkpoint (or from the start).")]
Detected = Annotated[str, typer.Option(help="Share of failures that are noticed, and so tried again.")]
Date = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Price of that day; default the catalogue's.")
]
