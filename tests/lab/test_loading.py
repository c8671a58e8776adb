"""What is packaged, and what a loader refuses: every refusal is one line, before anything is allocated."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import ModelFileError, UsageError
from llmdrill.lab import model_files
from llmdrill.lab.byte_letters import byte_of_letter
from llmdrill.lab.held_out import held_out_sums, held_out_texts
from llmdrill.lab.model_files import EMBEDDED, SUMS_FILE, embedded_file, embedded_folder
from llmdrill.lab.room import available_bytes
from llmdrill.lab.tokenizer import load_tokenizer

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")

from safetensors.torch import load_file, save_file  # noqa: E402

from llmdrill.lab.decoder import random_decoder  # noqa: E402
from llmdrill.lab.embedded import draft_decoder, embedded_decoder, embedded_tokenizer, end_of_text_id  # noqa: E402
from llmdrill.lab.load_decoder import load_decoder  # noqa: E402
from llmdrill.lab.shapes import NAMED_SHAPES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.lab

SOURCE = "def first(names):\n    return names[0]  # Ünïcode ☃\n"


def one_line(refused: pytest.ExceptionInfo[Exception]) -> str:
    text = str(refused.value)
    assert "\n" not in text
    return text


# --- what is packaged ---------------------------------------------------------------------------------------------


def test_the_packaged_models_are_what_they_are_said_to_be() -> None:
    decoder, draft = embedded_decoder(), draft_decoder()
    assert (decoder.shape.parameters, draft.shape.parameters) == (8_335_488, 1_078_144)
    assert decoder.shape.vocab == draft.shape.vocab == embedded_tokenizer().n_vocab
    assert end_of_text_id() == decoder.shape.vocab - 1
    assert not decoder.random_weights
    assert sum((EMBEDDED / name / "model.safetensors").stat().st_size for name in ("python-8m", "python-1m")) < 12e6


def test_the_packaged_decoder_has_learnt_python() -> None:
    text = max((text.text for text in held_out_texts()), key=len)
    ids = torch.tensor([end_of_text_id(), *embedded_tokenizer().encode_ordinary(text)[:400]])
    for decoder in (embedded_decoder(), draft_decoder()):
        logits = decoder.logits(ids[None, :-1])[0]
        loss = torch.nn.functional.cross_entropy(logits, ids[1:])
        assert loss < 0.9 * torch.log(torch.tensor(float(decoder.shape.vocab)))  # of a model that has learnt nothing


def test_int8_weights_are_whole_numbers_times_the_scale_of_their_row() -> None:
    stored = load_file(EMBEDDED / "python-8m/model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    exact = embedded_decoder().weights.layers[1].down
    assert stored[name].dtype == torch.int8
    assert torch.equal(exact, stored[name].float() * stored[f"{name}_scale"][:, None])
    assert torch.equal(embedded_decoder("bf16").weights.layers[1].down, exact.bfloat16())


def test_a_folder_of_int8_rows_loads_from_anywhere_without_hashes(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "python-1m", tmp_path / "model")
    assert torch.equal(load_decoder(tmp_path / "model").weights.embedding, draft_decoder().weights.embedding)


def test_a_folder_that_lacks_scales_or_has_too_few_is_refused(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "python-1m", tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    tensors = load_file(weights)
    tensors["model.embed_tokens.weight_scale"] = tensors["model.embed_tokens.weight_scale"][:-1].contiguous()
    save_file(tensors, weights)
    with pytest.raises(ModelFileError, match="weight_scale") as refused:
        load_decoder(tmp_path / "model")
    one_line(refused)
    del tensors["model.embed_tokens.weight_scale"]
    save_file(tensors, weights)
    with pytest.raises(ModelFileError, match=r"embed_tokens\.weight' is kept as int8, but its row scales are absent"):
        load_decoder(tmp_path / "model")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "models"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "not the file that was packaged"),
        (Path.unlink, "absent"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not the file that was packaged"),
    ],
)
def test_a_packaged_file_that_was_changed_is_refused(
    package: Path, damage: Callable[[Path], object], words: str
) -> None:
    assert embedded_folder("python-1m", root=package) == package / "python-1m"
    damage(package / "python-1m/model.safetensors")
    with pytest.raises(ModelFileError, match=words) as refused:
        embedded_folder("python-1m", root=package)
    assert "python-1m/model.safetensors" in one_line(refused)
    assert "install it again" in one_line(refused)


def test_the_decoder_that_is_loaded_by_default_is_checked_too(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(package / "python-8m/config.json")
    monkeypatch.setattr(
        "llmdrill.lab.load_decoder.embedded_folder", lambda name: model_files.embedded_folder(name, root=package)
    )
    with pytest.raises(ModelFileError, match="not the file that was packaged"):
        load_decoder()


def test_every_packaged_file_stands_in_the_list_of_hashes() -> None:
    rows = [line.split("  ", 1) for line in (EMBEDDED / SUMS_FILE).read_text().splitlines()]
    there = {path.relative_to(EMBEDDED).as_posix() for path in EMBEDDED.rglob("*") if path.is_file()}
    assert {name for _, name in rows} == there - {SUMS_FILE}
    for digest, name in rows:
        assert hashlib.sha256(embedded_file(name)).hexdigest() == digest


# --- text that the model never saw --------------------------------------------------------------------------------


def test_held_out_text_is_read_from_this_python() -> None:
    texts, sums = held_out_texts(), held_out_sums()
    by_path = {one.path: one for one in texts}
    assert by_path["json/decoder.py"].text == Path(json.decoder.__file__).read_text(encoding="utf-8")
    assert set(by_path) <= set(sums)
    assert not any(one.path.startswith("Lib/") for one in texts)
    for one in texts:
        same = hashlib.sha256(one.text.encode()).hexdigest() == sums[one.path]
        assert one.of_trained_version == same


def test_a_standard_library_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no source of the standard library here"):
        held_out_texts(tmp_path)
    (tmp_path / "cmd.py").write_bytes(b"\xff not UTF-8")
    (tmp_path / "struct.py").write_text("import _struct\n")
    assert [one.path for one in held_out_texts(tmp_path)] == ["struct.py"]


# --- tokenizers ---------------------------------------------------------------------------------------------------


def byte_level(folder: Path) -> Any:
    """Train a small byte-level tokenizer and save it as a model folder has it."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    trained.train_from_iterator([SOURCE] * 3, trainer)
    trained.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"eos_token_id": [0, 7]}')
    return trained


