"""Optimisers that leave alone the rows of tables which a batch does not use."""

from __future__ import annotations

from typing import Any

import jax
import optax

from rnn_jax.training.averaging import averaged
from rnn_jax.types import Params

__all__ = ["Lazy", "check_by_rows", "inner_of", "lazy"]

_OUTERMOST = (
    "lazy() needs the tokens of a batch, which make_train_step and fit tell it where it is the "
    "optimiser itself: put it around the others, as in lazy(optax.chain(…))"
)


class Lazy(optax.GradientTransformationExtraArgs):
    """An optax optimiser that `make_train_step` applies to used rows only; see `lazy`."""

    inner: optax.GradientTransformation


def lazy(optimizer: optax.GradientTransformation) -> Lazy:
    """An optimiser for large vocabularies: rows of tables that a batch does not use wait.

    In the table of an embedding (or the input matrix of a model without one, or the rows of a
    `sampled_softmax`) only the rows of the batch's tokens, and only their moments, are read and
    written: a step costs ``T·B`` rows, not ``V``. All else is as by ``optimizer``.

    It is not the same training. Of a row that a batch does not use the gradient is zero, and Adam's
    dense step still moves it, by the momentum of earlier steps, and lets its moments decay; here
    neither happens until the word comes again. Its moments are then older, those of rare words
    being larger than otherwise; the correction of Adam's bias counts all steps. Weight decay
    reaches a row only when it is used. Where a zero gradient changes nothing anyway, as by `sgd`
    with or without clipping or by Adagrad, lazy and dense are the same.

    A tied embedding is read by every softmax, an `encoder_decoder` reads several tables, and some
    models, such as one whose first layer is `residual`, read none by ids alone: of these all rows
    are updated, as by ``optimizer``.

    What an optimiser does must be element by element, or by the norm of the whole gradient, which
    is that of the rows that are used, a word that occurs twice counting as one. What has a norm of
    each table, such as LAMB, is another one here. What puts several batches together, as
    accumulated gradients and averages of parameters do, is refused.

    Args:
      optimizer: an optax optimiser, with clipping and schedules if there are any.

    Returns:
      An optimiser for `make_train_step` and `fit`, with the same state. Across devices all rows
      that any of them uses are updated; gradients are then whole.

    Raises:
      ValueError: ``optimizer`` is none, or lazy already. By a step: it accumulates or averages, or
        its moments have another shape than the parameters, as Adafactor's. By ``update``: it is
        called by another optimiser, or by hand, without tokens.

    Example:
      >>> import jax, jax.numpy as jnp, optax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.lstm(8))
      >>> model = rnn_jax.language_model(1000, layer, embedding_size=8)
      >>> optimizer = lazy(optax.adam(0.01))
      >>> before = model.init(jax.random.key(0))
      >>> state = rnn_jax.init_train_state(model, optimizer, before)
      >>> tokens = jnp.array([[5], [7], [5]])
      >>> after, _ = rnn_jax.make_train_step(model, optimizer)(
      ...     state, rnn_jax.Batch(tokens[:-1], tokens[1:]))
      >>> jnp.unique(jnp.nonzero(after.params["embedding"] != before["embedding"])[0])
      Array([5, 7], dtype=int32)

    Reference:
      PyTorch's ``SparseAdam`` and TensorFlow's ``LazyAdam`` go by the same rule.
    """
    if isinstance(optimizer, Lazy):
        raise ValueError("this optimiser is lazy already: call lazy() once")
    if not callable(getattr(optimizer, "init", None)):
        raise ValueError(f"lazy() takes an optax optimiser, not {optimizer!r}")

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        raise ValueError(_OUTERMOST)

    made = Lazy(optimizer.init, update)
    made.inner = optimizer
    return made


def inner_of(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser that `lazy` was given, or any other one itself."""
    return optimizer.inner if isinstance(optimizer, Lazy) else optimizer


def check_by_rows(opt_state: optax.OptState, params: Params) -> None:
    """Raise ValueError for the state of an optimiser that puts several batches together."""

    def accumulates(node: Any) -> bool:
        return isinstance(node, optax.MultiStepsState)

    several = any(map(accumulates, jax.tree.leaves(opt_state, is_leaf=accumulates)))
    if several or averaged(opt_state, params) is not params:
        raise ValueError(
            "lazy() goes by the words of one batch, and accumulated gradients and averages of "
            "parameters by more: leave out lazy(), or MultiSteps, ema and asgd"
        )
