"""The peers that benchmarks/decode.py compares: each answers a prompt greedily and says how long its parts took.

All hold the same weights. A peer that is not installed, or does not start, is left out with its reason.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from decode_answer import Answer, stepped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from decode_answer import Engine

    from llmdrill.lab.decoder import Decoder, DecoderWeights
    from llmdrill.lab.shapes import DecoderShape


ON_ONE_THREAD = "ctranslate2 x1"


class Transformers:
    """transformers with its dynamic cache, one forward call a step: no generate() around it to slow it down."""

    def __init__(self, folder: Path, precision: str) -> None:
        from transformers import AutoModelForCausalLM

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer:
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)

        def run(ids: Sequence[int]) -> int:
            out = self._model(torch.tensor([list(ids)]), past_key_values=cache, use_cache=True, logits_to_keep=1)
            return int(out.logits[0, -1].argmax())

        return stepped(lambda: run(prompt), lambda token: run([token]), tokens=tokens)


class LlamaCpp:
    """llama.cpp through xllamacpp's server in this process, with the timings that it reports itself."""

    def __init__(self, folder: Path, precision: str, *, threads: int, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(folder / f"{precision}.gguf")
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = context, 1, True, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.no_kv_offload = params.ui = False
        self._server = xllamacpp.Server(params)

    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer:
        asked = {"prompt": list(prompt), "n_predict": tokens, "temperature": 0.0, "top_k": 1, "cache_prompt": False}
        said = self._server.handle_completions(asked | {"ignore_eos": True, "stream": False})
        timings, words = said["timings"], said["choices"][0]["text"]
        steps = timings["predicted_n"] - 1
        step_s = timings["predicted_ms"] / 1000 / steps if steps > 0 else None
        return Answer(tuple(int(token) for token in words.split("t")[1:]), timings["prompt_ms"] / 1000, step_s)


class CTranslate2:
    """ctranslate2, which has no single step to call: a step is the difference between a long answer and a short one."""

    def __init__(self, folder: Path, precision: str, *, threads: int) -> None:
        import ctranslate2

        compute = {"fp32": "float32", "int8": "int8_float32"}[precision]
        self._generator = ctranslate2.Generator(
            str(folder / "ctranslate2"), device="cpu", compute_type=compute, intra_threads=threads
        )

    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer:
        first_s, chosen = self._timed(prompt, 1)
        if tokens == 1:
            return Answer(chosen, first_s, None)
        whole_s, chosen = self._timed(prompt, tokens)
        return Answer(chosen, first_s, (whole_s - first_s) / (tokens - 1))

    def _timed(self, prompt: Sequence[int], tokens: int) -> tuple[float, tuple[int, ...]]:
        start = time.perf_counter()
        (result,) = self._generator.generate_batch(
            [[f"t{token}" for token in prompt]],
            max_length=tokens,
            min_length=tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return time.perf_counter() - start, tuple(result.sequences_ids[0])


# --- the same weights in the formats of the peers -----------------------------------------------------------------


def write_transformers(decoder: Decoder, folder: Path) -> None:
    """Save a checkpoint as transformers reads it, with a tokenizer whose token i is the word ``ti``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    shape = decoder.shape
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_positions,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tied,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    tensors = {hugging_face_name(name): tensor for name, tensor in named(decoder.weights, shape)}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    special = {"bos_token": "t0", "eos_token": "t1", "unk_token": "t2"}
    vocabulary = {f"t{token}": token for token in range(shape.vocab)}
    words = Tokenizer(models.WordLevel(vocabulary, special["unk_token"]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def named(weights: DecoderWeights, shape: DecoderShape) -> list[tuple[str, torch.Tensor]]:
    """Return every tensor under llama.cpp's name, fused ones taken apart."""
    sizes = [shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.kv_heads * shape.head_dim]
    tensors = [("token_embd", weights.embedding), ("output_norm", weights.norm)]
    tensors += [] if shape.tied else [("output", weights.head)]
    for index, layer in enumerate(weights.layers):
        names = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
        parts = (
            *(layer.attention_norm, *layer.qkv.split(sizes), layer.out, layer.mlp_norm),
            *(*layer.gate_up.chunk(2), layer.down),
        )
        tensors += [(f"blk.{index}.{name}", part) for name, part in zip(names, parts, strict=True)]
    return tensors


def hugging_face_name(name: str) -> str:
    """Return the name that transformers has for a tensor of llama.cpp's name."""
    if not name.startswith("blk."):
        whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
        return f"{whole[name]}.weight"
    _, index, part = name.split(".")
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_output": "self_attn.o_proj"}
    parts |= {f"attn_{one}": f"self_attn.{one}_proj" for one in "qkv"}
    parts |= {f"ffn_{one}": f"mlp.{one}_proj" for one in ("gate", "up", "down")}
    return f"model.layers.{index}.{parts[part]}.weight"


def write_gguf(decoder: Decoder, folder: Path, precision: str) -> None:
    """Write a GGUF file; llama.cpp turns neighbouring pairs where we turn halves, so rows of q and k change places."""
    import gguf

    shape = decoder.shape
    kinds = {"fp32": "F32", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
    kind = gguf.GGMLQuantizationType[kinds[precision]]
    writer = gguf.GGUFWriter(folder / f"{precision}.gguf", "llama")
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{token}" for token in range(shape.vocab)])
    writer.add_token_scores([0.0] * shape.vocab)
    writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocab)
    writer.add_unk_token_id(2)
    for name, tensor in named(decoder.weights, shape):
        heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.rpartition(".")[2])
        if heads is not None:
            tensor = tensor.view(heads, 2, -1, shape.hidden).transpose(1, 2).reshape(tensor.shape)  # noqa: PLW2901
        values, of = tensor.float().numpy(), kind if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_ctranslate2(folder: Path) -> None:
    """Convert the checkpoint that ``write_transformers`` has written."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"))


def write_peers(decoder: Decoder, folder: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Write what the peers read; return those (name, precision) that have it, and the reason for each that has not.

    ctranslate2 is there on one thread too: where it was measured, a second one made its int8 steps three times slower.
    """
    ways: dict[tuple[str, str], Callable[[], Any]] = {
        ("transformers", "fp32"): lambda: write_transformers(decoder, folder),
        ("transformers", "bf16"): lambda: None,
        ("ctranslate2", "int8"): lambda: write_ctranslate2(folder),
        (ON_ONE_THREAD, "int8"): lambda: None,
        **{("llama.cpp", one): partial(write_gguf, decoder, folder, one) for one in ("q8_0", "q4_0")},
    }
    written: list[tuple[str, str]] = []
    absent: dict[str, str] = {}
    for (name, precision), write in ways.items():
        try:
            write()
            written.append((name, precision))
        except Exception as error:  # noqa: BLE001 - whatever a peer dies of, the others are measured
            absent[f"{name} {precision}"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return written, absent


def peer_engine(name: str, precision: str, folder: Path, *, threads: int, context: int) -> Engine:
    """Start a peer on what ``write_peers`` wrote."""
    if name == "transformers":
        return Transformers(folder, precision)
    if name in {"ctranslate2", ON_ONE_THREAD}:
        return CTranslate2(folder, precision, threads=1 if name == ON_ONE_THREAD else threads)
    return LlamaCpp(folder, precision, threads=threads, context=context)
