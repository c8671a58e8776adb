"""`llmdrill schema`: the JSON Schema of every file people write."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer

Kind = Literal[
    "scenario", "design", "answers", "drill", "models", "accelerators", "prices", "api_latency", "serving"
]  # the last five are the catalogue's files


def schema(kind: Annotated[Kind, typer.Argument(help="Which file; the last five are the catalogue's.")]) -> None:
    """Print the JSON Schema of a file, for editors: `# yaml-language-server: $schema=…`."""
    if kind == "scenario":
        from llmdrill.system.scenario import Scenario as Model
    elif kind == "design":
        from llmdrill.system.design import Design as Model  # type: ignore[assignment] # one of three models
    elif kind == "answers":
        from llmdrill.scale.answers import AnswersModel as Model  # type: ignore[assignment] # as above
    elif kind == "drill":
        from llmdrill.practice.drill import DrillFile as Model  # type: ignore[assignment] # as above
    else:
        from llmdrill.catalog.file_schema import schema_text

        sys.stdout.write(schema_text(kind))
        return
    sys.stdout.write(json.dumps(Model.model_json_schema(by_alias=True), indent=2, ensure_ascii=False) + "\n")
