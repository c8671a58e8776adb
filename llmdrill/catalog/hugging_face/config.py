"""A model's architecture from its Hugging Face ``config.json``, saying which fields were guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.catalog.architecture import ModelRecord
from llmdrill.catalog.hugging_face.attention import read_attention, read_state
from llmdrill.catalog.hugging_face.families import ENCODERS, FAMILIES
from llmdrill.catalog.hugging_face.keys import Config, read_keys
from llmdrill.catalog.hugging_face.layers import Layers, read_layers
from llmdrill.catalog.hugging_face.parameters import Counts, count_parameters
from llmdrill.catalog.hugging_face.quantization import read_quantization

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.catalog.architecture import AttentionShape

_WIDTHS = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "moe_intermediate_size")


def read_config(path: Path) -> ModelRecord:
    """Return the architecture that a Hugging Face ``config.json``, or the one in a folder, describes.

    Heads, head size, latent attention with its indexer, layer types, windows, states of state-space layers, experts,
    a nested ``text_config`` and ``quantization_config`` are read. Parameters are counted exactly for the architectures
    of ``FAMILIES``; another one is counted as if it were Llama's. ``guessed`` names every field that the file did not
    give, and says what was taken instead.

    Raises:
        ContentError: If the file cannot be read, is no JSON object, or lacks what a language model's config must have.
    """
    config = read_keys(path)
    hidden = config.needed("hidden_size", "n_embd", "d_model")
    layers = read_layers(config)
    attention = read_attention(config, layers, hidden)
    state = read_state(config, layers.state, hidden)
    vocab_size = config.needed("vocab_size", "padded_vocab_size")
    encoder = config.model_type in ENCODERS
    tied = not encoder and _tied(config)
    counts = _counts(config, layers, attention, hidden=hidden, vocab_size=vocab_size, tied=tied)
    width = config.count("intermediate_size_mlp", *_WIDTHS[:-1]) if layers.dense else None
    longest = config.count("max_position_embeddings", "n_positions", "n_ctx", "seq_length", given_only=True)
    quantization = read_quantization(config)
    return ModelRecord(
        name=str(path),
        kind="encoder" if encoder else "decoder",
        attention=attention,
        layers=layers.total,
        hidden=hidden,
        parameters=counts.parameters if counts else None,
        active_parameters=counts.active if counts else None,
        embedding_parameters=vocab_size * hidden,
        tied_embeddings=tied,
        vocab_size=vocab_size,
        max_context_tokens=longest,
        source=str(path),
        date=None,
        experts=counts.experts if counts else None,
        guessed=tuple(config.guessed),
        feed_forward=4 * hidden if layers.dense and width is None and config.known else width,
        linear_parameters=counts.linear if counts else None,
        state=state,
        quantization=quantization,
        model_type=config.model_type,
    )


def _tied(config: Config) -> bool:
    given = config.flag("tie_word_embeddings")
    if given is None and not config.known:
        config.guessed.append("tie_word_embeddings: not given, taken as false")
    return bool(given)


def _counts(
    config: Config, layers: Layers, shape: AttentionShape, *, hidden: int, vocab_size: int, tied: bool
) -> Counts | None:
    """Return the counts, or None and a line in ``guessed`` where the file does not give the sizes they need."""
    if config.model_type not in FAMILIES:
        if config.model_type in ENCODERS or not any(name in config.keys for name in _WIDTHS):
            config.guessed.append(f"parameters: not counted for architecture '{config.model_type}'")
            return None
        config.guessed.append(f"parameters: architecture '{config.model_type}' is not known, counted as if Llama's")
    return count_parameters(config, layers, shape, hidden=hidden, vocab_size=vocab_size, tied=tied)
