"""A recurrent classifier: a sequence in, logits of its class out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import jax.numpy as jnp

from rnn_jax.arrays.masking import at_last_valid, expand, fill_masked
from rnn_jax.host.checks import check_members, positive
from rnn_jax.layers.base import adapted, check_layer, run
from rnn_jax.models.read_out import ReadOut, read_out
from rnn_jax.types import Along, Array, Carry, Layer, Params, state_dtype

__all__ = ["Pooling", "SequenceClassifier", "sequence_classifier"]

Pooling = Literal["last", "mean", "max"]


@dataclass(frozen=True)
class SequenceClassifier(ReadOut):
    """Hyperparameters of `sequence_classifier`, with pure functions in the manner of a `Model`."""

    classes: int
    layer: Layer
    input_size: int
    bias: bool = True
    pooling: Pooling = "last"

    def __post_init__(self) -> None:
        positive(classes=self.classes, input_size=self.input_size)
        if self.pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {get_args(Pooling)}, not {self.pooling!r}")

    @property
    def output_size(self) -> int:
        """``C``."""
        return self.classes

    @property
    def causal(self) -> bool:
        """False: its one output has read the whole sequence. Truncate the layer inside."""
        return False

    @property
    def one_output(self) -> bool:
        """True."""
        return True

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """A sequence ``float[T, B, D]`` or ``int[T, B]`` to the new carry and ``float[B, C]``."""
        self._refuse_integer_features(xs)
        check_members(self, params, "layer", "readout")
        part = params["layer"]
        if self.pooling == "last":
            carry, pooled = adapted(self.layer).run_last(part, carry, xs, along)
        else:
            carry, ys = run(self.layer, part, carry, xs, along, every=every)
            pooled = _POOLING[self.pooling](ys, along.mask)
        return carry, read_out(params["readout"], pooled)


def _mean(ys: Array, mask: Array | None) -> Array:
    ys = ys.astype(state_dtype(ys.dtype))  # bfloat16 does not know the number 257
    count = jnp.asarray(ys.shape[0]) if mask is None else expand(mask.sum(axis=0), ys[0])
    return fill_masked(ys, mask).sum(axis=0) / jnp.maximum(count, 1).astype(ys.dtype)


def _max(ys: Array, mask: Array | None) -> Array:
    valid = jnp.ones(ys.shape[:-1], bool) if mask is None else mask
    low = jnp.where(expand(valid, ys), ys, jnp.asarray(-jnp.inf, ys.dtype))
    return fill_masked(low.max(axis=0, initial=-jnp.inf), valid.any(axis=0))


_POOLING = {"last": at_last_valid, "mean": _mean, "max": _max}


def sequence_classifier(
    classes: int,
    layer: Layer,
    *,
    input_size: int,
    bias: bool = True,
    pooling: Pooling = "last",
) -> SequenceClassifier:
    """A classifier of whole sequences: recurrent part, linear read-out of its last output.

    ``y = layer(x)``, ``logits = y_T W + b``, where ``T`` is each row's last valid step; a row
    without one has the logits ``b``. What runs in reverse ends at the first valid step, and there
    its output is read: of a `bidirectional` layer, ``[fwd(x)_T, bwd(x)_1]`` or their sum, which
    are the final states that PyTorch and Keras hand out. Or the outputs of all valid steps are
    pooled: ``logits = mean_t(y_t) W + b``, or with ``max_t(y_t)``, feature by feature.

    Parameters: ``{"layer": …, "readout": {"w": [H, C], "b": [C]}}``; ``w`` uniform in ±1/√H, ``b``
    zero.

    Args:
      classes: ``C``.
      layer: the recurrent part, a `Layer`; its carry is the model's.
      input_size: ``D``, or the number of ids.
      bias: whether the read-out has a bias.
      pooling: "last", "mean" or "max", what of all outputs is read.

    Returns:
      A model: ``init(key)``, ``apply(params, carry, xs, mask=…) -> (carry, float[B, C])`` for
      ``float[T, B, D]`` or ``int[T, B]``. For `make_train_step` the targets are ``int[B]`` and the
      loss leaves out the mask of the steps, as below.

    Raises:
      ValueError: sizes that are not positive, something that is not a layer, or an unknown
        pooling. ``apply`` raises it where no output is the last of a layer that reads in both
        directions, and for integers that look like features ``[T, B, D]``.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = sequence_classifier(3, rnn_jax.recurrent(rnn_jax.gru(8)), input_size=2)
      >>> params = model.init(jax.random.key(0))
      >>> xs, mask = jnp.ones((7, 4, 2)), rnn_jax.length_mask(jnp.array([7, 3, 1, 0]), 7)
      >>> carry, logits = model.apply(params, None, xs, mask=mask)
      >>> logits.shape
      (4, 3)
      >>> def loss(logits, targets, *, mask):
      ...     return rnn_jax.cross_entropy(logits, targets)
      >>> step = rnn_jax.make_train_step(model, rnn_jax.sgd(0.1), loss=loss)
      >>> state = rnn_jax.init_train_state(model, rnn_jax.sgd(0.1), params)
      >>> state, metrics = step(state, rnn_jax.Batch(xs, jnp.array([0, 2, 1, 1]), mask))

    Reference:
      Sutskever, Vinyals and Le, Sequence to sequence learning with neural networks, NeurIPS 2014,
      for the last state as a summary of its sequence.
    """
    check_layer("sequence_classifier", layer)
    return SequenceClassifier(classes, layer, input_size, bias, pooling)
