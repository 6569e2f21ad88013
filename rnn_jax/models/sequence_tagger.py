"""A recurrent model with an output for every step: tags, or numbers to regress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rnn_jax.arrays.masking import check_mask
from rnn_jax.host.checks import check_members, positive
from rnn_jax.layers.base import Apart, check_layer, run
from rnn_jax.models.read_out import Features, ReadOut, read_out
from rnn_jax.recurrence.layouts import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["SequenceTagger", "sequence_tagger"]


@dataclass(frozen=True)
class SequenceTagger(ReadOut):
    """Hyperparameters of `sequence_tagger`, with the pure functions of a `Model`."""

    outputs: int
    layer: Layer
    input_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        positive(outputs=self.outputs, input_size=self.input_size)

    @property
    def output_size(self) -> int:
        """``C``."""
        return self.outputs

    @property
    def causal(self) -> bool:
        """Whether the recurrent part is."""
        return self.layer.causal

    @property
    def recurrent_part(self) -> Layer:
        """The layer below the read-out."""
        return self.layer

    def over(self, layer: Layer) -> SequenceTagger:
        """The same model over another recurrent part; all else acts on each step alone."""
        return dataclasses.replace(self, layer=layer)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``float[T, B, D]`` or ``int[T, B]`` to the new carry and ``float[T, B, C]``.

        Outputs at masked steps are those of a zero feature vector; losses mask them.
        """
        carry, ys = self.run_features(params, carry, xs, along, every=every)
        return carry, read_out(params["readout"], ys)

    @property
    def apart(self) -> Apart:
        """The layer, and the read-out's matrix."""

        def matrix(params: Params) -> tuple[Array, Array | None, int]:
            readout = params["readout"]
            return readout["w"], readout.get("b"), 1

        return Apart(Features(self), matrix, ("readout",))

    def run_features(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The new carry, and what the read-out reads, ``float[T, B, H]``."""
        self._refuse_integer_features(xs)
        check_members(self, params, "layer", "readout")
        check_mask(along.mask, (*xs.shape[:1], *batch_shape_of(xs)))
        return run(self.layer, params["layer"], carry, xs, along, every=every)


def sequence_tagger(
    outputs: int, layer: Layer, *, input_size: int, bias: bool = True
) -> SequenceTagger:
    """A model with an output for every step, for tagging and regression: a per-step linear head.

    ``h = layer(x)``, ``y_t = h_t W + b``.

    Parameters: ``{"layer": …, "readout": {"w": [H, C], "b": [C]}}``; ``w`` uniform in ±1/√H, ``b``
    zero. With an `echo_state` inside, the read-out may be that of `ridge`.

    Args:
      outputs: ``C``, the number of tags, or of values to regress.
      layer: the recurrent part, a `Layer`; its carry is the model's. A `bidirectional` one lets
        every output read the whole sequence.
      input_size: ``D``, or the number of ids.
      bias: whether the read-out has a bias.

    Returns:
      A `Model`: ``init(key)``, ``apply(params, carry, xs, mask=…) -> (carry, float[T, B, C])`` for
      ``float[T, B, D]`` or ``int[T, B]``. It trains by `make_train_step`: on tags ``int[T, B]``
      with `cross_entropy`, on values ``float[T, B, C]`` with `mean_squared_error`.

    Raises:
      ValueError: sizes that are not positive, or something that is not a layer. ``apply`` raises it
        for integers that look like features ``[T, B, D]``.

    Example:
      >>> import jax, jax.numpy as jnp, optax, rnn_jax
      >>> model = sequence_tagger(1, rnn_jax.recurrent(rnn_jax.gru(8)), input_size=2)
      >>> optimizer = optax.adam(0.01)
      >>> step = rnn_jax.make_train_step(model, optimizer, loss=rnn_jax.mean_squared_error)
      >>> state = rnn_jax.init_train_state(model, optimizer, model.init(jax.random.key(0)))
      >>> xs = jax.random.normal(jax.random.key(1), (7, 4, 2))
      >>> mask = rnn_jax.length_mask(jnp.array([7, 3, 1, 0]), 7)
      >>> batch = rnn_jax.Batch(xs, xs.cumsum(0)[..., :1], mask)
      >>> state, metrics = jax.jit(step)(state, batch)
      >>> int(metrics["tokens"])
      11

    Reference:
      Graves, Supervised sequence labelling with recurrent neural networks, Springer 2012.
    """
    check_layer("sequence_tagger", layer)
    return SequenceTagger(outputs, layer, input_size, bias)
