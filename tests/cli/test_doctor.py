"""`llmdrill doctor`: the packaged models and this machine's profile, each in a line, and without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from local_cases import LABEL, PROFILE

from llmdrill.catalog.local import KEY, keep_profile
from llmdrill.cli.doctor import _embedded_decoders
from llmdrill.lab.model_files import EMBEDDED
from llmdrill.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call


def finding(call: Call, what: str) -> dict[str, Any]:
    """Return the one line of that name."""
    (found,) = (row for row in call("doctor", "--json").json["findings"] if row["what"] == what)
    return dict(found)


def test_the_packaged_models_are_there_with_their_hashes_and_their_size(call: Call) -> None:
    found = finding(call, "embedded models")
    assert found["state"] == "ok"
    assert "python-8m (8" in found["detail"]
    assert "hashes verified" in found["detail"]


@pytest.mark.parametrize("name", ["python-1m/config.json", "tokenizer.tiktoken", "held_out.txt"])
def test_a_packaged_file_that_was_changed_or_removed_is_named(tmp_path: Path, name: str) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "models")
    file = tmp_path / "models" / name
    file.write_bytes(file.read_bytes() + b" ")
    changed = _embedded_decoders(tmp_path / "models")
    assert (changed.state, changed.detail.startswith(f"{file}: not the file that was packaged")) == ("broken", True)
    file.unlink()
    absent = _embedded_decoders(tmp_path / "models")
    assert (absent.state, absent.detail.startswith(f"{file}: this part of llmdrill is absent")) == ("broken", True)
    assert absent.remedy


def test_without_a_profile_the_command_that_makes_one_is_the_remedy(call: Call) -> None:
    found = finding(call, "accelerator local")
    assert (found["state"], found["remedy"]) == ("missing", "llmdrill lab calibrate")
    keep_profile(PROFILE)
    assert finding(call, "accelerator local") == {
        "what": "accelerator local",
        "state": "ok",
        "detail": LABEL,
        "remedy": "",
    }


def test_a_profile_of_another_version_is_to_be_made_again_and_breaks_nothing(call: Call, home: Path) -> None:
    with Store(home) as store:
        store.save_measurement(KEY, "{}", now="")
    assert finding(call, "accelerator local")["state"] == "missing"


def test_torch_is_not_imported() -> None:
    script = "import sys; from llmdrill.cli import doctor\ntry: doctor.doctor(json_=True)\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "llmdrill.lab.model_files" in done.stdout.split()
    assert "torch" not in done.stdout.split()
