"""The measures again, slowly and in float64, from explicit weights: it shares no code with attnent.

Visibility is stated from positions, not read from any mask that transformers made.
"""

import numpy as np

MEASURES = (
    "entropy",
    "varentropy",
    "collision_entropy",
    "max_weight",
    "sink_mass",
    "prompt_mass",
    "self_mass",
    "previous_mass",
)


def visible_keys(padding, *, window=None, chunk=None) -> np.ndarray:
    """(batch, query, key): which keys a query may see; `padding` (batch, position) is 1 on real tokens."""
    padding = np.asarray(padding).astype(bool)
    position = np.arange(padding.shape[1])
    query, key = position[:, None], position[None, :]
    seen = (key <= query)[None] & padding[:, None, :]
    if window is not None:
        seen = seen & (query - key < window)
    if chunk is not None:
        start = padding.argmax(-1)[:, None, None]
        seen = seen & ((query - start) // chunk == (key - start) // chunk)
    return seen


def softmax(scores: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """(batch, head, query, key) weights in float64; rows that see nothing are 0."""
    scores = np.where(visible, scores.astype(np.float64), -np.inf)
    peak = np.where(visible.any(-1, keepdims=True), scores.max(-1, keepdims=True), 0.0)
    powers = np.exp(scores - peak)
    return powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)


def row(weights: np.ndarray, visible: np.ndarray, own: int, n_prompt: int) -> dict[str, float]:
    """All measures of one row; `own` is the query's own key, the first `n_prompt` positions are prompt (or padding)."""
    nothing = dict.fromkeys(MEASURES, np.nan) | {"n_keys": 0}
    if not visible.any():
        return nothing
    p = weights.astype(np.float64)[visible]
    p = p / p.sum()
    positive = p[p > 0]
    surprisal = -np.log(positive)
    entropy = float((positive * surprisal).sum())
    keys = np.flatnonzero(visible)
    at = dict(zip(keys.tolist(), p.tolist(), strict=True))
    return {
        "entropy": entropy,
        "varentropy": float((positive * (surprisal - entropy) ** 2).sum()),
        "collision_entropy": float(-np.log((p**2).sum())),
        "max_weight": float(p.max()),
        "sink_mass": float(p[0]),
        "prompt_mass": float(p[keys < n_prompt].sum()),
        "self_mass": at.get(own, np.nan),
        "previous_mass": at.get(own - 1, np.nan),
        "n_keys": len(keys),
    }


def measures(weights, visible, *, own=None, n_prompt=None) -> dict[str, np.ndarray]:
    """Each measure (batch, head, query) of weights (batch, head, query, key) and visible (batch, query, key).

    `own` and `n_prompt` hold one number for each query; by default a query sits at its own index and all is prompt.
    """
    weights = np.asarray(weights)
    n_batch, n_heads, n_queries, n_keys = weights.shape
    own = np.arange(n_queries) if own is None else own
    n_prompt = np.full(n_queries, n_keys) if n_prompt is None else n_prompt
    rows = [
        row(weights[b, h, q], visible[b, q], int(own[q]), int(n_prompt[q]))
        for b in range(n_batch)
        for h in range(n_heads)
        for q in range(n_queries)
    ]
    return {
        name: np.array([one[name] for one in rows]).reshape(n_batch, n_heads, n_queries)
        for name in (*MEASURES, "n_keys")
    }


def largest_errors(got, wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest absolute difference of each measure; fails where NaN and numbers do not stand in the same places."""
    errors = {}
    for name, want in wanted.items():
        have = np.asarray(getattr(got, name), dtype=np.float64)
        assert have.shape == want.shape, f"{name} is {have.shape}, not {want.shape}"
        np.testing.assert_array_equal(np.isnan(have), np.isnan(want), err_msg=f"NaN in other places: {name}")
        errors[name] = float(np.nanmax(np.abs(have - want), initial=0.0))
    return errors


def assert_measures(got, wanted: dict[str, np.ndarray], *, atol: float = 1e-4) -> None:
    """Every measure agrees within `atol`, and the number of visible keys exactly."""
    errors = largest_errors(got, wanted)
    assert errors.pop("n_keys") == 0
    assert max(errors.values()) <= atol, errors


def sink_share(weights, visible) -> np.ndarray:
    """(batch, head, query): what of a softmax (batch, head, query, key) is on no key that is visible."""
    return 1 - np.where(np.asarray(visible)[:, None], np.asarray(weights, np.float64), 0.0).sum(-1)


def columns(weights: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
    """Of one item's weights (head, query, key) and visible (query, key): what each key receives, (head, key)."""
    weights = np.where(visible, np.asarray(weights, np.float64), 0.0)
    weights = weights / weights.sum(-1, keepdims=True)
    received = [[rows[visible[:, key], key].mean() for key in range(visible.shape[1])] for rows in weights]
    return {"received_mass": np.array(received), "own_mass": np.diagonal(weights, axis1=1, axis2=2)}


# ---- scores of a Llama, from what its projections give


def rotated(states: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
    """(batch, head, position, width) turned by the rotary embedding of Su et al. 2021, halves paired as Llama does."""
    width = states.shape[-1]
    angle = positions[:, None, :, None] * theta ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angle), np.sin(angle)
    left, right = states[..., : width // 2], states[..., width // 2 :]
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def llama_weights(model, inputs, *, n_heads: int, n_groups: int, theta: float = 10000.0) -> list[np.ndarray]:
    """The weights of each layer (batch, head, query, key): projections from the model, all the rest here in float64."""
    seen: dict[str, np.ndarray] = {}

    def keep(name):
        return lambda module, args, output: seen.__setitem__(name, output.double().numpy())

    layers = model.model.layers
    handles = [
        getattr(layer.self_attn, f"{which}_proj").register_forward_hook(keep(f"{which}{number}"))
        for number, layer in enumerate(layers)
        for which in "qk"
    ]
    model(**inputs)
    for handle in handles:
        handle.remove()
    positions = inputs["position_ids"].numpy()
    visible = visible_keys(inputs["attention_mask"])[:, None]
    weights = []
    for number in range(len(layers)):
        query, key = (
            seen[f"{which}{number}"].reshape(*positions.shape, heads, -1).swapaxes(1, 2)
            for which, heads in (("q", n_heads), ("k", n_groups))
        )
        query, key = rotated(query, positions, theta), rotated(key, positions, theta)
        key = key.repeat(n_heads // n_groups, axis=1)
        weights.append(softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5, visible))
    return weights