def test_both_kinds_of_tokenizer_give_back_the_text_and_the_bytes_of_each_token(tmp_path: Path) -> None:
    byte_level(tmp_path)
    for tokenizer in (load_tokenizer(), load_tokenizer(tmp_path)):
        ids = tokenizer.encode(SOURCE)
        assert tokenizer.decode(ids) == SOURCE
        assert b"".join(tokenizer.token_bytes(token) or b"" for token in ids) == SOURCE.encode()
        assert max(ids) < tokenizer.vocabulary
        assert tokenizer.end_of_text_id is not None
        assert tokenizer.token_bytes(tokenizer.end_of_text_id) is None
    assert load_tokenizer(tmp_path).end_of_text_id == 0


def test_what_looks_like_a_special_token_is_only_text_to_the_embedded_tokenizer() -> None:
    tokenizer = load_tokenizer()
    assert end_of_text_id() not in tokenizer.encode("<|endoftext|>")
    assert tokenizer.decode([end_of_text_id()]) == "<|endoftext|>"


def test_a_tokenizer_that_is_not_byte_level_knows_no_bytes(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, "a"))
    words.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text("{}")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.token_bytes(1) is None
    assert tokenizer.end_of_text_id is None


def test_the_letters_of_byte_level_tokenizers_are_those_of_the_package() -> None:
    assert sorted(byte_of_letter()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [(None, UsageError, "text needs a tokenizer"), ("{", ModelFileError, "not a tokenizer")],
)
def test_a_folder_without_a_readable_tokenizer_is_refused(
    tmp_path: Path, content: str | None, error: type[Exception], words: str
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(error, match=words) as refused:
        load_tokenizer(tmp_path)
    one_line(refused)


def test_tiktoken_ranks_with_more_tokens_than_the_model_are_refused(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "python-1m", tmp_path / "model")
    settings = {"pat_str": "a", "special_tokens": {"<|endoftext|>": 4096}}
    (tmp_path / "model/tiktoken.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match=r"tiktoken\.json: has a token 4096, but config.json says 4096 tokens"):
        load_decoder(tmp_path / "model")


# --- memory -------------------------------------------------------------------------------------------------------


def test_a_cache_that_cannot_fit_is_refused_before_it_is_allocated() -> None:
    if available_bytes() is None:
        pytest.skip("this system does not tell its free memory")
    decoder = random_decoder(NAMED_SHAPES["tiny"], seed=0)
    with pytest.raises(UsageError, match=r"a cache of 1000000000 x 2048 tokens needs .* PB") as refused:
        decoder.start(sequences=10**9, capacity_tokens=2048)
    assert "fewer sequences" in one_line(refused)


def test_weights_that_cannot_fit_are_refused_before_the_file_is_read(tmp_path: Path) -> None:
    if available_bytes() is None:
        pytest.skip("this system does not tell its free memory")
    shutil.copytree(EMBEDDED / "python-1m", tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(UsageError, match="weights needs") as refused:
        load_decoder(tmp_path / "model")
    one_line(refused)


def test_the_room_is_what_machine_and_container_leave(tmp_path: Path) -> None:
    meminfo, group = tmp_path / "meminfo", tmp_path / "group"
    group.mkdir()
    assert available_bytes(meminfo=meminfo, group=group) is None
    meminfo.write_text("MemTotal:  100 kB\nMemAvailable:  40 kB\n")
    assert available_bytes(meminfo=meminfo, group=group) == 40 * 1024
    (group / "memory.max").write_text("30000\n")
    (group / "memory.current").write_text("10000\n")
    assert available_bytes(meminfo=meminfo, group=group) == 20_000
    (group / "memory.max").write_text("max\n")
    assert available_bytes(meminfo=meminfo, group=group) == 40 * 1024


def test_a_model_and_a_shape_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="not both"):
        load_decoder("some/model", shape="tiny")
