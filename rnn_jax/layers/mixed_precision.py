"""Products in bfloat16 beside parameters, states and sums in float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnn_jax.jaxprs import vary_over, varying_axes
from rnn_jax.layers.base import Apart, BaseLayer, adapted, check_layer
from rnn_jax.types import Along, Array, Carry, Layer, Model, Params, state_dtype

__all__ = ["MixedPrecision", "mixed_precision"]


@dataclass(frozen=True)
class MixedPrecision(BaseLayer):
    """A layer or model whose products are narrow; made by `mixed_precision`."""

    layer: Layer | Model
    dtype: jnp.dtype

    @property
    def output_size(self) -> int | None:
        """That of the layer."""
        return self.layer.output_size

    @property
    def causal(self) -> bool:
        """That of the layer."""
        return self.layer.causal

    @property
    def reverse(self) -> bool:
        """That of the layer."""
        return adapted(self.layer).reverse

    @property
    def one_output(self) -> bool:
        """That of the layer."""
        return adapted(self.layer).one_output

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """That of the layer."""
        return adapted(self.layer).input_table

    @property
    def recurrent_part(self) -> Layer:
        """The model's, or the layer itself: what is truncated, or recomputed, in there."""
        layer: Any = self.layer
        part = adapted(layer).recurrent_part
        return layer if part is None else part

    def over(self, layer: Layer) -> MixedPrecision:
        """The same over another recurrent part."""
        base = adapted(self.layer)
        inner = layer if base.recurrent_part is None else base.over(layer)
        return dataclasses.replace(self, layer=inner)

    @property
    def apart(self) -> Apart | None:
        """The model's parts, with this around both."""
        apart = adapted(self.layer).apart
        if apart is None:
            return None
        inner: Any = apart.features
        return apart.within(dataclasses.replace(self, layer=inner), self.rounded, path=False)

    @property
    def encode(self) -> Callable[..., Carry]:
        """That of an encoder-decoder; no other model has one."""
        encode = self.layer.encode  # type: ignore[union-attr]

        def narrow(
            params: Params, source: Array, mask: Array | None = None, *, key: Array | None = None
        ) -> Carry:
            carry: Carry = encode(self.rounded(params), self._features(source), mask, key=key)
            return carry

        return narrow

    def init(self, key: Array, *input_size: int) -> Params:
        """The layer's parameters, as they are without this: float32."""
        return self.layer.init(key, *input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The layer's initial carry, float32."""
        return self.layer.initial_carry(batch_shape, self.rounded(params))

    def rounded(self, params: Params) -> Params:
        """The parameters as the layer reads them: matrices narrow, vectors float32.

        ``apply`` does this at every call. Where one array of parameters serves many calls, as in
        `stream`, it can be done once: ``apply`` takes the result as well, and leaves it alone.
        """

        def one(leaf: Array) -> Array:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return jnp.asarray(leaf, self.dtype if leaf.ndim > 1 else state_dtype(self.dtype))

        return jax.tree.map(one, params)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The layer, to the new carry and outputs of float32."""
        layer = adapted(self.layer)
        read = self._read(params, carry, xs, along)
        results = layer.run(read, carry, self._features(xs), along, every=every)
        return _as_handed_in(carry, *results)

    def run_last(
        self, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        """That of the layer."""
        layer = adapted(self.layer)
        read = self._read(params, carry, xs, along)
        results = layer.run_last(read, carry, self._features(xs), along)
        return _as_handed_in(carry, *results)

    def _read(self, params: Params, *beside: Any) -> Params:
        """The rounded parameters; inside ``shard_map`` devices' gradients are added as float32."""
        return self.rounded(vary_over(varying_axes(*beside), params))

    def _features(self, xs: Array) -> Array:
        return xs.astype(self.dtype) if jnp.issubdtype(xs.dtype, jnp.floating) else xs


def _as_handed_in(carry: Carry, new: Carry, ys: Array) -> tuple[Carry, Array]:
    """Wide outputs, and the new carry in the dtypes of the one before: a loop can hand it on."""
    if carry is not None:
        new = jax.tree.map(lambda c, like: c.astype(like.dtype), new, carry)
    return new, ys.astype(state_dtype(ys.dtype))


@overload
def mixed_precision(layer: Layer, dtype: DTypeLike = jnp.bfloat16) -> Layer: ...
@overload
def mixed_precision(layer: Model, dtype: DTypeLike = jnp.bfloat16) -> Model: ...
def mixed_precision(layer: Any, dtype: DTypeLike = jnp.bfloat16) -> Layer | Model:
    """The same layer or model with its matrix products in bfloat16, and all else in float32.

    ``f(θ, x) → f(bf16(θ), bf16(x))``, where of the parameters ``θ`` the matrices are rounded. Half
    the bytes of weights are read in a step, and products run on a device's bfloat16 units. What
    bfloat16's 8 bits would lose stays in float32:

    - the parameters, which an optimiser updates and a file keeps: beside a weight of 1 an update
      of less than 1/512 would change nothing;
    - the sums inside every product, forwards and backwards, and over all steps and rows;
    - the carry, to which an LSTM adds at every step, and all that is computed unit by unit;
    - vectors (biases, gains, eigenvalues), statistics of a layer norm, logits, and so losses.

    A weight's gradient is rounded to bfloat16 once, after it has been summed over all steps and
    rows, and reaches the optimiser as float32. bfloat16 has the exponents of float32: no gradient
    vanishes for being small, and the loss needs no scaling.

    Parameters and carry are the layer's.

    Args:
      layer: a `Layer`, or a `Model`. `truncate` and `remat` may stand inside or around.
      dtype: bfloat16.

    Returns:
      A `Layer` (or `Model`) that takes parameters, inputs and carries of float32 and returns
      carries and outputs of float32. ``rounded(params)`` is what it makes of its parameters.

    Raises:
      ValueError: something that is not a layer, or another dtype. Derivatives are in reverse mode
        only: ``jvp`` and ``jacfwd`` raise it.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = mixed_precision(rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.lstm(8))))
      >>> params, tokens = model.init(jax.random.key(0)), jnp.array([[3, 1], [4, 1], [5, 9]])
      >>> def loss(params):
      ...     return rnn_jax.cross_entropy(model.apply(params, None, tokens[:-1])[1], tokens[1:])
      >>> {str(leaf.dtype) for leaf in jax.tree.leaves([params, jax.grad(loss)(params)])}
      {'float32'}
      >>> model.rounded(params)["layer"]["w_hh"].dtype
      dtype(bfloat16)

    Reference:
      Micikevicius et al., Mixed precision training, ICLR 2018; bfloat16: Kalamkar et al., A study
      of bfloat16 for deep learning training, arXiv:1905.12322.
    """
    check_layer("mixed_precision", layer, or_model=True)
    return MixedPrecision(layer, _checked(dtype))


def _checked(dtype: DTypeLike) -> jnp.dtype:
    try:
        known = jnp.dtype(dtype)
    except TypeError:
        raise ValueError(f"mixed_precision() takes the dtype bfloat16, not {dtype!r}") from None
    if known == jnp.float16:
        raise ValueError(
            "mixed_precision() takes bfloat16, not float16: there, small gradients vanish unless "
            "the loss is scaled"
        )
    if known == jnp.float32:
        raise ValueError(
            "mixed_precision() takes bfloat16: float32 is what a model has without it; leave it out"
        )
    if known != jnp.bfloat16:
        raise ValueError(f"mixed_precision() takes the dtype bfloat16, not {known.name}")
    return known
