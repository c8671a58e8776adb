"""The keys of one Hugging Face ``config.json``, read strictly, with a memory of what had to be guessed."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import ContentError, Mistake
from llmdrill.files import read_text
from llmdrill.located import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COUNT: Final = 10**9
_DEFAULTS: Final = Path(__file__).parent / "defaults.json"
_LANGUAGE_PARTS: Final = ("text_config", "llm_config", "language_config")
# Names of one architecture: of multimodal wrappers, of copies with a name of their own.
_SAME_AS: Final[Mapping[str, str]] = {
    "RefinedWeb": "falcon",
    "RefinedWebModel": "falcon",
    "gemma3": "gemma3_text",
    "kimi_k2": "deepseek_v3",
    "kimi_k25": "deepseek_v3",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "phi-msft": "phi",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}


@dataclass(slots=True)
class Config:
    """The keys of one file.

    Attributes:
        file: Where it lies, for messages.
        keys: What it says; of a multimodal model the language model's keys go first.
        model_type: The architecture, by the name that transformers gives it; ``unknown`` where it is not said.
        defaults: What transformers takes for keys that such a file leaves out; empty for an unknown architecture.
        guessed: One line for every count that the file did not give.
    """

    file: str
    keys: dict[str, Any]
    model_type: str
    defaults: Mapping[str, Any]
    guessed: list[str] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Tell whether transformers' defaults of this architecture are known."""
        return bool(self.defaults)

    def refuse(self, what: str) -> ContentError:
        """Return the error that says what is wrong with this file."""
        return ContentError([Mistake(self.file, 1, 1, "", what)])

    def count(self, *names: str, zero: bool = False, given_only: bool = False) -> int | None:
        """Return the first of these keys that is there, else transformers' default; None for null and for neither.

        Args:
            names: The spellings of one key.
            zero: Whether zero is allowed.
            given_only: Take no default.

        Raises:
            ContentError: If it is no positive whole number (or zero, where that is allowed).
        """
        name, value = self._first(names, given_only=given_only)
        if value is None:
            return None
        if type(value) is not int or not (0 if zero else 1) <= value < MAX_COUNT:
            what = "a whole number, zero or more" if zero else "a positive whole number"
            raise self.refuse(f"{name} must be {what}, got {_short(value)}")
        return value

    def needed(self, *names: str) -> int:
        """Return the first of these keys, or refuse the file.

        Raises:
            ContentError: If none is there, or it is no positive whole number.
        """
        value = self.count(*names)
        if value is None:
            raise self.refuse(f"has no '{names[0]}': not the config.json of a language model?")
        return value

    def flag(self, *names: str) -> bool | None:
        """Return the first of these keys that is there, else transformers' default; None for null and for neither.

        Raises:
            ContentError: If it is not true or false.
        """
        name, value = self._first(names, quiet=True)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(f"{name} must be true or false, got {_short(value)}")
        return value

    def text(self, *names: str) -> str | None:
        """Return the first of these keys that holds text, else transformers' default."""
        _, value = self._first(names, quiet=True)
        return value if isinstance(value, str) else None

    def list_of_text(self, *names: str) -> tuple[str, ...] | None:
        """Return the first of these keys that holds a list of names."""
        for name in names:
            value = self.keys.get(name)
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return tuple(value)
        return None

    def _first(self, names: tuple[str, ...], *, quiet: bool = False, given_only: bool = False) -> tuple[str, Any]:
        for name in names:
            if name in self.keys:
                return name, self.keys[name]
        for name in names:
            if name in self.defaults and not given_only:
                value = self.defaults[name]
                told = f"{name}: not given, {value} is transformers' default of '{self.model_type}'"
                if not quiet and told not in self.guessed:
                    self.guessed.append(told)
                return name, value
        return names[0], None


def read_keys(path: Path) -> Config:
    """Read a ``config.json``, or the one in a folder.

    Raises:
        ContentError: If it cannot be read or holds no JSON object.
    """
    file = path / "config.json" if os.path.isdir(path) else path  # noqa: PTH112 - Path.is_dir raises for a long name
    keys = _language_part(_read_json(file))
    given = keys.get("model_type")
    model_type = given if isinstance(given, str) and given else "unknown"
    model_type = _SAME_AS.get(model_type, model_type)
    return Config(str(file), keys, model_type, _defaults().get(model_type, {}))


@functools.cache
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    return json.loads(_DEFAULTS.read_text(encoding="utf-8"))["defaults"]  # type: ignore[no-any-return]


def _read_json(path: Path) -> dict[str, Any]:
    def refuse(what: str, line: int = 1, column: int = 1) -> ContentError:
        return ContentError([Mistake(str(path), line, column, "", what)])

    text = read_text(path, most_bytes=MAX_BYTES)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise refuse(f"is not JSON: {error.msg}", error.lineno, error.colno) from error
    except (RecursionError, ValueError) as error:
        raise refuse("is not a config.json: nested too deeply or with a number too long") from error
    if not isinstance(data, dict):
        raise refuse(f"must hold a JSON object, the model's config, not {_kind(data)}")
    return data


def _language_part(data: dict[str, Any]) -> dict[str, Any]:
    """Return the language model's keys of a multimodal config, or all of them."""
    for part in _LANGUAGE_PARTS:
        nested = data.get(part)
        if isinstance(nested, dict):
            return {**{key: data[key] for key in data if key != part}, **nested}
    return data


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
