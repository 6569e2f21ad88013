"""A connection around a layer."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_jax.arrays.masking import fill_masked
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.layers.base import check_layer, run
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["Residual", "residual"]


@dataclass(frozen=True)
class Residual(Wrapper):
    """Hyperparameters of `residual`, with the pure functions of a `Layer`."""

    @property
    def input_table(self) -> None:
        """None: it reads features."""
        return None

    def init(self, key: Array, input_size: int) -> Params:
        """The layer's parameters; its outputs must be of the size of its inputs."""
        self._check_sizes(input_size, self.output_size or input_size)
        return self.layer.init(key, input_size)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``xs + layer(xs)``."""
        self._check_features(xs)
        carry, ys = run(self.layer, params, carry, xs, along, every=every)
        self._check_sizes(xs.shape[-1], ys.shape[-1])
        return carry, fill_masked(xs, along.mask).astype(ys.dtype) + ys

    def _check_features(self, xs: Array) -> None:
        if is_ids(xs):
            raise ValueError(
                f"residual() adds inputs to outputs, and token ids ({xs.dtype}) are no features: "
                "put an embedding below"
            )

    def _check_sizes(self, input_size: int, output_size: int) -> None:
        if input_size != output_size:
            raise ValueError(
                f"residual() adds inputs of size {input_size} to outputs of size {output_size}: "
                "give the layer the size of its inputs"
            )


def residual(layer: Layer) -> Residual:
    """A layer that adds to its input instead of replacing it: gradients pass it unhindered.

    ``y_t = x_t + layer(x)_t``; zero where the mask is False.

    Parameters and carry are the layer's.

    Args:
      layer: a `Layer` whose outputs have the size of its inputs, ``float[T, B, D]``.

    Returns:
      A `Layer`, causal if the inner one is.

    Raises:
      ValueError: something that is not a layer. ``init`` and ``apply`` raise it for sizes that
        differ, ``apply`` for token ids.

    Example:
      >>> import jax, rnn_jax
      >>> layer = residual(rnn_jax.recurrent(rnn_jax.elman(3)))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> layer.apply(params, None, jax.numpy.ones((5, 4, 3)))[1].shape
      (5, 4, 3)

    Reference:
      He et al., Deep residual learning for image recognition, CVPR 2016; in recurrent stacks: Wu et
      al., Google's neural machine translation system, arXiv:1609.08144.
    """
    check_layer("residual", layer)
    return Residual(layer)
