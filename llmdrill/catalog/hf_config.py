"""A model's architecture from its Hugging Face ``config.json``, saying which fields were guessed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llmdrill.catalog.architecture import AttentionShape, LayerGroup, ModelRecord
from llmdrill.errors import ContentError, Mistake

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 4_000_000
MAX_COUNT: Final = 10**9
LLAMA_LIKE: Final = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3"})
ENCODERS: Final = frozenset({"bert", "roberta", "distilbert", "xlm-roberta", "modernbert", "mpnet"})
_ONE_KEY_HEAD_PER_QUERY_HEAD: Final = ENCODERS | {"gpt2", "gptj", "gpt_neox", "opt", "phi"}
_TIED_BY_DEFAULT: Final = ENCODERS | {"gpt2", "opt", "gemma", "gemma2", "gemma3", "gemma3_text", "falcon"}
_EXPERT_KEYS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")


@dataclass(slots=True)
class _Config:
    """The keys of one file, with a memory of what had to be guessed."""

    file: str
    keys: dict[str, Any]
    guessed: list[str] = field(default_factory=list)

    def refuse(self, what: str) -> ContentError:
        return ContentError([Mistake(self.file, 1, 1, "", what)])

    def count(self, *names: str) -> int | None:
        """Return the first of these keys that is there; refuse what is no positive whole number."""
        for name in names:
            value = self.keys.get(name)
            if value is None:
                continue
            if type(value) is not int or not 0 < value < MAX_COUNT:
                raise self.refuse(f"{name} must be a positive whole number, got {value!r}")
            return value
        return None

    def needed(self, *names: str) -> int:
        value = self.count(*names)
        if value is None:
            raise self.refuse(f"has no '{names[0]}': not the config.json of a transformer model?")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.keys.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(f"{name} must be true or false, got {value!r}")
        return value


def read_config(path: Path) -> ModelRecord:
    """Return the architecture that a Hugging Face ``config.json`` describes.

    Key-value heads, head size, latent attention, layer types, windows and a nested ``text_config`` are read.
    Parameters are counted for dense Llama-like models (llama, mistral, qwen2, qwen3, phi3; exact on the 12 such models
    whose counts are published or were made by building the model) and are None for others. ``guessed`` names every
    field that the file did not give.

    Raises:
        ContentError: If the file cannot be read, is no JSON object, or lacks what a transformer's config must have.
    """
    config = _Config(str(path), _text_part(_read_json(path)))
    architecture = str(config.keys.get("model_type") or "unknown")
    hidden = config.needed("hidden_size", "n_embd", "d_model")
    layers = config.needed("num_hidden_layers", "n_layer", "num_layers")
    attention = _attention(config, architecture, layers, hidden)
    tied = _tied(config, architecture)
    vocab_size = config.needed("vocab_size")
    parameters = _parameters(config, architecture, attention, layers, hidden, vocab_size, tied=tied)
    return ModelRecord(
        name=str(path),
        kind="encoder" if architecture in ENCODERS else "decoder",
        attention=attention,
        layers=layers,
        hidden=hidden,
        parameters=parameters,
        active_parameters=parameters,
        embedding_parameters=vocab_size * hidden,
        tied_embeddings=tied,
        vocab_size=vocab_size,
        max_context_tokens=config.count("max_position_embeddings", "n_positions", "n_ctx"),
        source=str(path),
        date=None,
        guessed=tuple(config.guessed),
    )


def _read_json(path: Path) -> dict[str, Any]:
    def refuse(what: str, line: int = 1, column: int = 1) -> ContentError:
        return ContentError([Mistake(str(path), line, column, "", what)])

    try:
        if path.is_dir():
            raise refuse("is a folder; give the config.json in it")
        if path.stat().st_size > MAX_BYTES:
            raise refuse(f"is larger than {MAX_BYTES // 1_000_000} MB: not a config.json")
        data = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise refuse("is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise refuse(f"is not JSON: {error.msg}", error.lineno, error.colno) from error
    except (RecursionError, ValueError) as error:
        raise refuse("is not a config.json: nested too deeply or with a number too long") from error
    if not isinstance(data, dict):
        raise refuse("must hold a JSON object, the model's config")
    return data


def _text_part(data: dict[str, Any]) -> dict[str, Any]:
    """Return the language model's keys of a multimodal config, or all of them."""
    nested = data.get("text_config")
    return {**{key: data[key] for key in data if key != "text_config"}, **nested} if isinstance(nested, dict) else data


