"""The package of models: one command writes it from checkpoints, and the lab loads what it wrote."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

from llmdrill.lab.embedded import DRAFT
from llmdrill.lab.held_out import held_out_sums
from llmdrill.lab.load_decoder import EMBEDDED_DECODER
from llmdrill.lab.model_files import EMBEDDED, SUMS_FILE, embedded_folder
from training.data import read_list
from training.embed import embed, held_out_list
from training.tokenizer import RANKS_FILE, SETTINGS_FILE, Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder as training.prepare leaves it, with the tokenizer and the held-out files of the package."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (RANKS_FILE, SETTINGS_FILE):
        shutil.copy(EMBEDDED / name, folder)
    (folder / "test.files.json").write_text(json.dumps([f"Lib/{path}" for path in held_out_sums()]))
    return folder


def test_embedding_the_packaged_models_again_gives_the_same_package(data: Path, tmp_path: Path) -> None:
    package = tmp_path / "models"
    sizes = embed((EMBEDDED / EMBEDDED_DECODER, EMBEDDED / DRAFT), data, package)
    for name in sizes:
        assert (package / name).read_bytes() == (EMBEDDED / name).read_bytes()
    assert (package / SUMS_FILE).stat().st_size == sizes[SUMS_FILE]
    assert embedded_folder(DRAFT, root=package) == package / DRAFT


def test_the_tokenizer_that_training_wrote_is_the_one_that_the_lab_reads() -> None:
    from llmdrill.lab.embedded import embedded_tokenizer

    text = "class A:\n    def f(self) -> None:\n        return 'naïve'\n"
    assert Tokenizer.load(EMBEDDED).encoding().encode_ordinary(text) == embedded_tokenizer().encode_ordinary(text)


def test_held_out_modules_carry_the_hashes_of_the_release(data: Path) -> None:
    rows = dict(reversed(line.split("  ", 1)) for line in held_out_list(data).splitlines())
    assert rows == held_out_sums()
    assert all(read_list()[f"Lib/{path}"] == digest for path, digest in rows.items())
