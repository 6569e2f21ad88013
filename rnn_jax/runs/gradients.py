"""The reference's gradient check, on any model."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.layers.activation_penalty import without_penalties
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.reference.gradient_check import GradientReport, gradient_check
from rnn_jax.training.objective import make_objective
from rnn_jax.types import Batch, Model

__all__ = ["check_gradients"]


def check_gradients(model: Model, *, seed: int = 0) -> GradientReport:
    """Every parameter's gradient against central differences, in float64.

    The sentence is the reference's, x = [0, 1, 2, 3] and y = [1, 2, 3, 4], and so are h = 0.001 and
    the relative error that passes, 0.01.

    Args:
      model: a `Model` of at least five tokens; one truncated to fewer than four steps must fail.
      seed: of the parameters.

    Example:
      >>> import rnn_jax
      >>> model = rnn_jax.language_model(6, rnn_jax.recurrent(rnn_jax.elman(2)))
      >>> check_gradients(model).passed
      True
      >>> check_gradients(rnn_jax.truncate(model, rnn_jax.sliding(1))).passed
      False
    """
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64), model.init(jax.random.key(seed))
        )
        leaves, tree = jax.tree.flatten(params)
        names = [
            jax.tree_util.keystr(keys, simple=True, separator=".")
            for keys, _ in jax.tree.leaves_with_path(params)
        ]
        x, y = jnp.arange(4), jnp.arange(1, 5)

        network = without_penalties(model)  # whose gradient is not of the loss
        objective = make_objective(network, partial(cross_entropy, reduction="sum"))

        @jax.jit
        def loss(leaves: list[Any]) -> Any:
            return objective(jax.tree.unflatten(tree, leaves), None, Batch(x, y)).loss

        gradients = dict(zip(names, map(np.asarray, jax.grad(loss)(leaves)), strict=True))
        arrays = dict(zip(names, map(np.asarray, leaves), strict=True))
        return gradient_check(lambda arrays: float(loss(list(arrays.values()))), arrays, gradients)
