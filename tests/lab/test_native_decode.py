"""The native decode step: the torch engine's logits on every instruction set, clean memory, and what its build refuses.

What int8 chooses is compared on the embedded model: random weights put the first and the second choice so near to each
other that any rounding swaps some of them, which says nothing about a model in use.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import UsageError
from llmdrill.lab.native import build
from llmdrill.lab.native.binding import BLOCK, GROUP, MAX_ROWS, PATHS, native_status
from llmdrill.lab.shapes import DecoderShape

torch = pytest.importorskip("torch")

from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights, generate, random_decoder  # noqa: E402
from llmdrill.lab.embedded import embedded_decoder, embedded_tokenizer, end_of_text_id  # noqa: E402
from llmdrill.lab.held_out import held_out_texts  # noqa: E402
from llmdrill.lab.native.engine import HugePages, NativeDecoder, native_or_torch, pack, packed_bytes  # noqa: E402

if TYPE_CHECKING:
    from llmdrill.lab.native.binding import Library

pytestmark = pytest.mark.lab

BASE = DecoderShape(
    layers=3,
    hidden=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=96,
    vocab=160,
    rope_theta=1e4,
    norm_eps=1e-5,
    tied=True,
    max_positions=512,
)
LOUDER = 4  # times the spread of random_decoder
SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi-head": {"kv_heads": 4},
    "multi-query, odd sizes": {
        "kv_heads": 1,
        "heads": 3,
        "head_dim": 22,
        "hidden": 50,
        "intermediate": 77,
        "vocab": 161,
    },
    "biases, untied": {"qkv_bias": True, "tied": False},
    "normed queries and keys": {"qk_norm": True},
    "wider than a group": {"hidden": 200, "intermediate": 333, "head_dim": 64, "layers": 2},
}


@pytest.fixture(scope="session")
def library() -> Library:
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("no C compiler here")
    status = native_status()
    assert status.library is not None, status.reason
    return status.library


@pytest.fixture(params=SHAPES, ids=lambda name: name.replace(" ", "-"))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return louder(random_decoder(dataclasses.replace(BASE, **SHAPES[request.param]), seed=0))


def louder(decoder: Decoder) -> Decoder:
    """Return a decoder whose layers outweigh the embedding, so that a wrong detail of any of them shows."""
    rng, weights = torch.Generator().manual_seed(1), decoder.weights

    def norm(like: Any) -> Any:
        return torch.empty_like(like).normal_(mean=1, std=0.2, generator=rng)

    layers = tuple(
        LayerWeights(
            *(norm(one.attention_norm), one.qkv * LOUDER, None if one.qkv_bias is None else one.qkv_bias * LOUDER),
            *(one.out * LOUDER, norm(one.mlp_norm), one.gate_up * LOUDER, one.down * LOUDER),
            qk_norm=None if one.qk_norm is None else norm(one.qk_norm),
        )
        for one in weights.layers
    )
    new = DecoderWeights(weights.embedding * LOUDER, layers, norm(weights.norm), weights.head * LOUDER)
    return Decoder(decoder.shape, new, random_weights=True)


def ids(count: int, *, seed: int = 0, below: int = 160) -> list[int]:
    return torch.randint(0, below, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def both(decoder: Decoder, native: NativeDecoder, *, prompts: list[list[int]], steps: int) -> tuple[Any, Any]:
    """Return the logits (steps, B, V) of both engines for the same tokens."""
    sessions = [one.start(sequences=len(prompts), capacity_tokens=300) for one in (decoder, native)]
    for session in sessions:
        session.prefill(prompts)
    tokens = [torch.tensor(ids(len(prompts), seed=step)) for step in range(steps)]
    first, second = (torch.stack([session.decode(token).float() for token in tokens]) for session in sessions)
    assert sessions[0].cache.lengths.tolist() == sessions[1].cache.lengths.tolist()
    return first, second


@pytest.mark.parametrize("path", PATHS)
def test_fp32_logits_equal_the_torch_engines(library: Library, decoder: Decoder, path: str) -> None:
    if path not in library.paths:
        pytest.skip(f"this processor has no {path}")
    native = NativeDecoder(decoder, library, precision="fp32", path=path, threads=3)
    torchs, ours = both(decoder, native, prompts=[ids(140), ids(5), ids(31)], steps=6)
    torch.testing.assert_close(ours, torchs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("path", PATHS[1:])
def test_every_instruction_set_gives_what_the_scalar_path_gives(
    library: Library, decoder: Decoder, precision: Any, path: str
) -> None:
    if path not in library.paths:
        pytest.skip(f"this processor has no {path}")
    scalar, other = (NativeDecoder(decoder, library, precision=precision, path=one) for one in ("scalar", path))
    expected, got = both(scalar, other, prompts=[ids(140), ids(7)], steps=4)
    spread = expected.std()
    # A sum in another order can tip an int8 rounding over, which moves a logit by less than rounding itself does.
    assert (got - expected).abs().max() < (1e-4 if precision == "bf16" else 0.1) * spread
    assert (got - expected).abs().mean() < 0.003 * spread


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.01), ("int8", 0.04)])
def test_rounded_weights_move_random_logits_by_a_small_share_of_their_spread(
    library: Library, decoder: Decoder, precision: Any, most: float
) -> None:
    torchs, ours = both(decoder, NativeDecoder(decoder, library, precision=precision), prompts=[ids(60)], steps=20)
    error = (ours - torchs).pow(2).mean().sqrt() / torchs.std()
    assert 0 < error < most


def test_a_bf16_cache_is_shared_with_a_bf16_prefill(library: Library) -> None:
    exact = louder(random_decoder(BASE, seed=0))
    half = in_bf16(exact)
    native = NativeDecoder(half, library, precision="bf16")
    torchs, ours = both(half, native, prompts=[ids(80), ids(9)], steps=5)
    reference, _ = both(exact, NativeDecoder(exact, library, precision="fp32"), prompts=[ids(80), ids(9)], steps=5)
    assert (ours - reference).std() < (torchs - reference).std()  # it sums in fp32, torch's engine in bf16
    assert torch.nn.functional.cosine_similarity(ours, torchs, dim=-1).min() > 0.99


def in_bf16(decoder: Decoder) -> Decoder:
    old = decoder.weights
    layers = tuple(
        LayerWeights(
            **{
                part.name: None if (value := getattr(one, part.name)) is None else value.bfloat16()
                for part in dataclasses.fields(one)
            }
        )
        for one in old.layers
    )
    embedding = old.embedding.bfloat16()
    return Decoder(
        decoder.shape, DecoderWeights(embedding, layers, old.norm.bfloat16(), embedding), random_weights=True
    )


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_verifying_several_tokens_gives_the_same_bits_as_decoding_them_one_by_one(
    library: Library, decoder: Decoder, precision: Any
) -> None:
    native = NativeDecoder(decoder, library, precision=precision)
    tokens = torch.tensor([ids(2 * MAX_ROWS + 5, seed=1), ids(2 * MAX_ROWS + 5, seed=2)])  # more than one call holds
    together, single = (native.start(sequences=2, capacity_tokens=200) for _ in range(2))
    for session in (together, single):
        session.prefill([ids(40), ids(3)])
    one_by_one = torch.stack([single.decode(column) for column in tokens.T], dim=1)
    assert torch.equal(together.verify(tokens), one_by_one)
    assert together.cache.lengths.tolist() == [40 + tokens.shape[1], 3 + tokens.shape[1]]
    assert torch.equal(together.cache.keys_values, single.cache.keys_values)


def test_rejected_tokens_are_forgotten_by_keeping_the_prefix(library: Library) -> None:
    decoder = louder(random_decoder(BASE, seed=0))
    for engine in (decoder, NativeDecoder(decoder, library, precision="fp32")):
        session = engine.start(sequences=1, capacity_tokens=60)
        session.prefill([ids(20)])
        expected = session.verify(torch.tensor([ids(6, seed=3)]))
        session.cache.keep(20)
        session.verify(torch.tensor([ids(9, seed=4)]))
        session.cache.keep(20)
        torch.testing.assert_close(session.verify(torch.tensor([ids(6, seed=3)])), expected, atol=1e-5, rtol=1e-5)


def test_generation_goes_through_the_native_step_and_says_what_torch_says(library: Library) -> None:
    decoder = louder(random_decoder(BASE, seed=0))
    native = NativeDecoder(decoder, library, precision="fp32")
    prompts = [ids(12), ids(30)]
    assert generate(native, prompts, max_new_tokens=25) == generate(decoder, prompts, max_new_tokens=25)


def test_python_threads_that_share_an_engine_do_not_disturb_each_other(library: Library) -> None:
    native = NativeDecoder(louder(random_decoder(BASE, seed=0)), library, threads=2)
    expected = generate(native, [ids(12)], max_new_tokens=40)
    said: list[Any] = []
    workers = [
        threading.Thread(target=lambda: said.append(generate(native, [ids(12)], max_new_tokens=40))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert said == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_decodes_with_threads_of_its_own(library: Library) -> None:
    native = NativeDecoder(random_decoder(BASE, seed=0), library, precision="fp32", threads=3)
    session = native.start(sequences=1, capacity_tokens=20)
    expected = session.verify(torch.tensor([[1, 2, 3]]))
    child = os.fork()
    if child == 0:
        session.cache.keep(0)
        os._exit(0 if torch.equal(session.verify(torch.tensor([[1, 2, 3]])), expected) else 1)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    if done == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done == (child, 0)


# --- a model that has learnt something ----------------------------------------------------------------------------

HELD_OUT_TOKENS = 4 * 600
CLEAR_MARGIN = 0.2  # nats between the likeliest token and the next: rounding moves a logit of this model by far less


@pytest.fixture(scope="module")
def held_out_logits() -> tuple[Decoder, Any, Any]:
    """Return the embedded decoder, held-out tokens (B, T) and the torch engine's logits (B, T, V) in fp32."""
    decoder = embedded_decoder()
    texts = [text.text for text in held_out_texts() if len(text.text) > 5000][:4]
    encoding = embedded_tokenizer()
    tokens = torch.tensor([[end_of_text_id(), *encoding.encode_ordinary(text)[:599]] for text in texts])
    assert tokens.numel() == HELD_OUT_TOKENS
    return decoder, tokens, decoder.logits(tokens)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_on_held_out_text_the_native_step_chooses_what_the_torch_engine_chooses(
    library: Library, held_out_logits: tuple[Decoder, Any, Any], precision: Any
) -> None:
    decoder, tokens, expected = held_out_logits
    session = NativeDecoder(decoder, library, precision=precision).start(
        sequences=len(tokens), capacity_tokens=tokens.shape[1]
    )
    got = session.verify(tokens)
    best = expected.topk(2).values  # (B, T, 2)
    clear = best[..., 0] - best[..., 1] > CLEAR_MARGIN
    same = got.argmax(-1) == expected.argmax(-1)
    assert clear.float().mean() > 0.5
    assert same[clear].all()
    assert same.float().mean() >= 0.97


