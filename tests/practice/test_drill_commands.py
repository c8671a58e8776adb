"""`llmdrill drill` and `llmdrill code`, as a person and as a script call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from practice_cases import KINDS, write

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "llmdrill", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_validate_tells_each_mistake_with_its_place_and_exits_1(tmp_path: Path) -> None:
    path = write(tmp_path, "choice", ("tags: [retrieval-metrics]", "tags: [nothing]"))
    done = run("drill", "validate", path)
    assert done.returncode == 1
    assert done.stdout == f"{path}:9:12: drills[0].tags[0]: unknown topic 'nothing'\n"
    told = json.loads(run("drill", "validate", path, "--json").stdout)
    assert told["mistakes"] == [
        {"file": str(path), "line": 9, "column": 12, "where": "drills[0].tags[0]", "what": "unknown topic 'nothing'"}
    ]


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_validate_exits_2_if_there_is_nothing_to_read(name: str, tmp_path: Path) -> None:
    done = run("drill", "validate", tmp_path / name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_code_of_another_pack_runs_only_after_the_person_agreed(tmp_path: Path) -> None:
    path = write(tmp_path / "pack", "code")
    marker = tmp_path / "ran"
    solution = tmp_path / "pack" / "code" / "my-drill" / "solution.py"
    text = solution.read_text(encoding="utf-8")
    solution.write_text(f"{text}\nopen({str(marker)!r}, 'w')\n", encoding="utf-8")
    refused = run("drill", "validate", path)
    assert (refused.returncode, marker.exists()) == (2, False)
    assert "--agree" in refused.stderr
    assert (run("drill", "validate", path, "--no-code").returncode, marker.exists()) == (0, False)
    assert (run("drill", "validate", path, "--agree").returncode, marker.exists()) == (0, True)
    assert run("drill", "validate", path).returncode == 0


def test_list_and_show_speak_json_and_words(home: Path) -> None:
    for kind in KINDS:
        write(home / "drills", kind, drill_id=f"own-{kind}")
    listed = json.loads(run("drill", "list", "--kind", "order", "--topic", "own-order", "--json").stdout)
    assert [(one["id"], one["pack"]) for one in listed["drills"]] == [("own-order", "yours")]
    assert "own-order" in run("drill", "list", "--kind", "order").stdout
    for kind in ("numeric", "choice"):
        shown = json.loads(run("drill", "show", f"own-{kind}", "--seed", "3", "--json").stdout)
        assert not {"worked", "answers", "hints", "values"} & set(shown), "it gives the answer away"
        assert shown["prompt"]
        assert {"worked", "answers"} <= set(
            json.loads(run("drill", "show", f"own-{kind}", "--answer", "--json").stdout)
        )
    assert "Sources" in run("drill", "show", "own-story", "--answer").stdout
    assert "\x1b" not in run("drill", "show", "own-choice", "--plain").stdout
    for wrong in (("show", "own-chioce"), ("list", "--topic", "kv-cach"), ("list", "--tier", "9"), ("new", "poem")):
        assert run("drill", *wrong).returncode == 2, wrong


@pytest.mark.lab
def test_a_planted_trace_is_real_and_does_not_give_the_fault_away(home: Path) -> None:
    write(home / "drills", "debug")
    shown = json.loads(run("drill", "show", "my-drill", "--json").stdout)
    assert "a real run on the corpus" in shown["trace"]
    assert "written by a person" in shown["trace"]
    assert "stale" not in shown["trace"]


def test_new_writes_what_validates_and_overwrites_nothing(home: Path) -> None:
    assert run("drill", "new", "code", "--id", "fresh").returncode == 0
    path = home / "drills" / "fresh.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    assert run("drill", "new", "choice", "--id", "fresh").returncode == 2
    assert path.read_text(encoding="utf-8").endswith("# mine\n")
    assert run("drill", "new", "choice", "--id", "../up").returncode == 2
    assert not (home / "up.yaml").exists()
    assert run("drill", "validate", path, "--agree").returncode == 0


def test_a_code_drill_is_started_checked_watched_and_solved(home: Path, tmp_path: Path) -> None:
    write(home / "drills", "code")
    into = ("--into", tmp_path / "work")
    assert run("code", "check", *into).returncode == 2
    assert run("code", "start", "my-drill", *into).returncode == 0
    assert run("code", "start", "my-drill", *into).returncode == 2
    assert run("code", "check", *into).returncode == 2, "nobody has agreed"
    unsolved = run("code", "check", *into, "--agree")
    assert unsolved.returncode == 1
    assert "0 of 2 checks hold" in unsolved.stdout
    solution = json.loads(run("code", "solution", "my-drill", "--json").stdout)["solution"]
    watched = subprocess.Popen(
        [sys.executable, "-m", "llmdrill", "code", "watch", *map(str, into)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert watched.stdout is not None
    with watched:
        for line in watched.stdout:
            if line.startswith("0 of 2"):
                break
        (tmp_path / "work" / "my_drill.py").write_text(solution, encoding="utf-8")
        assert "2 of 2 checks hold" in watched.stdout.read()
    assert watched.returncode == 0
    passed = json.loads(run("code", "check", *into, "--json").stdout)
    assert (passed["passed"], passed["stopped"]) == (True, None)


def test_the_schema_of_drill_files_is_printed() -> None:
    schema = json.loads(run("schema", "drill").stdout)
    assert set(schema["properties"]) == {"topic", "title", "drills"}
