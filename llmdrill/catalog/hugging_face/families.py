"""What the code of each architecture does that its ``config.json`` does not say: biases, norms, gates, windows.

Each entry is proved: the parameters counted with it equal those of the model that transformers builds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture's building blocks.

    Attributes:
        norm_vectors: Vectors of one norm: 1 (a scale), or 2 (and a shift).
        norms: Norms of one layer, those of queries and keys left out.
        head_norms: Norms of queries and keys: one scale per value of a ``head``, or of the whole ``width``.
        head_norms_flag: The key that switches them; empty if they are always there.
        qkv_bias: Whether queries, keys and values have biases; None: as the file says.
        output_bias: Whether the output projection has one when they have.
        mlp_bias: Whether the feed-forward has biases; None: as the file says.
        gated: Three matrices in a feed-forward, else two.
        head_bias: Whether the output head has a bias; None: as the file says.
        query_gate: Queries come with a gate as wide as they are.
        window_every: Every such layer sees the whole context, the others have the window.
        positions: A table of learned positions, with so many entries more than the file says; None for none.
        router_bias: Whether the router has a bias.
        expert_bias: Whether the experts have biases.
        sinks: One learned value per query head.
    """

    norm_vectors: int = 1
    norms: int = 2
    head_norms: Literal["head", "width"] | None = None
    head_norms_flag: str = ""
    qkv_bias: bool | None = None
    output_bias: bool = True
    mlp_bias: bool | None = False
    gated: bool = True
    head_bias: bool | None = False
    query_gate: bool = False
    window_every: int | None = None
    positions: int | None = None
    router_bias: bool = False
    expert_bias: bool = False
    sinks: bool = False


_PLAIN: Final = Family(qkv_bias=False)
_MLA: Final = Family()
_DELTA: Final = Family(head_norms="head", query_gate=True)

FAMILIES: Final[Mapping[str, Family]] = {
    "bert": Family(norm_vectors=2, qkv_bias=True, mlp_bias=True, gated=False, positions=0),
    "cohere": Family(norms=1, head_norms="width", head_norms_flag="use_qk_norm"),
    "deepseek_v2": _MLA,
    "deepseek_v3": _MLA,
    "falcon": Family(norm_vectors=2, norms=1, mlp_bias=None, gated=False),
    "gemma": Family(),
    "gemma2": Family(norms=4, window_every=2),
    "gemma3_text": Family(norms=4, head_norms="head", window_every=6),
    "glm4_moe": Family(head_norms="head", head_norms_flag="use_qk_norm", output_bias=False),
    "glm4_moe_lite": _MLA,
    "glm_moe_dsa": _MLA,
    "gpt2": Family(norm_vectors=2, qkv_bias=True, mlp_bias=True, gated=False, positions=0),
    "gpt_neox": Family(norm_vectors=2, mlp_bias=True, gated=False),
    "gpt_oss": Family(window_every=2, router_bias=True, expert_bias=True, sinks=True),
    "gptj": Family(norm_vectors=2, norms=1, qkv_bias=False, mlp_bias=True, gated=False, head_bias=True),
    "jamba": _PLAIN,
    "llama": Family(mlp_bias=None),
    "llama4_text": Family(window_every=4),
    "mamba": Family(norms=1),
    "mamba2": Family(norms=1),
    "minimax_m2": Family(head_norms="width", qkv_bias=False),
    "ministral3": _PLAIN,
    "mistral": _PLAIN,
    "mixtral": _PLAIN,
    "nemotron": Family(norm_vectors=2, mlp_bias=None, gated=False),
    "nemotron_h": Family(norms=1, mlp_bias=None, gated=False),
    "olmo2": Family(head_norms="width"),
    "opt": Family(norm_vectors=2, mlp_bias=None, gated=False, positions=2),
    "phi": Family(norm_vectors=2, norms=1, qkv_bias=True, mlp_bias=True, gated=False, head_bias=True),
    "phi3": _PLAIN,
    "phimoe": Family(norm_vectors=2, head_bias=None),
    "qwen2": Family(qkv_bias=True, output_bias=False),
    "qwen2_moe": Family(output_bias=False),
    "qwen3": Family(head_norms="head"),
    "qwen3_5_moe_text": _DELTA,
    "qwen3_5_text": _DELTA,
    "qwen3_moe": Family(head_norms="head"),
    "qwen3_next": _DELTA,
    "stablelm": Family(norm_vectors=2, output_bias=False),
    "starcoder2": Family(norm_vectors=2, mlp_bias=None, gated=False),
}
ENCODERS: Final = frozenset({"bert", "distilbert", "modernbert", "mpnet", "nomic_bert", "roberta", "xlm-roberta"})
UNKNOWN: Final = Family()
