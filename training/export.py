"""Write a checkpoint as a model folder: safetensors (int8 per row, or fp32), config.json, tiktoken ranks.

    python -m training.export build/training/8m/checkpoint.pt --data build/training --out build/training/8m/model

int8: every matrix W is stored as whole numbers under its own name and one fp32 scale a row under name + "_scale";
W[row] is about int8[row] * scale[row]. Gains stay fp32. fp32 folders load as any Hugging Face Llama folder does.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from safetensors.torch import load_file, save_file

from training.model import Decoder, Shape
from training.tokenizer import RANKS_FILE, SETTINGS_FILE

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["int8", "fp32"]
SCALE: Final = "_scale"
WEIGHTS_FILE: Final = "model.safetensors"


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 (R, C) and fp32 scales (R,): the largest value of each row becomes 127."""
    scales = matrix.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (matrix / scales[:, None]).round().to(torch.int8), scales


def tensors_of(state: dict[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Return what the safetensors file holds."""
    tensors: dict[str, Tensor] = {}
    for name, weight in state.items():
        full = weight.detach().float().cpu().contiguous()
        if precision == "int8" and full.ndim == 2:
            tensors[f"model.{name}"], tensors[f"model.{name}{SCALE}"] = quantize_rows(full)
        else:
            tensors[f"model.{name}"] = full
    return tensors


def export(checkpoint: Path, data: Path, out: Path, *, precision: Precision) -> Path:
    """Write the folder, and return it."""
    held = read_checkpoint(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(held["model"], precision), out / WEIGHTS_FILE, metadata={"format": "pt"})
    config = Shape(**held["shape"]).config() | ({"weights": "int8 per row"} if precision == "int8" else {})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (out / "training.json").write_text(json.dumps(held["progress"], indent=1) + "\n", encoding="utf-8")
    for name in (RANKS_FILE, SETTINGS_FILE):
        shutil.copyfile(data / name, out / name)
    return out


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what the training wrote: tensors and plain values, no code."""
    held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return held


def load_model(path: Path) -> Decoder:
    """Return the decoder of a checkpoint or of an exported folder."""
    if path.is_file():
        held = read_checkpoint(path)
        shape, state = Shape(**held["shape"]), held["model"]
    else:
        shape, state = _read_folder(path)
    model = Decoder(shape)
    model.load_state_dict(state)
    return model


def _read_folder(folder: Path) -> tuple[Shape, dict[str, Tensor]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / WEIGHTS_FILE)
    state = {
        name.removeprefix("model."): weight.float() * tensors[name + SCALE][:, None]
        if name + SCALE in tensors
        else weight
        for name, weight in tensors.items()
        if not name.endswith(SCALE)
    }
    return Shape.from_config(config), state


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint as a model folder.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("build/training"), help="what training.prepare wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    options = parser.parse_args()
    folder = export(options.checkpoint, options.data, options.out, precision=options.precision)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    print(json.dumps({"folder": str(folder), "bytes": sizes, "total_bytes": sum(sizes.values())}, indent=1))


if __name__ == "__main__":
    main()
