"""The gated recurrent unit, in the two variants that go by that name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Unpack

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import product
from rnn_jax.cells.gated import CellOptions, GatedCell
from rnn_jax.cells.layer_norm import LayerNormGRU
from rnn_jax.cells.pointwise import PointwiseCell
from rnn_jax.types import Array, Carry, Params

__all__ = ["GRUAfter", "GRUBefore", "gru"]


@dataclass(frozen=True)
class GRUAfter(PointwiseCell):
    """Hyperparameters of ``gru(H, reset="after")``, with the pure functions of a `Cell`."""

    recurrent_bias: bool = field(default=True, kw_only=True)
    gates: ClassVar[int] = 3
    gate_names: ClassVar[tuple[str, ...]] = ("r", "z")

    def pointwise(
        self, theta: Params, carry: Carry, z: tuple[Array, ...], r: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """The equations of `gru` for one unit, gates r, z, n."""
        reset, update = (jax.nn.sigmoid(a + b) for a, b in zip(z[:2], r[:2], strict=True))
        new = jnp.tanh(z[2] + reset * r[2])
        h = (1 - update) * new + update * carry
        return h, h


@dataclass(frozen=True)
class GRUBefore(GatedCell):
    """Hyperparameters of ``gru(H, reset="before")``, with the pure functions of a `Cell`."""

    gates: ClassVar[int] = 3
    gate_names: ClassVar[tuple[str, ...]] = ("r", "z")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recurrent_bias:
            raise ValueError(
                "gru(reset='before') has no recurrent_bias: its recurrent product is a sum of two; "
                "leave it out, or take reset='after'"
            )

    def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
        """The equations of `gru`; two products, because the second one needs the reset gate."""
        w_gates, w_new = jnp.split(params["w_hh"], [2 * self.hidden_size], axis=1)
        z_gates, z_new = jnp.split(z, [2 * self.hidden_size], axis=-1)
        reset, update = jnp.split(jax.nn.sigmoid(z_gates + product(carry, w_gates)), 2, axis=-1)
        new = jnp.tanh(z_new + product(reset * carry, w_new))
        h = (1 - update) * new + update * carry
        return h, h.astype(w_new.dtype)


def gru(
    hidden_size: int,
    *,
    reset: Literal["after", "before"] = "after",
    layer_norm: bool = False,
    **options: Unpack[CellOptions],
) -> GRUAfter | GRUBefore | LayerNormGRU:
    """The gated recurrent unit: an update gate that keeps, a reset gate that forgets.

    ``r_t = σ(x_t W_r + h_{t-1} R_r + b_r)``, ``z_t = σ(x_t W_z + h_{t-1} R_z + b_z)``, then

    - ``reset="after"``: ``n_t = tanh(x_t W_n + b_n + r_t ⊙ (h_{t-1} R_n + b_hn))``, as in PyTorch,
      cuDNN and Keras' default;
    - ``reset="before"``: ``n_t = tanh(x_t W_n + b_n + (r_t ⊙ h_{t-1}) R_n)``, as in the paper, D2L
      and Haiku;

    and ``h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}``, ``y_t = h_t``.

    Parameters: ``{"w_ih": [D, 3H], "w_hh": [H, 3H], "b": [3H]}``, the gates in the order r, z, n,
    and with "after" also ``"b_hh": [3H]``, whose last third is ``b_hn``; matrices uniform in
    ±1/√fan-in, biases zero.

    Args:
      hidden_size: ``H``.
      reset: whether the reset gate acts after or before the recurrent product.
      layer_norm: whether the products are normalised, with "after" only; see `LayerNormGRU`.
      **options: see `CellOptions`; with "after", ``recurrent_bias`` is what ``bias`` is.

    Returns:
      A `Cell`; its carry is ``h [B, H]``.

    Raises:
      ValueError: ``hidden_size`` is not a positive integer, ``reset`` is neither, or
        ``layer_norm`` comes with ``reset="before"``.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.gru(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnn_jax.unroll(cell, params, None, jax.numpy.ones((5, 4, 2)))
      >>> carry.shape, ys.shape
      ((4, 3), (5, 4, 3))

    Reference:
      Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014.
    """
    if reset == "after":
        options.setdefault("recurrent_bias", options.get("bias", True))
        return (LayerNormGRU if layer_norm else GRUAfter)(hidden_size, **options)
    if reset == "before":
        if layer_norm:
            raise ValueError("gru(reset='before') has no layer_norm: take reset='after'")
        return GRUBefore(hidden_size, **options)
    raise ValueError(f"reset must be 'after' or 'before', not {reset!r}")
