"""Write what comes from the code and the catalogue; with --check, tell which files are not fresh.

Marked regions (`<!-- generated: NAME -->` to `<!-- end -->`) of the pages are rewritten; cli.md, estimates.md and the
schemas and indexes of the catalogue's files are written whole.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pages import command_line, estimates, formats

from llmdrill.catalog.file_schema import fresh_schemas
from llmdrill.catalog.index import fresh_indexes

DOCS = Path(__file__).parent
MARKED = ("scenario-format.md", "design-format.md", "answers-format.md", "scoring.md")
REGION = re.compile(r"(<!-- generated: (?P<name>[\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Return file → text as it should be."""
    regions = formats.regions()
    fresh = {
        path: REGION.sub(lambda match: f"{match[1]}{regions[match['name']]()}\n{match[3]}", path.read_text("utf-8"))
        for path in (DOCS / name for name in MARKED)
    }
    whole = {DOCS / "cli.md": command_line.page(), DOCS / "estimates.md": estimates.page()}
    return fresh | whole | fresh_schemas() | fresh_indexes()


def main() -> int:
    """Write the files, or check them."""
    fresh = pages()
    stale = [path for path, text in fresh.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is not fresh: run python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(fresh[path], "utf-8")
        print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
