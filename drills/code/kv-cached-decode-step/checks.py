"""A whole sequence at once, by the definition of causal attention, is what step after step must give."""

from __future__ import annotations

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, TOKENS, CAPACITY = 24, 6, 2, 4, 7, 10


def make(np, *, heads=HEADS, kv_heads=KV_HEADS):
    """Return the inputs (N, D) and the weights of a small layer."""
    rng = np.random.default_rng(7)
    widths = {"q": heads, "k": kv_heads, "v": kv_heads}
    weights = {name: rng.normal(size=(HIDDEN, count * HEAD_DIM)) / HIDDEN**0.5 for name, count in widths.items()}
    weights["o"] = rng.normal(size=(heads * HEAD_DIM, HIDDEN)) / HIDDEN**0.5
    return rng.normal(size=(TOKENS, HIDDEN)), weights


def whole(np, x, weights, *, heads=HEADS, kv_heads=KV_HEADS):
    """Return causal attention over the whole sequence, head by head, without a cache."""
    mask = np.triu(np.full((len(x), len(x)), -np.inf), 1)
    outputs = []
    for head in range(heads):
        shared = head // (heads // kv_heads)
        own, group = (slice(at * HEAD_DIM, (at + 1) * HEAD_DIM) for at in (head, shared))
        query, key, value = x @ weights["q"][:, own], x @ weights["k"][:, group], x @ weights["v"][:, group]
        scores = query @ key.T / HEAD_DIM**0.5 + mask
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs.append(raised / raised.sum(axis=1, keepdims=True) @ value)
    return np.concatenate(outputs, axis=1) @ weights["o"]


def stepped(module, np, x, weights, *, kv_heads=KV_HEADS, left_behind=0.0):
    """Return the outputs of one step after another, and the cache."""
    keys, values = (np.full((kv_heads, CAPACITY, HEAD_DIM), left_behind) for _ in range(2))
    outputs = [module.decode_step(one, weights, keys, values, position) for position, one in enumerate(x)]
    return np.array(outputs), keys, values


def compare(np, got, expected, what):
    """Refuse what differs, with the first place where it does."""
    assert got.shape == expected.shape, f"{what}: expected the shape {expected.shape}, got {got.shape}"
    wrong = np.argwhere(~np.isclose(got, expected, atol=1e-8))
    if len(wrong):
        at = tuple(int(one) for one in wrong[0])
        raise AssertionError(f"{what}: at {at} expected {expected[at]:.6f}, got {got[at]:.6f}")


def check_steps_equal_the_whole(module, np):
    """Step after step gives what causal attention gives at once."""
    x, weights = make(np)
    what = f"input {TOKENS} tokens, {HEADS} query heads, {KV_HEADS} key-value heads"
    compare(np, stepped(module, np, x, weights)[0], whole(np, x, weights), what)


def check_one_group_a_head(module, np):
    """It is right with as many key-value heads as query heads."""
    x, weights = make(np, kv_heads=HEADS)
    got = stepped(module, np, x, weights, kv_heads=HEADS)[0]
    compare(np, got, whole(np, x, weights, kv_heads=HEADS), f"input {HEADS} query heads, {HEADS} key-value heads")


def check_what_was_left_behind_is_not_read(module, np):
    """What others left in the cache beyond the position changes nothing."""
    x, weights = make(np)
    got = stepped(module, np, x, weights, left_behind=1e6)[0]
    compare(np, got, whole(np, x, weights), "input a cache full of 1,000,000")


def check_cache_is_written_at_the_position_alone(module, np):
    """The cache holds each token's key and value at its position, and nothing else was touched."""
    x, weights = make(np)
    _, keys, values = stepped(module, np, x, weights, left_behind=-3.0)
    for name, cache in (("k", keys), ("v", values)):
        expected = np.full_like(cache, -3.0)
        expected[:, :TOKENS] = (x @ weights[name]).reshape(TOKENS, KV_HEADS, HEAD_DIM).transpose(1, 0, 2)
        compare(np, cache, expected, f"the cache of {name}, input {TOKENS} tokens")


def check_large_scores_stay_finite(module, np):
    """Large scores do not overflow."""
    x, weights = make(np)
    x, weights["q"] = x * 20, weights["q"] * 20
    compare(np, stepped(module, np, x, weights)[0], whole(np, x, weights), "input scores in the thousands")
