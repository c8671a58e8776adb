"""The workflow and the hook that docs/ offers, run as they stand: every step in a repository made for it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from llmdrill.folders import shipped_folder

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
DESIGNS = shipped_folder("scenarios") / "moderation" / "designs"
WORKFLOW: dict[Any, Any] = yaml.safe_load((EXAMPLES / "llmdrill.yml").read_text("utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["designs"]["steps"]
COMMANDS = Path(sys.executable).parent
IDENTITY = {
    f"GIT_{who}_{what}": "tester@example.org" if what == "EMAIL" else "tester"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}

pytestmark = pytest.mark.skipif(not (COMMANDS / "llmdrill").exists(), reason="the command is not installed")


@dataclass(frozen=True, slots=True)
class Job:
    """A checkout of a pull request, and what GitHub puts around it."""

    folder: Path
    base: str
    environ: dict[str, str]

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environ, check=True, capture_output=True, text=True
        ).stdout.strip()

    def step(self, name: str) -> subprocess.CompletedProcess[str]:
        step = next(one for one in STEPS if one.get("name") == name)
        environ = {**self.environ, **{key: self.filled(value) for key, value in step.get("env", {}).items()}}
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # what `shell: bash` means
        return subprocess.run(shell, cwd=self.folder, env=environ, check=False, capture_output=True, text=True)

    def filled(self, text: str) -> str:
        known = {
            "github.event.pull_request.base.sha": self.base,
            "github.event.pull_request.html_url": "https://example.org/pull/1",
            "github.token": "token",
        }
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: known[match[1]], text)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a repository whose base holds the reference design, and a `gh` that writes down how it is called."""
    folder, tools = tmp_path / "repository", tmp_path / "tools"
    (folder / "designs").mkdir(parents=True)
    tools.mkdir()
    (tools / "gh").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/gh.log"\n', encoding="utf-8")
    (tools / "gh").chmod(0o755)
    path = os.pathsep.join((str(tools), str(COMMANDS), os.environ["PATH"]))
    github = {"RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    job = Job(folder, "", {**os.environ, **IDENTITY, **github, "PATH": path, "CI": "true"})
    (folder / "designs" / "my.design.yaml").write_text(reference(), encoding="utf-8")
    job.git("init", "--quiet", "--initial-branch", "main")
    job.git("add", ".")
    job.git("commit", "--quiet", "--message", "base")
    return Job(folder, job.git("rev-parse", "HEAD"), job.environ)


def reference() -> str:
    return (DESIGNS / "reference.design.yaml").read_text("utf-8")


def junit(job: Job) -> ET.Element:
    return ET.parse(job.folder / "llmdrill.junit.xml").getroot()  # noqa: S314 - written by ourselves


def changed(job: Job, text: str, name: str = "my.design.yaml") -> None:
    (job.folder / "designs" / name).write_text(text, encoding="utf-8")
    job.git("add", ".")
    job.git("commit", "--quiet", "--message", "change")


def test_every_step_that_runs_something_is_tried_here() -> None:
    named = {step["name"] for step in STEPS if "run" in step}
    assert named == {"Install", "Check", "Report as JUnit XML", "Compare with the base", "Comment on the pull request"}
    install = next(step for step in STEPS if step.get("name") == "Install")
    assert install["run"] == 'python -m pip install "$LLMDRILL"'  # it needs the network: not run here
    assert WORKFLOW["env"]["LLMDRILL"].split("==")[0] == "llmdrill"


def test_a_pull_request_that_keeps_the_limits_passes_and_is_told_what_it_changes(job: Job, tmp_path: Path) -> None:
    changed(job, reference().replace("max_output_tokens: 60", "max_output_tokens: 50"))
    changed(job, reference(), "new one.design.yaml")
    check = job.step("Check")
    assert check.returncode == 0, check.stdout + check.stderr
    assert all(line.startswith("::notice ") for line in check.stdout.splitlines())
    assert job.step("Report as JUnit XML").returncode == 0
    suites = junit(job)
    assert [suite.get("failures") for suite in suites] == ["0", "0"]
    compared = job.step("Compare with the base")
    assert compared.returncode == 0, compared.stderr
    comment = (job.folder / "comment.md").read_text("utf-8")
    assert comment.count("### llmdrill diff: ") == 1
    assert comment.count("### llmdrill estimate: ") == 1
    assert re.search(r"max.*output.*tokens: 60 -.*> 50", comment)
    assert (tmp_path / "summary.md").read_text("utf-8") == comment
    assert job.step("Comment on the pull request").returncode == 0
    assert "pr comment https://example.org/pull/1 --edit-last" in (tmp_path / "gh.log").read_text("utf-8")


def test_a_pull_request_that_breaks_a_limit_fails_and_still_gets_its_comment(job: Job) -> None:
    changed(job, (DESIGNS / "everything-to-the-large-model.design.yaml").read_text("utf-8"))
    check = job.step("Check")
    assert check.returncode == 1
    assert re.search(r"^::error file=designs/my\.design\.yaml,line=\d+,col=\d+,title=", check.stdout, re.MULTILINE)
    assert job.step("Report as JUnit XML").returncode == 0
    assert int(junit(job).get("failures") or 0) > 0
    assert job.step("Compare with the base").returncode == 0
    assert "removed" in (job.folder / "comment.md").read_text("utf-8")


def test_a_design_that_cannot_be_read_fails_the_check_and_not_the_comment(job: Job) -> None:
    changed(job, reference().replace("stages:", "stagse:"))
    check = job.step("Check")
    assert check.returncode == 2
    assert "title=design cannot be judged::" in check.stdout
    assert job.step("Compare with the base").returncode == 0
    assert "could not be compared" in (job.folder / "comment.md").read_text("utf-8")


def _hook(name: str) -> dict[str, Any]:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    return next(hook for hook in hooks if hook["id"] == name)


def _run_hook(job: Job, name: str, *files: str, arguments: tuple[str, ...] = ()) -> int:
    hook = _hook(name)
    assert all(re.search(hook["files"], file) for file in files)
    command = [*shlex.split(hook["entry"]), *arguments, *files]
    return subprocess.run(command, cwd=job.folder, env=job.environ, check=False, capture_output=True).returncode


def test_the_hook_lets_a_sound_design_pass_and_stops_one_that_is_not(job: Job) -> None:
    config = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text("utf-8"))
    hook = config["repos"][0]["hooks"][0]
    assert _run_hook(job, hook["id"], "designs/my.design.yaml") == 0
    assert _run_hook(job, hook["id"], "designs/my.design.yaml", arguments=("--max-usd-per-month", "1c")) == 1
    worse = (DESIGNS / "everything-to-the-large-model.design.yaml").read_text("utf-8")
    changed(job, worse, "worse.design.yaml")
    both = ("designs/my.design.yaml", "designs/worse.design.yaml")
    assert _run_hook(job, hook["id"], *both, arguments=tuple(hook["args"])) == 1


def test_the_hook_on_scenarios_finds_a_mistake(job: Job) -> None:
    (job.folder / "scenarios").mkdir()
    (job.folder / "scenarios" / "mine.yaml").write_text("schema: x\n", encoding="utf-8")
    assert _run_hook(job, "llmdrill-validate", "scenarios/mine.yaml") == 1
