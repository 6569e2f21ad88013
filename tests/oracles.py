"""Gradients of the word model under each truncation, in float64 by plain loops over time.

`sliding_gradients` is the published double loop; the others stand on `window_gradients`, which
shares no code with it: a single backward loop that carries the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnn_jax.reference import NumpyRNN

Array = NDArray[Any]
Gradients = tuple[Array, Array, Array]


def final_state(U: Array, W: Array, x: ArrayLike) -> Array:
    """The state [H] after all the words x [T], from zero."""
    s = np.zeros(len(W))
    for word in np.asarray(x, int):
        s = np.tanh(U[:, word] + W @ s)
    return s


def window_gradients(
    U: Array,
    V: Array,
    W: Array,
    x: ArrayLike,
    y: ArrayLike,
    s0: Array,
    weights: ArrayLike | None = None,
) -> Gradients:
    """dU, dV, dW of Σ_t weights_t·loss_t by full BPTT over the window x, from the constant s0."""
    x, y = np.asarray(x, int), np.asarray(y, int)
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    states = [np.asarray(s0, float)]
    for word in x:
        states.append(np.tanh(U[:, word] + W @ states[-1]))
    dU, dV, dW = np.zeros(U.shape), np.zeros(V.shape), np.zeros(W.shape)
    ds = np.zeros(len(W))
    for t in reversed(range(len(x))):
        before, s = states[t], states[t + 1]
        p = np.exp(V @ s)
        do = weights[t] * (p / p.sum() - np.eye(len(V))[y[t]])
        dV += do[:, None] * s
        dz = (V.T @ do + ds) * (1 - s**2)
        dU += dz[:, None] * np.eye(len(V))[x[t]]
        dW += dz[:, None] * before
        ds = W.T @ dz
    return dU, dV, dW


def full_gradients(U: Array, V: Array, W: Array, x: ArrayLike, y: ArrayLike) -> Gradients:
    """BPTT without truncation."""
    return window_gradients(U, V, W, x, y, np.zeros(len(W)))


def sliding_gradients(
    U: Array, V: Array, W: Array, x: ArrayLike, y: ArrayLike, k: int
) -> Gradients:
    """Each loss through its own k+1 applications of the recurrence: the published double loop."""
    return NumpyRNN(*(np.asarray(a, np.float64) for a in (U, V, W))).gradients(
        np.asarray(x), np.asarray(y), k
    )


def tail_gradients(U: Array, V: Array, W: Array, x: ArrayLike, y: ArrayLike, k: int) -> Gradients:
    """Only the last min(T, k) steps are differentiated; earlier losses count nowhere."""
    x, y = np.asarray(x, int), np.asarray(y, int)
    cut = max(0, len(x) - k)
    return window_gradients(U, V, W, x[cut:], y[cut:], final_state(U, W, x[:cut]))


def chunked_gradients(
    U: Array, V: Array, W: Array, x: ArrayLike, y: ArrayLike, window: int
) -> Gradients:
    """Cut into windows from the start; the state goes on, the error stops at each cut."""
    x, y = np.asarray(x, int), np.asarray(y, int)
    dU, dV, dW = np.zeros(U.shape), np.zeros(V.shape), np.zeros(W.shape)
    for a in range(0, len(x), window):
        b = a + window
        u, v, w = window_gradients(U, V, W, x[a:b], y[a:b], final_state(U, W, x[:a]))
        dU, dV, dW = dU + u, dV + v, dW + w
    return dU, dV, dW
