"""A decoder of random weights whose layers decide what comes next, not the embedding of the last token."""

from __future__ import annotations

import dataclasses

from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights, random_decoder
from llmdrill.lab.shapes import named_shape

LOUDER = 4  # times the spread of random weights


def loud_decoder(*, seed: int = 0) -> Decoder:
    shape = dataclasses.replace(named_shape("tiny"), tied=False)
    weights = random_decoder(shape, seed=seed).weights
    layers, embedding, head = tuple(_louder(one) for one in weights.layers), weights.embedding, weights.head
    louder = DecoderWeights(embedding * LOUDER, layers, weights.norm, head * LOUDER)
    return Decoder(shape, louder, random_weights=True)


def _louder(layer: LayerWeights) -> LayerWeights:
    matrices = {name: getattr(layer, name) * LOUDER for name in ("qkv", "out", "gate_up", "down")}
    return dataclasses.replace(layer, **matrices)