def _attention(config: _Config, architecture: str, layers: int, hidden: int) -> AttentionShape:
    heads = config.needed("num_attention_heads", "n_head")
    head_dim = config.count("head_dim")
    if head_dim is None:
        if hidden % heads:
            raise config.refuse(f"has no head_dim, and hidden_size {hidden} is no multiple of its {heads} heads")
        head_dim = hidden // heads
    rank = config.count("kv_lora_rank")
    latent = rank + config.needed("qk_rope_head_dim") if rank is not None else None
    kv_heads = heads if latent is not None else _kv_heads(config, architecture, heads)
    with_cache, windows = _layer_kinds(config, architecture, layers)
    return AttentionShape(with_cache, kv_heads, head_dim, heads, windows, latent)


def _kv_heads(config: _Config, architecture: str, heads: int) -> int:
    given = config.count("num_key_value_heads", "num_kv_heads", "n_head_kv")
    if given is not None:
        if heads % given:
            raise config.refuse(f"{heads} attention heads cannot share {given} key-value heads evenly")
        return given
    if config.flag("multi_query"):
        return 1
    if architecture not in _ONE_KEY_HEAD_PER_QUERY_HEAD:
        config.guessed.append(f"num_key_value_heads: not given, taken as the {heads} attention heads")
    return heads


def _layer_kinds(config: _Config, architecture: str, layers: int) -> tuple[int, tuple[LayerGroup, ...]]:
    """Return how many layers keep a cache, and the groups of them that have a window."""
    kinds = config.keys.get("layer_types")
    window = config.count("sliding_window", "attention_chunk_size")
    if isinstance(kinds, list):
        if len(kinds) != layers:
            raise config.refuse(f"layer_types lists {len(kinds)} layers, num_hidden_layers says {layers}")
        windowed = sum(kind in {"sliding_attention", "chunked_attention"} for kind in kinds)
        if windowed and window is None:
            raise config.refuse("layer_types has windowed layers, but there is no sliding_window")
        return windowed + kinds.count("full_attention"), _group(windowed, window)
    if window is None or config.flag("use_sliding_window") is False:
        return layers, ()
    return layers, _group(_windowed_layers(config, architecture, layers), window)


def _windowed_layers(config: _Config, architecture: str, layers: int) -> int:
    pattern = config.count("sliding_window_pattern") or (2 if architecture == "gemma2" else None)
    if pattern is not None:
        return layers - layers // pattern  # every pattern-th layer sees all
    if config.flag("use_sliding_window"):
        return max(layers - (config.count("max_window_layers") or 0), 0)
    if architecture not in {"mistral", "phi3", "starcoder2"}:
        config.guessed.append("layer_types: not given, every layer taken to have the sliding window")
    return layers


def _group(layers: int, window: int | None) -> tuple[LayerGroup, ...]:
    return (LayerGroup(layers, window),) if layers and window is not None else ()


def _tied(config: _Config, architecture: str) -> bool:
    given = config.flag("tie_word_embeddings")
    if given is not None:
        return given
    if architecture not in LLAMA_LIKE | _TIED_BY_DEFAULT:
        config.guessed.append("tie_word_embeddings: not given, taken as false")
    return architecture in _TIED_BY_DEFAULT


def _parameters(  # noqa: PLR0917 - one count, seven facts
    config: _Config, architecture: str, shape: AttentionShape, layers: int, hidden: int, vocab_size: int, *, tied: bool
) -> int | None:
    """Count embeddings, attention with its biases, a gated feed-forward and two norms per layer, and the last norm."""
    if architecture not in LLAMA_LIKE or any(key in config.keys for key in _EXPERT_KEYS):
        why = "a mixture of experts" if architecture in LLAMA_LIKE else f"architecture '{architecture}'"
        config.guessed.append(f"parameters: not counted for {why}")
        return None
    queries = (shape.heads or 0) * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    bias = queries + 2 * keys if config.flag("attention_bias") or architecture == "qwen2" else 0
    head_norms = 2 * shape.head_dim if architecture == "qwen3" else 0
    feed_forward = 3 * hidden * config.needed("intermediate_size")
    layer = 2 * hidden * (queries + keys) + bias + head_norms + feed_forward + 2 * hidden
    return layers * layer + vocab_size * hidden * (1 if tied else 2) + hidden
