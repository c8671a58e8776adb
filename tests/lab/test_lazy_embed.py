"""The embedder that loads when it is needed: the same as the loaded one, and no torch before that."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmdrill.errors import MissingExtraError, ModelFileError
from llmdrill.folders import cache_folder
from llmdrill.lab import embed
from llmdrill.lab.lazy_embed import LazyMiniLm, lazy_minilm

pytest.importorskip("torch")
FOLDER = embed.find_minilm()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(FOLDER is None, reason="all-MiniLM-L6-v2 is not installed")]


def test_what_the_files_say_is_what_the_loaded_model_is() -> None:
    lazy, loaded = lazy_minilm(), embed.load_minilm()
    assert isinstance(lazy, LazyMiniLm)
    for name in ("name", "sha256", "max_tokens", "dimensions", "precision", "pooling"):
        assert getattr(lazy, name) == getattr(loaded, name)
    text = "Opened boxes, E-4021 and a naïve façade: 日本語 🐳"
    assert np.array_equal(lazy.token_spans(text), loaded.token_spans(text))
    assert np.array_equal(lazy.embed([text, "a"]), loaded.embed([text, "a"]))


def test_asking_for_tokens_or_keys_imports_no_torch() -> None:
    code = (
        "import sys; from llmdrill.lab.lazy_embed import lazy_minilm; model = lazy_minilm();"
        "assert len(model.token_spans('two words')) == 2 and len(model.sha256) == 64;"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_kept_hash_of_a_file_that_changed_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for path in Path(str(FOLDER)).iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    weights = folder / "model.safetensors"
    assert lazy_minilm(folder).sha256 == embed.MINILM_SHA256
    assert any((cache_folder() / "hashes").iterdir())
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data + b"")
    found = lazy_minilm(folder)
    assert found.sha256 != embed.MINILM_SHA256
    assert not isinstance(found, LazyMiniLm)  # an encoder that is not known is read at once


def test_a_folder_that_is_no_encoder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model\.safetensors"):
        lazy_minilm(tmp_path)


def test_without_the_model_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "find_minilm", lambda: None)
    with pytest.raises(MissingExtraError, match="extra 'lab'"):
        lazy_minilm()
