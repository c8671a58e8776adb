"""Model folders on disk: where they are found, and how their files are read or refused. Nothing heavy on import."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llmdrill.errors import MissingExtraError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

EMBEDDED: Final = Path(__file__).with_name("models")  # written by training/embed.py
SUMS_FILE: Final = "sha256.txt"
SCALE: Final = "_scale"  # ends the name of an int8 matrix's row scales
Array = TypeVar("Array", "Tensor", "NDArray[Any]")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def embedded_file(name: str, *, root: Path = EMBEDDED) -> bytes:
    """Return the bytes of an embedded file, if they are those that were packaged."""
    try:
        rows = (line.split("  ", 1) for line in (root / SUMS_FILE).read_text(encoding="utf-8").splitlines())
        expected = {path: digest for digest, path in rows}[name]
        data = (root / name).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(f"{root / name}: this part of llmdrill is absent ({error}): install it again") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise ModelFileError(f"{root / name}: not the file that was packaged (its sha256 differs): install it again")
    return data


def embedded_folder(name: str, *, root: Path = EMBEDDED) -> Path:
    """Return the folder of an embedded model, its files checked."""
    for file in ("config.json", "model.safetensors"):
        embedded_file(f"{name}/{file}", root=root)
    return root / name


def hub_snapshots(repo: str, *, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return the folders of ``repo`` ("owner/name") in the Hugging Face hub cache, newest first."""
    environ = os.environ if environ is None else environ
    home = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    hub = Path(environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    snapshots = hub.joinpath(f"models--{repo.replace('/', '--')}", "snapshots")
    found = [folder for folder in snapshots.glob("*") if folder.is_dir()]
    return tuple(sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True))


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read a JSON object of a model folder, or refuse it in one line."""
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}): give a model folder with {name}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{path}: expected a JSON object")
    return config


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a folder, following the index of a sharded one; pickles are refused."""
    if (folder / "model.safetensors").exists():
        return (folder / "model.safetensors",)
    if (folder / "model.safetensors.index.json").exists():
        index = read_config(folder, "model.safetensors.index.json").get("weight_map")
        if not isinstance(index, dict) or not all(Path(str(name)).name == name for name in index.values()):
            raise ModelFileError(f"{folder}/model.safetensors.index.json: weight_map must name files of its own folder")
        return tuple(folder / name for name in sorted(set(index.values())))
    refuse_pickles(folder)
    raise ModelFileError(f"{folder}: no model.safetensors in this folder")


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder that has weights as pickles alone."""
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in _PICKLES)
    if pickles and not any(folder.glob("*.safetensors*")):
        what = "a pickle can run code when it is loaded: convert it to model.safetensors"
        raise ModelFileError(f"{folder / pickles[0]}: {what}")


def read_tensors(path: Path, data: bytes | None = None) -> dict[str, Tensor]:
    """Read one safetensors file, from ``data`` if its bytes are at hand, or refuse it in one line."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load, load_file
    except ImportError as error:
        raise MissingExtraError("reading model weights", "lab") from error
    try:
        return load_file(path) if data is None else load(data)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path}: not a complete safetensors file ({error}): fetch it again") from error


def read_arrays(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    """Read one safetensors file without torch, unless its numbers are of a kind that numpy lacks (bf16)."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError as error:
        raise MissingExtraError("reading model weights", "lab") from error
    try:
        return dict(load(data))
    except (KeyError, TypeError):
        return {name: tensor.float().numpy() for name, tensor in read_tensors(path, data).items()}
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path}: not a complete safetensors file ({error}): fetch it again") from error


def take_matrix(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, int], *, folder: Path) -> Tensor:
    """Return a matrix (R, C); where it is kept as int8 with a scale a row (R,), the product of both."""
    matrix = take(tensors, name, shape, folder=folder)
    if name + SCALE not in tensors:
        if not matrix.is_floating_point():
            raise ModelFileError(f"{folder}: '{name}' is kept as int8, but its row scales are absent")
        return matrix
    return matrix.float().mul_(take(tensors, name + SCALE, shape[:1], folder=folder)[:, None])


def take(tensors: Mapping[str, Array], name: str, shape: tuple[int, ...], *, folder: Path) -> Array:
    """Return the tensor of that name if it is there and has the shape that config.json implies."""
    tensor = tensors.get(name)
    if tensor is None:
        raise ModelFileError(f"{folder}: the weights lack '{name}'")
    if tuple(tensor.shape) != shape:
        raise ModelFileError(f"{folder}: '{name}' is {tuple(tensor.shape)}, but config.json implies {shape}")
    return tensor
