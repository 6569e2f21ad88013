"""Truncations chosen by measured bias, where the decay of gradients is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.diagnostics import adaptive_truncation, gradient_flow

H = 3


def linear(decay: float) -> tuple[Any, Any]:
    """``c_t = ρ c_{t-1} + x_t + b``, whose gradients shrink by ρ a step."""
    layer = r.recurrent(r.elman(H, activation=lambda a: a))
    params = layer.init(jax.random.key(0), H)
    return layer, {**params, "w_hh": decay * jnp.eye(H)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("decay", [0.3, 0.8, 0.85])
@pytest.mark.parametrize("bound", [0.5, 0.1, 0.01])
def test_a_linear_network_of_known_decay(decay: float, bound: float) -> None:
    layer, params = linear(decay)
    length = 40
    xs = jax.random.normal(jax.random.key(1), (length, 2, H))
    found = adaptive_truncation(gradient_flow(layer, params, None, xs), bound)
    assert found.decay == pytest.approx(decay, rel=1e-6)
    # The geometric series: ρ^(k+1) of the gradient is lost, and nearly all of it was measured.
    whole = 1 - 2 * decay**length
    expected = next(k for k in range(999) if decay ** (k + 1) / whole <= bound)
    assert found.steps == expected
    np.testing.assert_allclose(found.bias, decay ** np.arange(1, length + 1) / whole, rtol=1e-6)

    def bias_of(kind: Any) -> float:
        """That of the gradient of b from a loss at the last step."""

        def loss(params: Any, kind: Any) -> Any:
            return r.truncate(layer, kind).apply(params, None, xs)[1][-1].sum()

        short, full = (jax.grad(loss)(params, k)["b"] for k in (kind, r.full()))
        return float(jnp.linalg.norm(short - full) / jnp.linalg.norm(full))

    assert bias_of(found.kind) <= bound
    if expected:
        assert bias_of(r.sliding(expected - 1)) > bound * 0.8


def test_a_reach_beyond_the_lags_that_were_measured() -> None:
    few = adaptive_truncation(0.9 ** np.arange(12), 0.001)
    # ρ^(k+1) / (1 - 2 ρ^12) ≤ 0.001
    expected = next(k for k in range(999) if 0.9 ** (k + 1) / (1 - 2 * 0.9**12) <= 0.001)
    assert few.steps == expected > 12


def test_where_there_is_no_bound_or_nothing_to_bound() -> None:
    growing = adaptive_truncation(1.1 ** np.arange(9), 0.1)
    assert growing.steps is None and growing.kind == r.full() and np.isinf(growing.bias).all()
    slow = adaptive_truncation(0.99 ** np.arange(5), 0.1)  # most of the gradient lies beyond
    assert slow.steps is None and slow.decay == pytest.approx(0.99)
    assert adaptive_truncation([1.0, 0.5, 0.0, 0.0], 0.1).steps == 1  # ends by itself
    assert adaptive_truncation([1.0, 0.0, 0.0], 0.1).steps == 0
    assert adaptive_truncation([0.0, 0.0], 0.1).steps == 0
    assert adaptive_truncation([2.0, 0.1], 0.5).steps == 0


@pytest.mark.parametrize(
    "norms, bound, message",
    [
        ([1.0, 0.5], 0.0, r"must lie in \(0, 1\), not 0\.0"),
        ([1.0, 0.5], 1, r"must lie in \(0, 1\), not 1"),
        ([1.0, 0.5], float("nan"), r"must lie in \(0, 1\), not nan"),
        ([1.0], 0.1, "at least two lags"),
        ([1.0, float("nan")], 0.1, "finite and at least 0"),
        ([1.0, -0.5], 0.1, "finite and at least 0"),
    ],
)
def test_bad_input(norms: Any, bound: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adaptive_truncation(norms, bound)


def test_all_lags_are_needed() -> None:
    layer, params = linear(0.5)
    flow = gradient_flow(layer, params, None, jnp.ones((6, H)), lags=[0, 2])
    with pytest.raises(ValueError, match="lags are left out"):
        adaptive_truncation(flow, 0.1)
