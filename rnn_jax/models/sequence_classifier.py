"""A recurrent classifier: a sequence in, logits of its class out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import at_last_valid
from rnn_jax.arrays.products import affine
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import positive
from rnn_jax.layers.base import BaseLayer, adapted, check_layer, run
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["SequenceClassifier", "sequence_classifier"]


@dataclass(frozen=True)
class SequenceClassifier(BaseLayer):
    """Hyperparameters of `sequence_classifier`, with pure functions in the manner of a `Model`."""

    classes: int
    layer: Layer
    input_size: int
    bias: bool = True
    one_output: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(classes=self.classes, input_size=self.input_size)

    @property
    def output_size(self) -> int:
        """``C``."""
        return self.classes

    @property
    def causal(self) -> bool:
        """False: its one output has read the whole sequence. Truncate the layer inside."""
        return False

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        table = adapted(self.layer).input_table
        return None if table is None else ("layer", *table)

    def init(self, key: Array) -> Params:
        """``{"layer", "readout": {"w", "b"?}}``; see `sequence_classifier`."""
        layer_key, readout_key = jax.random.split(key)
        features = self.layer.output_size or self.input_size
        readout = {"w": uniform_fan_in(readout_key, (features, self.classes))}
        if self.bias:
            readout["b"] = jnp.zeros(self.classes)
        return {"layer": self.layer.init(layer_key, self.input_size), "readout": readout}

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The recurrent part's initial carry."""
        return self.layer.initial_carry(batch_shape, None if params is None else params["layer"])

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """A sequence ``float[T, B, D]`` or ``int[T, B]`` to the new carry and ``float[B, C]``."""
        carry, ys = run(self.layer, params["layer"], carry, xs, along, every=every)
        readout = params["readout"]
        return carry, affine(at_last_valid(ys, along.mask), readout["w"], readout.get("b"))


def sequence_classifier(
    classes: int, layer: Layer, *, input_size: int, bias: bool = True
) -> SequenceClassifier:
    """A classifier of whole sequences: recurrent part, linear read-out of its last output.

    ``y = layer(x)``, ``logits = y_T W + b``, where ``T`` is each row's last valid step; a row
    without one has the logits ``b``. Of a `bidirectional` layer the reversed half has, at that
    step, read that step alone.

    Parameters: ``{"layer": …, "readout": {"w": [H, C], "b": [C]}}``; ``w`` uniform in ±1/√H, ``b``
    zero.

    Args:
      classes: ``C``.
      layer: the recurrent part, a `Layer`; its carry is the model's.
      input_size: ``D``, or the number of ids.
      bias: whether the read-out has a bias.

    Returns:
      A model: ``init(key)``, ``apply(params, carry, xs, mask=…) -> (carry, float[B, C])`` for
      ``float[T, B, D]`` or ``int[T, B]``. For `make_train_step` the targets are ``int[B]`` and the
      loss leaves out the mask of the steps, as below.

    Raises:
      ValueError: sizes that are not positive, or something that is not a layer.

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
    return SequenceClassifier(classes, layer, input_size, bias)