# --- packing ------------------------------------------------------------------------------------------------------


def test_int8_packing_is_to_the_nearest_with_one_scale_a_row_and_zeros_around() -> None:
    weight = torch.randn(18, 70, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    values, scales = pack(weight, "int8", HugePages(packed_bytes(weight, "int8")))
    assert scales is not None
    rows = values.transpose(1, 2).reshape(2 * BLOCK, 128)  # whole blocks and groups
    back = rows[:18, :70] * scales[:, None]
    assert ((back - weight).abs() <= weight.abs().amax(1, keepdim=True) / 127 / 2 + 1e-7).all()
    assert rows[:18].abs().amax(1).tolist() == [127, 127, 127, 0, *[127] * 14]
    assert rows[18:].count_nonzero() == rows[:, 70:].count_nonzero() == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_packing_puts_a_row_in_each_lane(precision: Any) -> None:
    weight = torch.arange(BLOCK * GROUP).view(BLOCK, GROUP).float() % 128
    weight[:, 0] = 127  # so that every scale is 1
    values, _ = pack(weight, precision, HugePages(packed_bytes(weight, precision)))
    unit = 4 if precision == "int8" else 1
    assert values.is_contiguous()
    assert torch.equal(values[0, 5, 3].float(), weight[3, 5 * unit : 6 * unit])


def test_a_step_reads_every_weight_once_and_the_cache(library: Library) -> None:
    decoder = random_decoder(dataclasses.replace(BASE, kv_heads=4, intermediate=128), seed=0)  # no padding
    for precision, width in (("fp32", 4), ("bf16", 2)):
        native = NativeDecoder(decoder, library, precision=precision)  # type: ignore[arg-type]
        norms = (2 * BASE.layers + 1) * BASE.hidden
        weights = (decoder.shape.parameters - norms) * width + norms * 4
        assert native.step_bytes(context_tokens=0) == weights
        assert native.step_bytes(context_tokens=7) - weights == 7 * decoder.shape.kv_bytes_per_token


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_the_step_is_clean_under_sanitizers(tmp_path: Path, sanitizers: str) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    driver, program = Path(__file__).with_name("native_driver.c"), tmp_path / "driver"
    flags = ["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-fopenmp-simd", "-pthread"]
    sanitize = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", f"-I{build.FOLDER}"]
    command = [compiler, *flags, *sanitize, str(driver), "-o", str(program), "-lm"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0 and re.search(r"cannot find|unsupported option", made.stderr):
        pytest.skip(f"this compiler has no {sanitizers} sanitizer")
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr
    sums = []
    for path in range(len(PATHS)):
        ran = subprocess.run([program, str(path)], capture_output=True, text=True, check=False, timeout=300)
        assert (ran.returncode, ran.stderr) == (0, "")
        sums += [float(ran.stdout)] if ran.stdout.strip() != "absent" else []
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-2)


# --- building -----------------------------------------------------------------------------------------------------


def fake_compiler(folder: Path, body: str) -> str:
    path = folder / "fake-cc"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "fake 1.0" && exit 0\n{body}\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def built(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder with a library just compiled."""
    folder = tmp_path_factory.mktemp("built")
    assert build.compile_native(folder).reason is None
    return folder


def test_the_second_build_is_found_in_the_cache(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    first = build.compile_native(tmp_path)
    assert first.library is not None
    written = first.library.stat().st_mtime_ns
    assert build.compile_native(tmp_path) == first
    assert first.library.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [first.library.name]


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_library_is_compiled_again_and_never_loaded(built: Path, tmp_path: Path, damage: str) -> None:
    (source,) = built.iterdir()
    whole, path = source.read_bytes(), tmp_path / source.name
    middle = len(whole) // 2
    damaged = {"truncated": whole[:middle], "changed": whole[:middle] + b"\xcc" + whole[middle + 1 :]}
    path.write_bytes(damaged[damage])
    status = native_status(tmp_path)
    assert status.library is not None
    assert path.read_bytes() == whole


def test_processes_that_compile_at_once_leave_one_library(library: Library, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmdrill.lab.native.binding import native_status; "
        "print(native_status(Path(sys.argv[1])).path)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert {process.communicate()[0].strip() for process in running} == {library.paths[-1]}
    assert len(list(tmp_path.iterdir())) == 1


def test_no_compiler_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "none of cc, gcc, clang is on the path" in str(build.compile_native(tmp_path).reason)
    monkeypatch.setenv("CC", "/nowhere/cc")
    assert build.compile_native(tmp_path).reason == "/nowhere/cc cannot be run: No such file or directory"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'step.c:1: error: no headers'; exit 3", "failed with status 3: step.c:1: error: no headers"),
        ("exit 0", "reported success, but wrote nothing"),
        ("sleep 60 & wait", "did not end within 0.3 s"),
        ("kill -SEGV $$", "failed with status -11: it said nothing"),
    ],
)
def test_a_compiler_that_fails_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    monkeypatch.setenv("CC", fake_compiler(tmp_path, body))
    cache = tmp_path / "cache"
    made = build.compile_native(cache, compile_within_s=0.3 if "sleep" in body else 60)
    assert made.library is None
    assert made.compiler == "fake 1.0"
    assert reason in str(made.reason)
    assert list(cache.iterdir()) == []


def test_a_library_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", fake_compiler(tmp_path, 'while [ "$1" != -o ]; do shift; done; echo hello > "$2"'))
    status = native_status(tmp_path / "cache")
    assert status.library is None
    assert "cannot be loaded" in str(status.reason)


def test_a_cache_folder_that_cannot_be_written_is_a_reason(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in str(build.compile_native(tmp_path / "file" / "native").reason)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert "cannot be written" in str(build.compile_native(closed).reason)


def test_without_a_native_step_torch_decodes_and_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    decoder = random_decoder(BASE, seed=0)
    chosen = native_or_torch(decoder)
    assert chosen.decoder is decoder
    assert "/nowhere/cc cannot be run" in str(chosen.reason)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_full_cache_is_refused_before_anything_is_overwritten(library: Library) -> None:
    session = NativeDecoder(random_decoder(BASE, seed=0), library).start(sequences=1, capacity_tokens=4)
    session.prefill([[1, 2, 3]])
    with pytest.raises(UsageError, match="room for 4 tokens"):
        session.verify(torch.tensor([[5, 6]]))
    assert session.cache.lengths.tolist() == [3]


def test_a_token_that_the_model_has_not_is_refused(library: Library) -> None:
    session = NativeDecoder(random_decoder(BASE, seed=0), library).start(sequences=1, capacity_tokens=4)
    with pytest.raises(IndexError):
        session.decode(torch.tensor([BASE.vocab]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"path": "mmx"}, "has no 'mmx'"), ({"threads": 0}, "0 threads"), ({"threads": 10_000}, "10000 threads")],
)
def test_an_engine_that_cannot_run_here_is_refused(library: Library, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NativeDecoder(random_decoder(BASE, seed=0), library, **wrong)


def test_heads_too_wide_for_the_native_step_fall_back_to_torch(library: Library) -> None:
    decoder = random_decoder(dataclasses.replace(BASE, head_dim=1024, layers=1), seed=0)
    chosen = native_or_torch(decoder)
    assert chosen.decoder is decoder
    assert "head size 1024" in str(chosen.reason)
