"""The files of `llmdrill drill new`: a small complete drill of each kind, under another id."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("template")
TEMPLATE_ID: Final = "my-drill"


def drill_template(kind: str, drill_id: str) -> dict[str, str]:
    """Return relative path → text of a drill of this kind, its file first.

    >>> tuple(drill_template("code", "softmax-1"))[:2]
    ('softmax-1.yaml', 'code/softmax-1/checks.py')
    """
    text = (FOLDER / f"{kind}.yaml").read_text(encoding="utf-8").replace(TEMPLATE_ID, drill_id)
    files = {f"{drill_id}.yaml": text}
    if kind == "code":
        for path in sorted((FOLDER / "code").iterdir()):
            files[f"code/{drill_id}/{path.stem}"] = path.read_text(encoding="utf-8")
    return files
