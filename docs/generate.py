"""Write the parts of docs/ that come from the code; with --check, tell which are not fresh.

Marked regions (`<!-- generated: NAME -->` to `<!-- end -->`) of the pages are rewritten; cli.md and estimates.md
are written whole.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pages import command_line, estimates, formats

DOCS = Path(__file__).parent
MARKED = ("scenario-format.md", "design-format.md", "answers-format.md", "scoring.md")
REGION = re.compile(r"(<!-- generated: (?P<name>[\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Return page → text as it should be."""
    regions = formats.regions()
    fresh = {
        path: REGION.sub(lambda match: f"{match[1]}{regions[match['name']]()}\n{match[3]}", path.read_text("utf-8"))
        for path in (DOCS / name for name in MARKED)
    }
    return fresh | {DOCS / "cli.md": command_line.page(), DOCS / "estimates.md": estimates.page()}


def main() -> int:
    """Write the pages, or check them."""
    fresh = pages()
    stale = [path for path, text in fresh.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is not fresh: run python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(fresh[path], "utf-8")
        print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
