"""What comparisons with other libraries share: outcomes, tolerance, PyTorch's stacked states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax as r
from tests.cases import quick_jit


def assert_equal(ours: Any, theirs: Any) -> None:
    """``max|a - b| <= rtol · max|b|``, with 1e-10 for float64 and 1e-5 for float32."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    rtol = 1e-10 if theirs.dtype == np.float64 else 1e-5
    assert np.abs(ours - theirs).max() <= rtol * np.abs(theirs).max()


@quick_jit
def run(layer: Any, params: Any, carry: Any, xs: Any, mask: Any, w: Any, v: Any) -> Any:
    """Outputs, final carry, and the gradients of ``Σ w·ys + Σ v·final``."""

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        final, ys = layer.apply(params, carry, xs, mask=mask)
        total = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), v, final)))
        return (w * ys).sum() + total, (ys, final)

    return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(params, carry, xs)


def stacked(layer: r.Layer, carry: Any) -> list[np.ndarray]:
    """A carry as ``[h]`` or ``[h, c]``, ``[layers·directions, B, …]`` each; in the same order."""
    leaves = jax.tree.leaves(carry)
    count = _count(layer)
    return [np.stack(leaves[i::count]) for i in range(count)]


def unstacked(layer: r.Layer, states: list[Any]) -> Any:
    """The carry of a layer from ``[h]`` or ``[h, c]``."""
    rows = [jnp.asarray(row) for both in zip(*states, strict=True) for row in both]
    return jax.tree.unflatten(jax.tree.structure(layer.initial_carry(())), rows)


def _count(layer: Any) -> int:
    """States of one cell: 2 for an LSTM."""
    for name in ("layers", "forward", "cell"):
        if hasattr(layer, name):
            inner = getattr(layer, name)
            return _count(inner[0] if name == "layers" else inner)
    return len(jax.tree.leaves(layer.initial_carry(())))
