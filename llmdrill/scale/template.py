"""The files of `llmdrill scenario new`: a small complete scenario under another name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("template")
TEMPLATE_ID: Final = "faq-bot"


def scenario_template(name: str) -> dict[str, str]:
    """Return relative path → text of a complete scenario called ``name``, with its corpus, designs and answers.

    The hash in the designs stays right under any name: it covers workload, requirements and evaluation, not the id.

    >>> next(path for path in scenario_template("help-desk") if path.endswith("demo.answers.yaml"))
    'help-desk/answers/demo.answers.yaml'
    """
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    return {
        path.relative_to(FOLDER).as_posix().replace(TEMPLATE_ID, name): path.read_text(encoding="utf-8").replace(
            TEMPLATE_ID, name
        )
        for path in files
    }
