"""The state of layers that keep no cache: Mamba, Mamba-2, gated delta nets. It does not grow with the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import StateLayers

# Operations per value of the recurrent state and token: decay, outer product, addition, product with the output vector
# (2); Mamba's decay is one of its own per value, the delta rule also reads the state before it writes (2).
_OPERATIONS: Final = {"mamba": 6, "mamba2": 5, "gated_delta_net": 7}
_SOURCE: Final = "vLLM, vllm/model_executor/layers/mamba/mamba_utils.py (docs.vllm.ai, v0.11.2)"


def state_bytes(
    state: StateLayers | None,
    *,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
    recurrent_bytes_per_value: float | None = None,
) -> float:
    """Return the memory of the states of ``sequences`` resident sequences.

    Formula:
        layers * (conv_values * bytes_per_value + recurrent_values * recurrent_bytes_per_value) * sequences, with
        conv_values = (kernel - 1) * channels of the convolution's window.

    Args:
        state: None for a pure transformer.
        sequences: Sequences resident at once.
        bytes_per_value: Of the convolution's window: the model's own 16 bits.
        recurrent_bytes_per_value: Of the recurrent state; None: as the model's config asks, else as bytes_per_value.

    Returns:
        Bytes; 0 for a pure transformer.

    Raises:
        NumberError: If a number is negative.

    Error:
        Exact for an engine that keeps kernel - 1 columns (vLLM); transformers keeps kernel, which is 0.1 % to 1 % more
        of the whole. Engines differ in the type of the recurrent state: 2 or 4 bytes.
    Source:
        Shapes: vLLM, vllm/model_executor/layers/mamba/mamba_utils.py (docs.vllm.ai, v0.11.2).

    >>> from llmdrill.catalog.load import find_model
    >>> state_bytes(find_model("mamba-130m").state), state_bytes(find_model("llama-3.1-8b").state)
    (1400832.0, 0.0)
    """
    require_not_negative(sequences=sequences)
    require_positive(bytes_per_value=bytes_per_value)
    if state is None:
        return 0.0
    recurrent = recurrent_bytes_per_value or state.recurrent_bytes_per_value or bytes_per_value
    return float(state.layers * (state.conv_values * bytes_per_value + state.recurrent_values * recurrent) * sequences)


def explain_state(state: StateLayers, *, sequences: float = 1, bytes_per_value: float = 2.0) -> Explained:
    """Return state_bytes with its formula and the numbers put in."""
    value = state_bytes(state, sequences=sequences, bytes_per_value=bytes_per_value)
    recurrent = state.recurrent_bytes_per_value or bytes_per_value
    return Explained(
        name="state_bytes",
        value=value,
        unit="bytes",
        formula="layers × (conv_values × bytes + recurrent_values × recurrent_bytes) × sequences",
        filled=f"{state.layers} × ({figure(state.conv_values)} × {bytes_per_value:g} + "
        f"{figure(state.recurrent_values)} × {recurrent:g}) × {figure(sequences)} = {figure(value)} B",
        source=_SOURCE,
    )


def state_flops(state: StateLayers | None, *, tokens: float) -> float:
    """Return the operations of updating and reading the states for ``tokens`` tokens, projections left out.

    Formula:
        tokens * layers * (k * recurrent_values + 2 * kernel / (kernel - 1) * conv_values); k is 6 for Mamba, 5 for
        Mamba-2, 7 for a gated delta net: decay, outer product, addition, and a product with the output vector (2); in
        the delta rule also a product with the key (2).

    Args:
        state: None for a pure transformer.
        tokens: Of all sequences together.

    Returns:
        FLOP; 0 for a pure transformer.

    Raises:
        NumberError: If tokens is negative.

    Error:
        The recurrent form, exponentials left out. Chunked kernels do more operations in prefill, as matrix products.
    Source:
        Arithmetic of the recurrences in PyPI transformers 5.23.0, models/mamba, mamba2 and qwen3_next.

    >>> from llmdrill.catalog.load import find_model
    >>> state_flops(find_model("mamba-130m").state, tokens=1)
    3833856.0
    """
    require_not_negative(tokens=tokens)
    if state is None:
        return 0.0
    conv = 2 * state.conv_kernel / max(state.conv_kernel - 1, 1) * state.conv_values
    return float(tokens * state.layers * (_OPERATIONS[state.kind] * state.recurrent_values + conv))


def explain_state_flops(state: StateLayers) -> Explained:
    """Return state_flops of one token with its formula and the numbers put in."""
    value, taps = state_flops(state, tokens=1), max(state.conv_kernel - 1, 1)
    filled = (
        f"{state.layers} × ({_OPERATIONS[state.kind]} × {figure(state.recurrent_values)} + "
        f"2 × {state.conv_kernel} / {taps} × {figure(state.conv_values)})"
    )
    return Explained(
        name="state_flops_per_token",
        value=value,
        unit="count",
        formula="layers × (operations × recurrent_values + 2 × kernel / (kernel - 1) × conv_values)",
        filled=f"{filled} = {figure(value)}",
        source="Arithmetic of the recurrences in PyPI transformers 5.23.0, models/mamba, mamba2 and qwen3_next",
    )
