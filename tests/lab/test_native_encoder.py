"""The native encoder: torch's hidden states on every instruction set, exact sums in int16, clean memory, refusals."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.bert_shape import Affine, BertShape, EncoderArrays, LayerArrays
from llmdrill.lab.embed_engine import choose_embed_engine, cpu_has_amx
from llmdrill.lab.length_batches import length_batches
from llmdrill.lab.native import build, encoder
from llmdrill.lab.native.binding import PATHS, native_status
from llmdrill.lab.native.encoder import NORM, PANEL, NativeEncoder, pack, why_not

torch = pytest.importorskip("torch")

from llmdrill.lab.bert import TorchEncoder, build_encoder  # noqa: E402

if TYPE_CHECKING:
    from llmdrill.lab.native.binding import Library

pytestmark = pytest.mark.lab
SHAPES = {
    "one panel a head": {"hidden": 96, "heads": 3, "intermediate": 160},
    "two panels a head": {"hidden": 128, "heads": 2, "intermediate": 96},
    "one head": {"hidden": 32, "heads": 1, "intermediate": 32},
}
LENGTHS = (1, 2, 11, 12, 13, 24, 25, 31, 33, 64, 97, 130)
INT16_LARGEST = 32767
SUM_LARGEST = 2**31 - 1


def shape_of(**sizes: int) -> BertShape:
    return BertShape(layers=3, vocab=60, positions=130, norm_eps=1e-12, **sizes)


def random_arrays(shape: BertShape) -> EncoderArrays:
    rng = np.random.default_rng(0)

    def draw(*size: int, spread: float = 0.1) -> Any:
        return (rng.standard_normal(size) * spread).astype(np.float32)

    def linear(rows: int, columns: int) -> Affine:
        return Affine(draw(rows, columns, spread=2 / columns**0.5), draw(rows))

    def norm() -> Affine:
        return Affine(1 + draw(width), draw(width))

    width, inner = shape.hidden, shape.intermediate
    layers = tuple(
        LayerArrays(
            qkv=linear(3 * width, width),
            out=linear(width, width),
            attention_norm=norm(),
            up=linear(inner, width),
            down=linear(width, inner),
            output_norm=norm(),
        )
        for _ in range(shape.layers)
    )
    return EncoderArrays(draw(shape.vocab, width, spread=1), draw(shape.positions, width, spread=1), norm(), layers)


def token_ids(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 60, length).tolist() for length in lengths]


def hidden(states: Any, rows: list[list[int]]) -> list[Any]:
    found = dict(states.each(rows, lambda x: x.copy()))
    return [found[index] for index in range(len(rows))]


@pytest.fixture(scope="session")
def library() -> Library:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler here")
    status = native_status()
    assert status.library is not None, status.reason
    return status.library


@pytest.fixture(params=SHAPES, ids=lambda name: name.replace(" ", "-"))
def shape(request: pytest.FixtureRequest) -> BertShape:
    return shape_of(**SHAPES[request.param])


@pytest.mark.parametrize("path", PATHS)
def test_hidden_states_are_those_of_torch(library: Library, shape: BertShape, path: str) -> None:
    if path not in library.paths:
        pytest.skip(f"this processor has no {path}")
    arrays, rows = random_arrays(shape), token_ids()
    wanted = hidden(TorchEncoder(build_encoder(shape, arrays, dtype=torch.float32)), rows)
    for precision, least in (("fp32", 1 - 1e-6), ("int16", 0.9999)):
        ours = hidden(NativeEncoder(library, shape, arrays, precision=precision, path=path), rows)  # type: ignore[arg-type]
        assert [len(one) for one in ours] == list(LENGTHS)
        for mine, theirs in zip(ours, wanted, strict=True):
            cosines = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
            assert cosines.min() >= least
            assert np.linalg.norm(mine) == pytest.approx(np.linalg.norm(theirs), rel=1e-2)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_text_has_the_same_bits_alone_and_among_others(
    library: Library, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(encoder, "threads_in_use", lambda: threads)
    shape, rows = shape_of(**SHAPES["one panel a head"]), token_ids()
    native = NativeEncoder(library, shape, random_arrays(shape), batch_tokens=100)
    for row, among in zip(rows, hidden(native, rows), strict=True):
        assert np.array_equal(hidden(native, [row])[0], among)
    assert hidden(native, []) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 384, 1536]), st.floats(-12, 12), st.booleans())
def test_no_sum_of_rounded_rows_can_leave_32_bits(seed: int, columns: int, tens: float, peaked: bool) -> None:
    weight = np.random.default_rng(seed).standard_normal((PANEL, columns)) * 10.0**tens
    if peaked:
        weight[:, 1:] *= 1e-6  # one value has nearly all of the length
    weight[0] = 0
    packed = pack(Affine(weight.astype(np.float32), np.zeros(PANEL, dtype=np.float32)), "int16")
    assert packed.scales is not None
    rows = packed.units.transpose(0, 2, 1, 3).reshape(PANEL, columns).astype(np.float64)
    assert np.abs(rows).max() <= INT16_LARGEST
    assert np.linalg.norm(rows, axis=1).max() ** 2 <= SUM_LARGEST
    error = np.linalg.norm(rows * packed.scales[:, None] - weight, axis=1)
    assert (error <= np.linalg.norm(weight, axis=1) * columns**0.5 / NORM).all()


def test_products_are_done_for_whole_batches(library: Library) -> None:
    shape = shape_of(**SHAPES["one head"])
    native = NativeEncoder(library, shape, random_arrays(shape)).batched(batch_tokens=30)
    plain = TorchEncoder(build_encoder(shape, random_arrays(shape), dtype=torch.float32)).batched(batch_tokens=30)
    for states in (native, plain):
        assert [states.products(tokens=tokens) for tokens in (1, 30, 31)] == [30, 30, 60]


@pytest.mark.parametrize("in_order", [False, True])
def test_batches_hold_every_text_once_and_no_more_tokens_than_they_may(in_order: bool) -> None:
    lengths = [5, 90, 1, 30, 31, 200, 30]
    batches = list(length_batches(lengths, batch_tokens=100, in_order=in_order))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100 for batch in batches)
    assert (batches == [[0], [1], [2, 3, 4], [5], [6]]) is in_order


# --- what is refused ----------------------------------------------------------------------------------------------


def test_ids_and_lengths_that_the_tables_lack_are_refused(library: Library) -> None:
    shape = shape_of(**SHAPES["one head"])
    native = NativeEncoder(library, shape, random_arrays(shape))
    for row in ([60], [-1], [0] * 131):
        with pytest.raises(UsageError, match="token ids go up to 59, texts up to 130 tokens"):
            hidden(native, [row])
    with pytest.raises(UsageError, match="this processor has no 'mmx'"):
        NativeEncoder(library, shape, random_arrays(shape), path="mmx")


@pytest.mark.parametrize(
    "sizes", [{"hidden": 312, "heads": 12, "intermediate": 1200}, {"hidden": 64, "heads": 2, "intermediate": 100}]
)
def test_sizes_that_leave_a_rest_go_to_torch_with_the_reason(sizes: dict[str, int]) -> None:
    shape = shape_of(**sizes)
    assert "that 32 divides" in str(why_not(shape))
    if native_status().library is not None:
        chosen = choose_embed_engine(shape)
        assert (chosen.name, chosen.reason) == ("torch", why_not(shape))
        with pytest.raises(UsageError, match=r"no native engine here: .* --engine torch runs anywhere"):
            choose_embed_engine(shape, engine="native")


def test_without_a_compiler_torch_embeds_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path)
    shape = shape_of(**SHAPES["one head"])
    chosen = choose_embed_engine(shape)
    assert (chosen.name, chosen.library) == ("torch", None)
    assert chosen.precision in {"fp32", "bf16"}
    assert str(chosen.reason).startswith("/nowhere/cc cannot be run")
    with pytest.raises(UsageError, match="no native engine here: /nowhere/cc"):
        choose_embed_engine(shape, precision="int16")


def test_engine_and_precision_that_exclude_each_other_are_refused() -> None:
    shape = shape_of(**SHAPES["one head"])
    with pytest.raises(UsageError, match="the torch engine has no int16"):
        choose_embed_engine(shape, engine="torch", precision="int16")
    with pytest.raises(UsageError, match="not bf16: --engine torch has it"):
        choose_embed_engine(shape, engine="native", precision="bf16")
    assert choose_embed_engine(shape, precision="bf16").name == "torch"


def test_amx_is_read_from_the_flags_of_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    assert not cpu_has_amx(cpuinfo)
    for flags, has in (("fpu amx_bf16 amx_tile avx2", True), ("fpu amx_tiles avx2", False)):
        cpuinfo.write_text(f"model name\t: amx_tile\nflags\t\t: {flags}\n")
        assert cpu_has_amx(cpuinfo) is has


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_encoding_is_clean_under_sanitizers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    driver, program = Path(__file__).with_name("native_encoder_driver.c"), tmp_path / "driver"
    flags = ["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-fopenmp-simd", "-pthread", f"-I{build.FOLDER}"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [compiler, *flags, *sanitize, str(driver), str(build.FOLDER / "step.c"), "-o", str(program), "-lm"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0 and re.search(r"cannot find|unsupported option", made.stderr):
        pytest.skip("this compiler has no address sanitizer")
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr
    sums = []
    for path in range(len(PATHS)):
        ran = subprocess.run([program, str(path)], capture_output=True, text=True, check=False, timeout=300)
        assert (ran.returncode, ran.stderr) == (0, "")
        sums += [float(ran.stdout)] if ran.stdout.strip() != "absent" else []
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-3)
