"""Put trained checkpoints into the package: both models, the tokenizer, the list of held-out modules, all hashes.

python -m training.embed build/training/8m/checkpoint.pt build/training/1m/checkpoint.pt --data build/training
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from llmdrill.lab.embedded import DRAFT
from llmdrill.lab.held_out import HELD_OUT_FILE
from llmdrill.lab.load_decoder import EMBEDDED_DECODER
from llmdrill.lab.model_files import EMBEDDED, SUMS_FILE
from training.data import read_list
from training.export import WEIGHTS_FILE, export
from training.tokenizer import RANKS_FILE, SETTINGS_FILE

NAMES: Final = (EMBEDDED_DECODER, DRAFT)


def embed(checkpoints: tuple[Path, Path], data: Path, package: Path = EMBEDDED) -> dict[str, int]:
    """Write everything that the package carries, and return the bytes of each file.

    A checkpoint may also be a folder that ``training.export`` wrote in int8.
    """
    package.mkdir(parents=True, exist_ok=True)
    for checkpoint, name in zip(checkpoints, NAMES, strict=True):
        _embed_model(checkpoint, data, package / name)
    for name in (RANKS_FILE, SETTINGS_FILE):
        shutil.copyfile(data / name, package / name)
    (package / HELD_OUT_FILE).write_text(held_out_list(data), encoding="ascii")
    files = [*(f"{name}/{file}" for name in NAMES for file in ("config.json", WEIGHTS_FILE))]
    files += [RANKS_FILE, SETTINGS_FILE, HELD_OUT_FILE]
    rows = (f"{hashlib.sha256((package / name).read_bytes()).hexdigest()}  {name}\n" for name in files)
    (package / SUMS_FILE).write_text("".join(rows), encoding="ascii")
    return {name: (package / name).stat().st_size for name in (*files, SUMS_FILE)}


def _embed_model(checkpoint: Path, data: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        made = checkpoint if checkpoint.is_dir() else export(checkpoint, data, Path(scratch), precision="int8")
        for name in ("config.json", WEIGHTS_FILE):
            (folder / name).unlink(missing_ok=True)  # its mode too: safetensors writes for the owner alone
            (folder / name).write_bytes((made / name).read_bytes())


def held_out_list(data: Path) -> str:
    """Return the modules of the test part as ``sha256sum`` writes them, relative to the standard library."""
    sums = read_list()
    paths: list[str] = json.loads((data / "test.files.json").read_text(encoding="utf-8"))
    return "".join(f"{sums[path]}  {path.removeprefix('Lib/')}\n" for path in paths)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put trained checkpoints into the package.")
    parser.add_argument("decoder", type=Path, help="checkpoint of the 8m preset, or its exported int8 folder")
    parser.add_argument("draft", type=Path, help="the same of the 1m preset")
    parser.add_argument("--data", type=Path, default=Path("build/training"), help="what training.prepare wrote")
    parser.add_argument("--package", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    sizes = embed((options.decoder, options.draft), options.data, options.package)
    print(json.dumps({"folder": str(options.package), "bytes": sizes, "total_bytes": sum(sizes.values())}, indent=1))


if __name__ == "__main__":
    main()
