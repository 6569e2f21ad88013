"""Ridge regression in closed form, which fits the read-out of an echo state network."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.checks import check_array
from rnn_jax.arrays.masking import check_mask, expand, fill_masked
from rnn_jax.host.checks import not_negative
from rnn_jax.jaxprs import is_traced
from rnn_jax.types import Array

__all__ = ["ridge"]


def ridge(
    features: Array,
    targets: Array,
    *,
    penalty: float | Array,
    washout: int = 0,
    mask: Array | None = None,
) -> dict[str, Array]:
    """The affine read-out of least squared error, with a penalty on its weights.

    ``w, b = argmin Σ_t ‖y_t w + b - target_t‖² + penalty ‖w‖²``, over unmasked steps from
    ``washout`` on; the bias is not penalised. Predict with ``features @ w + b``.

    It is solved by a QR decomposition of the centred features stacked on ``√penalty`` times the
    identity. This loses digits in proportion to the condition number; the normal equations
    ``(YᵀY + penalty I) w = Yᵀ target`` would lose them in proportion to its square, and the states
    of a reservoir are nearly collinear. The computation is in float64 where JAX has it enabled, and
    in float32 otherwise.

    Args:
      features: ``float[T, B, H]``, such as the outputs of `echo_state`; any batch shape.
      targets: ``float[T, B, O]``.
      penalty: at least 0; with 0 the centred features must be linearly independent.
      washout: the number of steps left out at the start of every row, where the state still
        depends on the initial one.
      mask: ``bool[T, B]``; where False, neither features nor targets are read.

    Returns:
      ``{"w": [H, O], "b": [O]}`` in the dtype of the features.

    Raises:
      ValueError: these are no arrays, or complex; the shapes do not fit, the penalty is negative or
        not finite, or washout and mask leave no step (under jit the read-out is NaN instead).

    Example:
      >>> import jax.numpy as jnp
      >>> steps = jnp.arange(5.0)[:, None]
      >>> readout = ridge(steps, 3 * steps + 1, penalty=0.0)
      >>> f"{readout['w'][0, 0]:.3f} {readout['b'][0]:.3f}"
      '3.000 1.000'

    Reference:
      Hoerl and Kennard, Ridge regression, Technometrics 12 (1970); Lukoševičius, A practical guide
      to applying echo state networks (2012).
    """
    check_array("features", features, "float[T, B, H]")
    check_array("targets", targets, "float[T, B, O]")
    if not isinstance(penalty, int | float):
        check_array("the penalty", penalty, "float[]")
    if features.ndim < 2 or features.shape[:-1] != targets.shape[:-1]:
        raise ValueError(
            f"features {features.shape} and targets {targets.shape} do not fit: pass "
            "float[T, B, H] and float[T, B, O]"
        )
    check_mask(mask, features.shape[:-1])
    not_negative(washout=washout)
    if not is_traced(penalty) and not 0 <= penalty < math.inf:
        raise ValueError(f"penalty must be finite and at least 0, not {penalty}")
    if washout >= features.shape[0]:
        raise ValueError(
            f"a washout of {washout} leaves none of {features.shape[0]} steps: make it smaller"
        )
    valid = jnp.ones(features.shape[:-1], bool) if mask is None else mask
    valid = valid[washout:].reshape(-1)
    if not valid.size or not (is_traced(valid) or np.asarray(valid).any()):
        raise ValueError(
            f"a washout of {washout} and the mask leave no step to fit: leave some valid steps"
        )
    dtype = jnp.promote_types(features.dtype, jnp.zeros((), jnp.result_type(float)).dtype)
    count = valid.sum().astype(dtype)

    def centred(xs: Array) -> tuple[Array, Array]:
        rows = xs[washout:].reshape(-1, xs.shape[-1]).astype(dtype)
        rows = fill_masked(rows, valid)
        mean = rows.sum(0) / count
        return jnp.where(expand(valid, rows), rows - mean[None], 0), mean

    (x, x_mean), (y, y_mean) = centred(features), centred(targets)
    size = x.shape[1]
    root = jnp.sqrt(jnp.asarray(penalty, dtype))
    q, upper = jnp.linalg.qr(jnp.concatenate([x, root * jnp.eye(size, dtype=dtype)]))
    # Under jit nothing may be left to fit: 0/0 is NaN, and so is the read-out.
    w = jax.scipy.linalg.solve_triangular(upper, q[: len(x)].T @ y)
    w = w * (count / count)
    b = y_mean - x_mean @ w
    return {"w": w.astype(features.dtype), "b": b.astype(features.dtype)}
