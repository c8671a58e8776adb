"""A Llama-family decoder in plain torch: the model, its static key-value cache, and generation.

Shapes in comments: B sequences, T new tokens, S cached positions, C hidden size, H heads, K key-value heads,
D head size, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.room import need_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdrill.lab.shapes import DecoderShape

INITIAL_SPREAD: Final = 0.02  # standard deviation of random weights; their values do not matter, only that none is huge


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The matrices of one layer; query, key and value are one, and so are gate and up."""

    attention_norm: Tensor  # (C,)
    qkv: Tensor  # ((H + 2K) * D, C)
    qkv_bias: Tensor | None  # ((H + 2K) * D,)
    out: Tensor  # (C, H * D)
    mlp_norm: Tensor  # (C,)
    gate_up: Tensor  # (2 * intermediate, C)
    down: Tensor  # (C, intermediate)
    qk_norm: Tensor | None = None  # (H + K, D): the gains of queries and keys, as Qwen3 norms them


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """All weights of a decoder."""

    embedding: Tensor  # (V, C)
    layers: tuple[LayerWeights, ...]
    norm: Tensor  # (C,)
    head: Tensor  # (V, C); the embedding itself if tied


class KvCache:
    """Keys and values of B sequences, allocated at once for S positions each.

    Attributes:
        keys_values: (layers, 2, B, K, S, D); zeros where nothing was written, so that masked positions stay finite.
        lengths: (B,), how many positions of each sequence are in use.
    """

    def __init__(self, shape: DecoderShape, *, sequences: int, capacity_tokens: int, dtype: torch.dtype) -> None:
        if not 1 <= capacity_tokens <= shape.max_positions:
            raise UsageError(f"{capacity_tokens} tokens of context: this model has 1 to {shape.max_positions}")
        size = (shape.layers, 2, sequences, shape.kv_heads, capacity_tokens, shape.head_dim)
        need_memory(math.prod(size) * dtype.itemsize, what=f"a cache of {sequences} x {capacity_tokens} tokens")
        self.keys_values = torch.zeros(size, dtype=dtype)
        self.lengths = torch.zeros(sequences, dtype=torch.long)

    @property
    def capacity_tokens(self) -> int:
        return self.keys_values.shape[4]

    @property
    def allocated_bytes(self) -> int:
        """Return the size of the tensor."""
        return self.keys_values.nbytes

    @property
    def used_bytes(self) -> int:
        """Return the size of the part that holds tokens."""
        return sum(self.keys_values[:, :, row, :, :length].nbytes for row, length in enumerate(self.lengths.tolist()))

    def write(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        """Store keys and values (B, T, K, D) at ``positions`` (B, T), which follow each other in a sequence."""
        first, tokens = positions[:, 0].tolist(), positions.shape[1]
        if min(first) == max(first):  # one slice for all sequences, several times faster than rows and positions
            place = self.keys_values[layer, :, :, :, first[0] : first[0] + tokens]  # (2, B, K, T, D)
            place[0], place[1] = keys.transpose(1, 2), values.transpose(1, 2)
        else:
            rows = torch.arange(len(first))[:, None]  # (B, 1)
            self.keys_values[layer, 0, rows, :, positions] = keys
            self.keys_values[layer, 1, rows, :, positions] = values

    def read(self, layer: int, tokens: int) -> Tensor:
        """Return the keys and values (2, B, K, S, D) of the first ``tokens`` positions."""
        return self.keys_values[layer, :, :, :, :tokens]

    def keep(self, tokens: int) -> None:
        """Forget all but the first ``tokens`` positions, as a prefix cache hit leaves them."""
        self.lengths.clamp_(max=tokens)


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of one forward pass share."""

    cache: KvCache
    positions: Tensor  # (B, T)
    cos: Tensor  # (B, T, 1, D)
    sin: Tensor  # (B, T, 1, D), as ``rotate`` wants it
    seen: int  # cached positions, S, with those of this pass
    causal: bool  # whole prompts from position 0: right padding is never seen, so a causal mask is enough
    mask: Tensor | None  # (B, 1, T, S), 0 where a query may look, else -inf; None where it may look everywhere


class Decoder:
    """A decoder with its weights; it holds no state of a conversation (see ``Session``)."""

    def __init__(self, shape: DecoderShape, weights: DecoderWeights, *, random_weights: bool) -> None:
        self.shape, self.weights, self.random_weights = shape, weights, random_weights
        self._cos, self._sin = rotations(shape)  # each (max_positions, D)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.embedding.dtype

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights; a tied output matrix counts once."""
        return self.shape.parameters * self.weights.embedding.element_size()

    def start(self, *, sequences: int, capacity_tokens: int) -> Session:
        """Return an empty session of so many sequences with room for so many tokens each."""
        cache = KvCache(self.shape, sequences=sequences, capacity_tokens=capacity_tokens, dtype=self.dtype)
        return Session(self, cache)

    @torch.inference_mode()
    def hidden(self, ids: Tensor, positions: Tensor, cache: KvCache) -> Tensor:
        """Run new tokens (B, T) at ``positions`` (B, T) through all layers, and return the normed result (B, T, C)."""
        step = self._step(positions, cache)
        x = self.weights.embedding[ids]
        for index, layer in enumerate(self.weights.layers):
            x = self._attend(index, layer, self._norm(x, layer.attention_norm), step).add_(x)
            gate, up = functional.linear(self._norm(x, layer.mlp_norm), layer.gate_up).chunk(2, dim=-1)
            x = functional.linear(functional.silu(gate).mul_(up), layer.down).add_(x)
        return self._norm(x, self.weights.norm)

    @torch.inference_mode()
    def logits(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of every position of whole texts (B, T), for perplexity and for tests."""
        batch, tokens = ids.shape
        cache = KvCache(self.shape, sequences=batch, capacity_tokens=tokens, dtype=self.dtype)
        positions = torch.arange(tokens).expand(batch, tokens)
        return functional.linear(self.hidden(ids, positions, cache), self.weights.head)

    def _step(self, positions: Tensor, cache: KvCache) -> _Step:
        first, tokens = positions[:, 0].tolist(), positions.shape[1]
        seen = max(first) + tokens
        causal, even = max(first) == 0, min(first) == max(first)
        mask = None
        if not causal and not (even and tokens == 1):
            unseen = torch.arange(seen) > positions[:, :, None]  # (B, T, S)
            mask = torch.zeros(unseen.shape, dtype=self.dtype).masked_fill_(unseen, -math.inf)[:, None]
        cos, sin = self._cos[positions, None].to(self.dtype), self._sin[positions, None].to(self.dtype)
        return _Step(cache, positions, cos, sin, seen, causal, mask)

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], weight, self.shape.norm_eps)

    def _attend(self, index: int, layer: LayerWeights, x: Tensor, step: _Step) -> Tensor:
        """Return what attention makes of ``x`` (B, T, C), with the new keys and values written to the cache."""
        shape, (batch, tokens, _) = self.shape, x.shape
        heads = functional.linear(x, layer.qkv, layer.qkv_bias).view(batch, tokens, -1, shape.head_dim)
        turning, v = torch.split(heads, [shape.heads + shape.kv_heads, shape.kv_heads], dim=2)  # (B, T, H+K or K, D)
        if layer.qk_norm is not None:
            turning = self._norm(turning, None) * layer.qk_norm
        q, k = torch.split(rotate(turning, step.cos, step.sin), [shape.heads, shape.kv_heads], dim=2)
        step.cache.write(index, k, v, step.positions)
        if step.causal:
            keys, values = k.transpose(1, 2), v.transpose(1, 2)
        else:
            keys, values = step.cache.read(index, step.seen)  # each (B, K, S, D)
        # Of a single token the heads that share a KV head become rows of one product, which reads that head once.
        rows = q.reshape(batch, shape.kv_heads, -1, shape.head_dim) if tokens == 1 else q.transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(
            rows, keys, values, attn_mask=step.mask, is_causal=step.causal and tokens > 1, enable_gqa=True
        )
        mixed = mixed if tokens == 1 else mixed.transpose(1, 2)
        return functional.linear(mixed.reshape(batch, tokens, -1), layer.out)


class Session:
    """B sequences being continued: the engine's two steps, ``prefill`` and ``decode``."""

    def __init__(self, decoder: Decoder, cache: KvCache) -> None:
        self.decoder, self.cache = decoder, cache

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Append one piece of prompt to each sequence, and return the logits (B, V) after its last token."""
        counts = torch.tensor([len(prompt) for prompt in prompts])
        if len(prompts) != len(self.cache.lengths) or int(counts.min()) < 1:
            raise UsageError(
                f"{len(prompts)} prompts for {len(self.cache.lengths)} sequences, each of at least one token"
            )
        longest = int(counts.max())
        ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])  # (B, T)
        hidden = self._run(ids, counts)
        return functional.linear(hidden[torch.arange(len(prompts)), counts - 1], self.decoder.weights.head)

    @torch.inference_mode()
    def decode(self, ids: Tensor) -> Tensor:
        """Append one token (B,) to each sequence, and return the logits (B, V) of the next."""
        hidden = self._run(ids[:, None], torch.ones_like(ids))
        return functional.linear(hidden[:, 0], self.decoder.weights.head)

    @torch.inference_mode()
    def verify(self, ids: Tensor) -> Tensor:
        """Append tokens (B, T) to each sequence, and return the logits (B, T, V) after each of them."""
        hidden = self._run(ids, torch.full((len(ids),), ids.shape[1]))
        return functional.linear(hidden, self.decoder.weights.head)

    def _need_room(self, ids: Tensor) -> None:
        if int((self.cache.lengths + ids.shape[1]).max()) > self.cache.capacity_tokens:
            raise UsageError(
                f"the cache has room for {self.cache.capacity_tokens} tokens a sequence: start a larger one"
            )

    def _run(self, ids: Tensor, counts: Tensor) -> Tensor:
        self._need_room(ids)
        positions = self.cache.lengths[:, None] + torch.arange(ids.shape[1])  # (B, T)
        hidden = self.decoder.hidden(ids, positions, self.cache)
        self.cache.lengths += counts
        return hidden


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn from what top-k and top-p leave."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or (self.top_k is not None and self.top_k < 1):
            raise UsageError("sampling needs temperature >= 0, top_k >= 1 and 0 < top_p <= 1")

    def pick(self, logits: Tensor, rng: torch.Generator) -> Tensor:
        """Return one token (B,) for logits (B, V)."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        return torch.multinomial(self.probabilities(logits), 1, generator=rng)[:, 0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return what is drawn from (B, V): top-k first, then the fewest tokens that reach top-p."""
        scaled = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < scaled.shape[-1]:
            floor = scaled.topk(self.top_k, dim=-1).values[:, -1:]
            scaled = scaled.masked_fill(scaled < floor, -math.inf)
        probabilities = scaled.softmax(dim=-1)
        if self.top_p < 1:
            ordered, order = probabilities.sort(dim=-1, descending=True)
            before = ordered.cumsum(dim=-1) - ordered  # probability of the likelier ones: 0 for the first
            kept = ordered.masked_fill(before >= self.top_p, 0.0)
            probabilities = torch.zeros_like(probabilities).scatter(-1, order, kept)
        return probabilities / probabilities.sum(dim=-1, keepdim=True)


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_ids: frozenset[int] = frozenset(),
) -> tuple[tuple[int, ...], ...]:
    """Continue every prompt by at most ``max_new_tokens`` tokens; a stop token ends its sequence and is left out."""
    sampling = sampling or Sampling()
    rng = torch.Generator().manual_seed(seed)
    room = max(len(prompt) for prompt in prompts) + max_new_tokens
    session = decoder.start(sequences=len(prompts), capacity_tokens=min(room, decoder.shape.max_positions))
    tokens: list[list[int]] = [[] for _ in prompts]
    running = [True] * len(prompts)
    logits = session.prefill(prompts)
    for step in range(max_new_tokens):
        picked = sampling.pick(logits, rng)
        for row, token in enumerate(picked.tolist()):
            running[row] = running[row] and token not in stop_ids
            if running[row]:
                tokens[row].append(token)
        if not any(running) or step == max_new_tokens - 1:
            break
        logits = session.decode(picked)
    return tuple(tuple(row) for row in tokens)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of each head vector (B, T, heads, D) by the angles (B, T, 1, D) of its position.

    The first half becomes first * cos - second * sin, so ``sin`` is negative there.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def rotations(shape: DecoderShape) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (max_positions, D) of every position's angles; the sine of the first half negated."""
    frequencies = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)  # (D/2,)
    if shape.long_rope is not None:
        long = shape.long_rope
        turns = long.original_positions * frequencies / (2 * math.pi)  # over the original context
        span = long.high_frequency_factor - long.low_frequency_factor
        kept = ((turns - long.low_frequency_factor) / span).clamp(0, 1)
        frequencies = frequencies * (kept + (1 - kept) / long.factor)
    angles = torch.outer(torch.arange(shape.max_positions).float(), frequencies)  # (max_positions, D/2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


def random_decoder(shape: DecoderShape, *, seed: int, dtype: torch.dtype = torch.float32) -> Decoder:
    """Return a decoder with random weights: right for latency and memory, wrong for anything it says."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.empty(size, dtype=dtype).normal_(std=INITIAL_SPREAD, generator=rng)

    width, rows = shape.hidden, (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    embedding = draw(shape.vocab, width)
    layers = tuple(
        LayerWeights(
            attention_norm=torch.ones(width, dtype=dtype),
            qkv=draw(rows, width),
            qkv_bias=draw(rows) if shape.qkv_bias else None,
            out=draw(width, shape.heads * shape.head_dim),
            mlp_norm=torch.ones(width, dtype=dtype),
            gate_up=draw(2 * shape.intermediate, width),
            down=draw(width, shape.intermediate),
            qk_norm=torch.ones(shape.heads + shape.kv_heads, shape.head_dim, dtype=dtype) if shape.qk_norm else None,
        )
        for _ in range(shape.layers)
    )
    head = embedding if shape.tied else draw(shape.vocab, width)
    weights = DecoderWeights(embedding, layers, torch.ones(width, dtype=dtype), head)
    return Decoder(shape, weights, random_weights=True)
