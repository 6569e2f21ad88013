"""The loss of a model over a batch, of its features where its logits would be many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from rnn_jax.layers.base import adapted
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.losses.linear_cross_entropy import linear_cross_entropy
from rnn_jax.training.checks import mask_of
from rnn_jax.training.forward import forward
from rnn_jax.types import Array, Batch, Carry, Model, Params, Share

__all__ = ["Measured", "Objective", "make_objective", "unwrapped"]


class Measured(NamedTuple):
    """What a model comes to over a batch.

    outputs: of the model, or what its read-out reads: of either only the leading axes count.
    mask: of the outputs, as `mask_of` has it.
    """

    carry: Carry
    outputs: Array
    mask: Array | None
    loss: Array


class Objective(Protocol):
    """``(params, carry, batch, …) -> Measured``; options beside key and rows are the loss's."""

    def __call__(
        self,
        params: Params,
        carry: Carry,
        batch: Batch,
        *,
        key: Array | None = None,
        rows: Array | int | Share | None = None,
        **options: Any,
    ) -> Measured:
        """The batch's loss, and what else is found on the way."""
        ...


def make_objective(model: Model, loss: Callable[..., Array]) -> Objective:
    """The loss of a model over a batch.

    `cross_entropy` becomes `linear_cross_entropy` where the model ends in a linear read-out: the
    same values, which hold no logits where these are many. A loss of another kind takes part by an
    attribute ``of_features``, a function with the arguments of `linear_cross_entropy`.
    """
    apart, of_features = adapted(model).apart, _of_features(loss)

    def objective(
        params: Params,
        carry: Carry,
        batch: Batch,
        *,
        key: Array | None = None,
        rows: Array | int | Share | None = None,
        **options: Any,
    ) -> Measured:
        whole: Model | Any = model if apart is None or of_features is None else apart.features
        new, outputs = forward(whole, params, carry, batch, key=key, rows=rows)
        mask = mask_of(outputs, batch.mask)
        if apart is None or of_features is None:
            value = loss(outputs, batch.targets, mask=mask, **options)
        else:
            w, b, axis = apart.read_out(params)
            value = of_features(outputs, w, b, batch.targets, mask=mask, vocab_axis=axis, **options)
        return Measured(new, outputs, mask, value)

    return objective


def _of_features(loss: Callable[..., Array]) -> Callable[..., Array] | None:
    """The loss of the features and the matrix of a read-out; None where it wants the outputs."""
    own: Callable[..., Array] | None = getattr(loss, "of_features", None)
    if own is not None:
        return own
    function, given = unwrapped(loss)
    if function is cross_entropy and given.keys() <= {"reduction", "label_smoothing"}:
        return partial(linear_cross_entropy, **given)
    return None


def unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """The function in a ``functools.partial`` of it, and the options that are given there."""
    given: dict[str, Any] = {}
    while isinstance(loss, partial):
        given = {**loss.keywords, **given}
        loss = loss.func
    return loss, given
