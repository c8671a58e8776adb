"""Export a data flow as Mermaid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def mermaid(names: Sequence[str], edges: Sequence[tuple[str, str]], *, labels: Mapping[str, str] | None = None) -> str:
    """Return a Mermaid flowchart.

    >>> print(mermaid(["request", "llm"], [("request", "llm")]))
    flowchart LR
      n0["request"]
      n1["llm"]
      n0 --> n1
    """
    numbers = {name: f"n{index}" for index, name in enumerate(names)}
    boxes = [f'  {numbers[name]}["{_label((labels or {}).get(name, name))}"]' for name in names]
    arrows = [f"  {numbers[source]} --> {numbers[target]}" for source, target in edges]
    return "\n".join(["flowchart LR", *boxes, *arrows])


def _label(text: str) -> str:
    """Return text that cannot end the label: Mermaid reads quotes as entities."""
    return re.sub(r"[\r\n]+", " ", text).replace('"', "#quot;")
