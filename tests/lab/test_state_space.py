"""A state-space layer: two forms, one output; a state that stays; transformers' Mamba as the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.kv_cache import kv_cache_bytes  # noqa: E402
from llmdrill.estimate.state import state_bytes  # noqa: E402
from llmdrill.experiments.ssm import Forms  # noqa: E402
from llmdrill.lab.ssm import AttentionTwin, SelectiveLayer, SsmShape  # noqa: E402
from llmdrill.lab.ssm_run import build_pair, largest_difference, measure_decoding, measure_lengths  # noqa: E402

pytestmark = pytest.mark.lab

SHAPE = SsmShape(width=16, expand=2, state=4, kernel=3, heads=2)


def tokens(count: int, *, seed: int = 1, sequences: int = 2) -> torch.Tensor:
    return torch.randn(sequences, count, 16, generator=torch.Generator().manual_seed(seed))


@given(count=st.integers(1, 60), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=25)
def test_all_at_once_in_two_parts_or_token_by_token_is_the_same(count: int, seed: int, data: st.DataObject) -> None:
    layer, x = SelectiveLayer(SHAPE, seed=seed), tokens(count, seed=seed)
    cut = data.draw(st.integers(0, count))
    with torch.inference_mode():
        at_once, parts, slow = (layer.start(sequences=2) for _ in range(3))
        y = layer(x, at_once)
        halves = [layer(part, parts) for part in (x[:, :cut], x[:, cut:]) if part.shape[1]]
        steps = [layer.step(x[:, at], slow) for at in range(count)]
    for other, state in ((torch.cat(halves, dim=1), parts), (torch.stack(steps, dim=1), slow)):
        assert torch.allclose(y, other, atol=1e-5)
        assert torch.allclose(at_once.recurrent, state.recurrent, atol=1e-5)
        assert torch.allclose(at_once.window, state.window, atol=1e-6)


def test_no_token_changes_what_came_before_it() -> None:
    layer, x = SelectiveLayer(SHAPE, seed=0), tokens(20)
    changed = x.clone()
    changed[:, 13] += 1
    with torch.inference_mode():
        one, other = (layer(each, layer.start(sequences=2)) for each in (x, changed))
    assert torch.allclose(one[:, :13], other[:, :13], atol=1e-6)
    assert not torch.allclose(one[:, 19], other[:, 19], atol=1e-6)


def test_the_layer_computes_what_transformers_mamba_does() -> None:
    mamba = pytest.importorskip("transformers.models.mamba.modeling_mamba")
    config = mamba.MambaConfig(
        hidden_size=16, state_size=4, conv_kernel=3, expand=2, time_step_rank=SHAPE.rank, use_bias=False,
        use_conv_bias=False, num_hidden_layers=1, vocab_size=8,
    )  # fmt: skip
    theirs, ours = mamba.MambaMixer(config, layer_idx=0), SelectiveLayer(SHAPE, seed=3)
    with torch.no_grad():
        theirs.in_proj.weight.copy_(ours.into)
        theirs.conv1d.weight.copy_(ours.taps[:, None])
        theirs.x_proj.weight.copy_(ours.selects)
        theirs.dt_proj.weight.copy_(ours.step_size)
        theirs.dt_proj.bias.copy_(ours.step_bias)
        theirs.A_log.copy_(ours.log_decay)
        theirs.D.copy_(ours.skip)
        theirs.out_proj.weight.copy_(ours.out)
        expected = theirs.eval()(tokens(25))
        assert torch.allclose(ours(tokens(25), ours.start(sequences=2)), expected, atol=1e-5)


def test_attention_with_a_cache_is_attention_without_one() -> None:
    twin, x = AttentionTwin(SHAPE, seed=0), tokens(15)
    with torch.inference_mode():
        cache = twin.cache(sequences=2, tokens=15)
        steps = torch.stack([twin.step(x[:, at], cache, at=at) for at in range(15)], dim=1)
        assert torch.allclose(steps, twin(x), atol=1e-5)


def test_the_state_stays_while_the_cache_grows_as_the_closed_forms_say() -> None:
    forms = Forms(SHAPE)
    found = measure_decoding(build_pair(SHAPE, seed=0), contexts=(128, 512), repeats=1, seed=0)
    assert {one.state_bytes for one in found} == {state_bytes(forms.state, bytes_per_value=4)}
    for one in found:
        assert one.cache_bytes == kv_cache_bytes(forms.attention, context_tokens=one.context_tokens, bytes_per_value=4)
    layer = SelectiveLayer(SHAPE, seed=0)
    state = layer.start(sequences=3)
    with torch.inference_mode():
        layer(tokens(50, sequences=3), state)
    assert state.allocated_bytes == state_bytes(forms.state, sequences=3, bytes_per_value=4)


def test_no_state_of_every_token_is_held_at_once() -> None:
    shape = SsmShape(width=16, state=64, heads=2)
    pair = build_pair(shape, seed=0)
    (one,) = measure_lengths(pair, lengths=(1024,), longest_recurrent_tokens=0, repeats=1, seed=0)
    assert one.recurrent is None
    assert one.state_space_peak_bytes < 1024 * shape.inner * shape.state * 4 / 2
    assert largest_difference(pair, tokens=64, seed=0) < 1e-5


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="must divide the width"):
        SsmShape(width=16, heads=3)
