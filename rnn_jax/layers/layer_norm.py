"""Layer normalisation between layers."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, fill_masked
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.cells.layer_norm import scale, standardize
from rnn_jax.host.checks import member, positive
from rnn_jax.layers.base import BaseLayer
from rnn_jax.types import Along, Array, Carry, Params, state_dtype

__all__ = ["LayerNorm", "layer_norm"]


@dataclass(frozen=True)
class LayerNorm(BaseLayer):
    """Hyperparameters of `layer_norm`, with the pure functions of a `Layer`."""

    bias: bool = True

    def init(self, key: Array, input_size: int) -> Params:
        """``{"gain": [D], "b"?: [D]}``; see `layer_norm`."""
        positive(input_size=input_size)
        params = {"gain": jnp.ones(input_size)}
        return {**params, "b": jnp.zeros(input_size)} if self.bias else params

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``LN(xs)``; see `layer_norm`."""
        if is_ids(xs):
            raise ValueError(
                f"layer_norm normalises features, not token ids ({xs.dtype}): put it above the "
                "first layer or give the model an embedding"
            )
        mask = along.mask
        check_mask(mask, xs.shape[:-1])
        gain, b = member(self, params, "gain"), params.get("b")
        for name, vector in {"gain": gain, **({} if b is None else {"b": b})}.items():
            check_array(f"the {name} of layer_norm", vector, "float[D]")
            if vector.shape != xs.shape[-1:]:
                raise ValueError(
                    f"the {name} of layer_norm has shape {vector.shape}, but the inputs have "
                    f"{xs.shape[-1]} features: pass parameters made for their size"
                )
        # What stands at masked steps may be NaN, whose gradient no later zero undoes.
        features = fill_masked(xs, mask).astype(state_dtype(gain.dtype))
        ys = scale(standardize(features), gain, b)
        return (), fill_masked(ys.astype(gain.dtype), mask)


def layer_norm(*, bias: bool = True) -> LayerNorm:
    """The layer that gives the features of each step, by itself, mean 0 and variance 1.

    ``y_t = (x_t - mean(x_t)) / √(variance(x_t) + 1e-5) ⊙ gain + b``, with the statistics of the
    ``D`` features, float32 at the least; zero where the mask is False.

    ``residual(serial(layer_norm(), layer))`` is a pre-norm block: however large the sum of the
    blocks below has become, the layer reads features of one size. For a norm inside the recurrence
    see ``lstm(H, layer_norm=True)``.

    Parameters: ``{"gain": [D], "b": [D]}`` (no "b" without bias), one and zero at first.

    Args:
      bias: whether there is a bias.

    Returns:
      A `Layer` of ``float[T, B, D]`` to the same shape, in the parameters' dtype; its carry is
      empty.

    Raises:
      ValueError: ``apply`` raises it for token ids and for inputs of another size.

    Example:
      >>> import jax, rnn_jax
      >>> block = rnn_jax.residual(rnn_jax.serial(layer_norm(), rnn_jax.recurrent(rnn_jax.lstm(8))))
      >>> deep = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.lstm(8)), *[block] * 4, layer_norm())
      >>> params = deep.init(jax.random.key(0), 5)
      >>> deep.apply(params, None, jax.numpy.ones((7, 3, 5)))[1].shape
      (7, 3, 8)

    Reference:
      Ba, Kiros and Hinton, Layer normalization, arXiv:1607.06450 (2016); before the layer of a
      residual block: Xiong et al., On layer normalization in the transformer architecture, ICML
      2020.
    """
    return LayerNorm(bias)
