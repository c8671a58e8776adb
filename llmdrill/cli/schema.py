"""`llmdrill schema`: the JSON Schema of every file people write."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer


def schema(kind: Annotated[Literal["scenario", "design", "answers"], typer.Argument(help="Which file.")]) -> None:
    """Print the JSON Schema of a file, for editors: `# yaml-language-server: $schema=…`."""
    if kind == "scenario":
        from llmdrill.system.scenario import Scenario as Model
    elif kind == "design":
        from llmdrill.system.design import Design as Model  # type: ignore[assignment] # one of three models
    else:
        from llmdrill.scale.answers import AnswersModel as Model  # type: ignore[assignment] # as above
    sys.stdout.write(json.dumps(Model.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n")
