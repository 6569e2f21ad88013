"""The loss of a model over a batch, of its features where its logits would be many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rnn_jax.layers.base import Apart, adapted
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.losses.linear_cross_entropy import linear_cross_entropy
from rnn_jax.training.checks import mask_of
from rnn_jax.training.forward import forward
from rnn_jax.types import Array, Batch, Carry, Model, Params, Share

__all__ = ["Measured", "draws_words", "make_objective", "options_of_features", "unwrapped"]


class Measured(NamedTuple):
    """What a model comes to over a batch.

    outputs: of the model, or what its read-out reads: of either only the leading axes count.
    mask: of the outputs, as `mask_of` has it.
    """

    carry: Carry
    outputs: Array
    mask: Array | None
    loss: Array


def make_objective(model: Model, loss: Callable[..., Array]) -> Callable[..., Measured]:
    """``(params, carry, batch, *, key, rows, drawn, **options) -> Measured``, options of the loss.

    `cross_entropy` becomes `linear_cross_entropy` where the model ends in a linear read-out: the
    same values, which hold no logits where these are many. A read-out of another kind has a loss of
    its own, over the words ``drawn`` by the read-out. A loss of another kind takes part by an
    attribute ``of_features``, a function with the arguments of `linear_cross_entropy`.
    """
    apart = adapted(model).apart
    of_features = None if apart is None else _of_features(apart, loss)
    whole: Any = model if apart is None or of_features is None else apart.features

    def objective(
        params: Params,
        carry: Carry,
        batch: Batch,
        *,
        key: Array | None = None,
        rows: Array | int | Share | None = None,
        drawn: Any = None,
        **options: Any,
    ) -> Measured:
        new, outputs = forward(whole, params, carry, batch, key=key, rows=rows)
        mask = mask_of(outputs, batch.mask)
        if of_features is None:
            value = loss(outputs, batch.targets, mask=mask, **options)
        else:
            value = of_features(params, outputs, batch.targets, mask=mask, drawn=drawn, **options)
        return Measured(new, outputs, mask, value)

    return objective


def draws_words(model: Model, loss: Callable[..., Array]) -> Apart | None:
    """The parts of a model whose training steps with this loss read some words only, or None."""
    apart = adapted(model).apart
    sampled = apart is not None and apart.tables and options_of_features(loss) is not None
    return apart if sampled else None


def _of_features(apart: Apart, loss: Callable[..., Array]) -> Callable[..., Array] | None:
    """``(params, features, targets, *, mask, drawn, **options)``; None where it wants outputs."""
    given = options_of_features(loss)
    if apart.loss is not None:
        return None if given is None else partial(apart.loss, **given)
    known = None if given is None else partial(linear_cross_entropy, **given)
    own: Callable[..., Array] | None = getattr(loss, "of_features", known)
    read_out = apart.read_out
    if own is None or read_out is None:
        return None

    def of_matrix(
        params: Params, features: Array, targets: Array, *, drawn: Any, **options: Any
    ) -> Array:
        w, b, axis = read_out(params)
        return own(features, w, b, targets, vocab_axis=axis, **options)

    return of_matrix


def options_of_features(loss: Any) -> dict[str, Any] | None:
    """Those of `cross_entropy` that `linear_cross_entropy` has too; None for any other loss."""
    function, given = unwrapped(loss)
    same = function is cross_entropy and given.keys() <= {"reduction", "label_smoothing"}
    return given if same else None


def unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """The function in a ``functools.partial`` of it, and the options that are given there."""
    given: dict[str, Any] = {}
    while isinstance(loss, partial):
        given = {**loss.keywords, **given}
        loss = loss.func
    return loss, given
