"""The pages are fresh, and their complete examples do what the text says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmdrill.cli import main
from llmdrill.scale.template import TEMPLATE_ID, scenario_template

DOCS = Path(__file__).parents[2] / "docs"
FENCE = r"<!-- generated: {} -->\n```\w*\n(.*?)\n```\n<!-- end -->"


def example(page: str, region: str) -> str:
    """Return the text of an example as the page shows it."""
    found = re.search(FENCE.format(region), (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1] + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the examples as the pages show them, and the data they speak of."""
    files = scenario_template(TEMPLATE_ID) | {
        f"{TEMPLATE_ID}.yaml": example("scenario-format.md", "example-scenario"),
        f"{TEMPLATE_ID}/designs/reference.design.yaml": example("design-format.md", "example-design"),
        f"{TEMPLATE_ID}/answers/demo.answers.yaml": example("answers-format.md", "example-answers"),
        f"{TEMPLATE_ID}/questions/repairs.yaml": example("scenario-format.md", "example-questions"),
        f"{TEMPLATE_ID}/corpus/repairs/repair-guarantee.md": example("scenario-format.md", "example-document"),
    }
    for relative, text in files.items():
        path = tmp_path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit status of a command."""
    monkeypatch.setattr(sys, "argv", ["llmdrill", *arguments])
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


REFERENCE = f"{TEMPLATE_ID}/designs/reference.design.yaml"


def test_the_generated_pages_are_fresh() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_example_scenario_of_the_page_validates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "scenario", "validate", f"{TEMPLATE_ID}.yaml") == 0


def test_the_example_design_of_the_page_is_estimated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "estimate", REFERENCE) == 0
    assert "Bottleneck: llm" in capsys.readouterr().out


def test_the_example_design_passes_what_an_estimate_can_tell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "check", REFERENCE, "--estimated-only") == 0


def test_without_a_measurement_the_example_design_does_not_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", REFERENCE) == 1
    assert "not measured" in capsys.readouterr().out


def test_the_worse_design_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "check", f"{TEMPLATE_ID}/designs/large-model.design.yaml", "--estimated-only") == 1


def test_a_changed_requirement_is_refused_with_the_new_hash(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"{TEMPLATE_ID}.yaml"
    path.write_text(path.read_text().replace("at_most: 4s", "at_most: 3s"))
    assert run(monkeypatch, "check", REFERENCE, "--estimated-only") == 2
    said = capsys.readouterr().err
    new = re.search(r"put the new hash here: ([0-9a-f]{64})", said)
    assert new is not None
    design = folder / REFERENCE
    design.write_text(re.sub(r"[0-9a-f]{64}", new[1], design.read_text()).replace("total_p95: 4s", "total_p95: 3s"))
    assert run(monkeypatch, "check", REFERENCE, "--estimated-only") == 0


@pytest.mark.parametrize(
    ("right", "wrong", "result"),
    [
        (
            "usd_per_month: $20 ",
            "usd_per_month: $40 ",
            "the design promises at most $40.00; the scenario asks at most $30.00",
        ),
        (
            "  usd_per_month: $20 # the scenario asks $30: the stricter limit is the one that counts\n",
            "",
            "promises nothing",
        ),
        ("usd_per_month: $20 ", "usd_per_month: $2 ", "breaks at most $2.00"),
    ],
)
def test_the_stricter_limit_counts_and_a_promise_that_falls_short_fails(  # noqa: PLR0917 - pytest's fixtures
    right: str,
    wrong: str,
    result: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    design = folder / REFERENCE
    assert right in design.read_text()
    design.write_text(design.read_text().replace(right, wrong))
    assert run(monkeypatch, "check", REFERENCE, "--estimated-only", "--json") == 1
    assert result in capsys.readouterr().out


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target, _, heading in re.findall(r"\]\((([\w-]+\.md)?(?:#([\w-]+))?)\)", page.read_text("utf-8")):
            name = target.partition("#")[0] or page.name
            assert (DOCS / name).is_file(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.+)$", (DOCS / name).read_text("utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-") for text in headings}
            assert not heading or heading in known, f"{page.name}: {target}"
