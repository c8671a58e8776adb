"""What closed forms say of `llmdrill lab moe`: the layer of experts and its dense twins, as architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape, Experts, ModelRecord
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.estimate.serving_work import read_parameters

if TYPE_CHECKING:
    from llmdrill.lab.moe_run import ExpertShape, Layer

BYTES_PER_VALUE: Final = 4  # fp32


class Forms:
    """What closed forms say of the layer of experts and its dense twins."""

    def __init__(self, shape: ExpertShape) -> None:
        self.shape = shape
        expert, router = 2 * shape.width * shape.hidden, shape.experts * shape.width
        stored = router + shape.experts * expert
        self.experts = ModelRecord(
            name="the layer of experts",
            kind="decoder",
            attention=AttentionShape(layers=0, kv_heads=0, head_dim=0),
            layers=1,
            hidden=shape.width,
            parameters=stored,
            active_parameters=router + shape.per_token * expert,
            embedding_parameters=0,
            tied_embeddings=True,
            vocab_size=0,
            max_context_tokens=None,
            source="the shape of its tensors",
            date=None,
            experts=Experts(count=shape.experts, per_token=shape.per_token, parameters=shape.experts * expert),
        )

    def record(self, layer: Layer) -> ModelRecord:
        """Return the layer as the estimate knows architectures."""
        if layer == "experts":
            return self.experts
        count = 2 * self.shape.width * self.shape.hidden_of(layer)
        return replace(self.experts, name=layer, parameters=count, active_parameters=count, experts=None)

    def flops(self, layer: Layer, *, tokens: int = 1) -> float:
        return 2 * matmul_parameters(self.record(layer)) * tokens

    def read_bytes(self, layer: Layer, *, tokens: int) -> float:
        return BYTES_PER_VALUE * read_parameters(self.record(layer), tokens=tokens)

    def read_share(self, *, tokens: int) -> float:
        """Return the share of the experts that so many independent tokens are expected to touch."""
        router = self.shape.experts * self.shape.width
        experts = self.experts.experts
        return (read_parameters(self.experts, tokens=tokens) - router) / experts.parameters if experts else 0.0

    def read_filled(self, *, tokens: int) -> str:
        count, chosen = self.shape.experts, self.shape.per_token
        share = figure(self.read_share(tokens=tokens))
        return f"1 - (1 - {chosen} / {count})^{tokens} = {share} of the experts are touched"
