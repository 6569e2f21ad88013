"""What training is handed, looked at before it is used: one sentence instead of a traceback."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.jaxprs import is_traced
from rnn_jax.layers.base import BaseLayer, inside
from rnn_jax.models.softmax import Softmax
from rnn_jax.truncation.kinds import Truncation
from rnn_jax.types import Array, Batch, Layer, Model

__all__ = [
    "batch_of",
    "check_bounds",
    "check_data",
    "check_loss",
    "check_model",
    "check_optimizer",
    "check_params",
    "check_targets",
    "count_of",
    "drawn_by",
    "is_number",
    "mask_of",
    "optimizer_errors_explained",
    "shape_of",
]


def check_model(model: Any) -> None:
    """Raise ValueError unless it is a model."""
    if isinstance(model, type) or not isinstance(model, Layer | Model):
        raise ValueError(
            f"a model is wanted, such as language_model(…) makes, and not {model!r:.80}"
        )


def mask_of(outputs: Array, mask: Array | None) -> Array | None:
    """The mask of outputs ``[T, B, C]``; None for a classifier's ``[B, C]``, which all count."""
    return None if mask is None or mask.ndim >= outputs.ndim else mask


def count_of(outputs: Array, mask: Array | None) -> Array:
    """How many outputs count under the mask of `mask_of`."""
    # Not the targets' size: they may hold several numbers a step.
    return jnp.asarray(math.prod(outputs.shape[:-1])) if mask is None else mask.sum()


def check_optimizer(optimizer: Any) -> None:
    """Raise ValueError unless it is an optax optimiser."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"the optimiser must be one of optax, such as optax.adam(1e-3), not {optimizer!r:.80}"
        )


def check_params(params: Any) -> None:
    """Raise ValueError unless these are arrays of floats that are still there."""
    leaves = jax.tree.leaves_with_path(params)
    if not leaves:
        raise ValueError(
            f"the parameters are {params!r:.40} and hold no array: pass those that the model's "
            "init gives"
        )
    for keys, leaf in leaves:
        name = jax.tree_util.keystr(keys, simple=True, separator=".") or "the parameters"
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(
                f"{name} among the parameters must be an array, not {type(leaf).__name__}: pass "
                "those that the model's init gives"
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"{name} among the parameters must be an array of floats, not {leaf.dtype}"
            )
        if isinstance(leaf, jax.Array) and not is_traced(leaf) and leaf.is_deleted():
            raise ValueError(
                f"{name} among the parameters is deleted, because a step to which its state was "
                "donated has used its memory: go on with the params of the state that came back, "
                "or hand a copy to init_train_state, jax.tree.map(jnp.copy, params)"
            )


def batch_of(batch: Any) -> Batch:
    """The batch, or a plain pair or tuple of its parts, as a `Batch`.

    Raises:
      ValueError: it is anything else; an array would be taken apart along its time axis.
    """
    if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= len(Batch._fields):
        kind = type(batch).__name__
        kind += f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise ValueError(
            "a batch is Batch(inputs, targets, mask, resets, source, source_mask), or a tuple of "
            f"at least its first two parts, not {kind}"
        )
    return Batch(*batch)


def check_data(data: Any) -> None:
    """Raise ValueError unless these are batches for a compiled loop."""
    if not hasattr(data, "visit"):
        raise ValueError(
            f"a compiled loop runs over Windows or a SentenceStream, not {type(data).__name__}: "
            "pass Windows(inputs, targets), [N, T, B] each"
        )
    for name in Batch._fields:
        part = getattr(data, name, None)
        wanted = name in ("inputs", "targets") and hasattr(data, name)
        if (part is None and wanted) or not isinstance(part, jax.Array | np.ndarray | None):
            raise ValueError(
                f"the {name} of {type(data).__name__} must be an array [N, T, B], not "
                f"{type(part).__name__}"
            )


def check_targets(name: str, data: Any, size: int) -> None:
    """Raise ValueError if data hold a target that is not one of ``size`` classes.

    In a step it would be NaN, which does not say why.
    """
    targets = getattr(data, "targets", None)
    targets = getattr(data, "stream", None) if targets is None else targets
    if targets is None or not jnp.issubdtype(targets.dtype, jnp.integer) or not targets.size:
        return
    strange = (targets < 0) | (targets >= size)
    mask = getattr(data, "mask", None)
    if mask is not None and mask.shape == targets.shape:
        strange &= mask
    if strange.any():
        first = targets[strange][0]
        raise ValueError(
            f"the targets of {name} hold {first}, and the model has {size} outputs, of 0 to "
            f"{size - 1}: mend the data, or make the model larger"
        )


def check_bounds(begin: Any, end: Any) -> None:
    """Raise ValueError unless these number batches."""
    for name, bound in (("begin", begin), ("end", end)):
        try:
            if isinstance(bound, jax.Array):  # whose value is not asked for
                good = jnp.issubdtype(bound.dtype, jnp.integer) and not bound.ndim
            else:
                good = operator.index(bound) >= 0
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"{name} must be an integer of at least 0, a batch, not {bound!r:.40}")


def is_number(value: Any) -> bool:
    """Whether it is a number of Python's, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_loss(value: Any) -> None:
    """Raise ValueError unless the value of a loss function is one real number."""
    dtype, shape = jnp.result_type(value), jnp.shape(value)
    if shape or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"the loss must be one real number, not {dtype}{list(shape)}: take its mean or its sum"
        )


def shape_of(batch_shape: Any) -> tuple[int, ...]:
    """A batch shape as a tuple of integers.

    Raises:
      ValueError: it is none.
    """
    try:
        return tuple(operator.index(size) for size in batch_shape)
    except TypeError:
        raise ValueError(
            f"batch_shape must be a tuple of integers, such as (32,), or None, not {batch_shape!r}"
        ) from None


def drawn_by(model: Model) -> str | None:
    """What draws noise in a model, ``dropout(0.5) and randomized(0.9)``; None if nothing does."""
    names = [
        part.noise for part in inside(model) if isinstance(part, BaseLayer | Softmax | Truncation)
    ]
    found = dict.fromkeys(name for name in names if name)
    return " and ".join(found) or None


@contextmanager
def optimizer_errors_explained(optimizer: Any, state: Any) -> Iterator[None]:
    """Turns an optimiser's errors about what it is given into a sentence."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        missing = re.search(r"missing \d+ required keyword-only arguments?: (.*)", str(error))
        if missing is not None:
            raise ValueError(
                f"the optimiser needs {missing[1]}, which a train step does not have: use another "
                "one, or write the step yourself with jax.value_and_grad"
            ) from None
        own: Any = jax.tree.structure(jax.eval_shape(optimizer.init, state.params))
        if own != jax.tree.structure(state.opt_state):
            raise ValueError(
                "the state's opt_state is not one of this optimiser: pass init_train_state the "
                "optimiser that make_train_step has"
            ) from None
        raise
