"""The network that adds binary numbers, as published: one example per update, bit by bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rnn_jax.reference.word_model import Array

__all__ = ["NumpyAdder", "draw_addends", "to_bits"]


def to_bits(numbers: ArrayLike, bits: int) -> Array:
    """The binary digits of ``int[...]`` as ``int[bits, ...]``, the lowest first.

    Example:
        >>> to_bits([1, 6], 3).tolist()
        [[1, 0], [0, 1], [0, 1]]
    """
    return np.stack([np.asarray(numbers) >> place & 1 for place in range(bits)])


def draw_addends(rng: np.random.RandomState, count: int, bits: int = 8) -> Array:
    """``int[count, 2]`` below 2^(bits-1), so that their sum has no more than ``bits`` digits.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> adder = NumpyAdder.init(rng)
        >>> draw_addends(rng, 1001)[::1000].tolist()  # as in the published run
        [[9, 60], [28, 35]]
    """
    return rng.randint(2 ** (bits - 1), size=(count, 2))


class NumpyAdder:
    """Sigmoid RNN without biases that reads two numbers bit by bit and writes their sum.

        h_t = σ(x_t W_ih + h_{t-1} W_hh),   h_0 = 0,   o_t = σ(h_t W_ho)

    Its loss is half the squared error, summed over the bits.

    Args:
        w_ih: float[2, H].
        w_hh: float[H, H].
        w_ho: float[H, 1]. The three are updated in place by `step`.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> adder = NumpyAdder.init(rng)
        >>> a, b = draw_addends(rng, 1)[0]
        >>> error, total = adder.step(a, b)
        >>> print(f"{error:.8f}, {a} + {b} = {total}")  # as published
        3.45638663, 9 + 60 = 1

    Source: A. Trask, "Anyone Can Learn To Code an LSTM-RNN in Python", iamtrask.github.io, 2015.
    """

    def __init__(self, w_ih: Array, w_hh: Array, w_ho: Array) -> None:
        self.w_ih, self.w_hh, self.w_ho = w_ih, w_hh, w_ho

    @classmethod
    def init(cls, rng: np.random.RandomState, hidden_size: int = 16) -> NumpyAdder:
        """Draw every weight uniformly from ±1, in the order of the publication."""
        if hidden_size < 1:
            raise ValueError(f"hidden_size must be positive, not {hidden_size}")
        shapes = (2, hidden_size), (hidden_size, 1), (hidden_size, hidden_size)
        w_ih, w_ho, w_hh = (2 * rng.random_sample(shape) - 1 for shape in shapes)
        return cls(w_ih, w_hh, w_ho)

    def step(self, a: int, b: int, *, bits: int = 8, rate: float = 0.1) -> tuple[float, int]:
        """Learn from one sum, by gradient descent through all its bits.

        Args:
            a: one addend.
            b: the other one; the sum must have no more than ``bits`` digits.
            bits: T, the number of steps.
            rate: the learning rate.

        Returns:
            The absolute error, summed over the bits, and the network's answer.
        """
        xs, ys = to_bits([a, b], bits), to_bits(a + b, bits)
        states, deltas = [np.zeros(len(self.w_hh))], []
        error, total = 0.0, 0
        for t in range(bits):
            states.append(_sigmoid(xs[t] @ self.w_ih + states[-1] @ self.w_hh))
            output = _sigmoid(states[-1] @ self.w_ho)
            deltas.append((ys[t] - output) * output * (1 - output))
            error += float(np.abs(ys[t] - output)[0])
            total |= int(np.round(output[0])) << t
        update_ih, update_hh, update_ho = map(np.zeros_like, (self.w_ih, self.w_hh, self.w_ho))
        later = np.zeros(len(self.w_hh))
        for t in reversed(range(bits)):
            state = states[t + 1]
            delta = (later @ self.w_hh.T + deltas[t] @ self.w_ho.T) * state * (1 - state)
            update_ho += np.outer(state, deltas[t])
            update_hh += np.outer(states[t], delta)
            update_ih += np.outer(xs[t], delta)
            later = delta
        self.w_ih += rate * update_ih
        self.w_hh += rate * update_hh
        self.w_ho += rate * update_ho
        return error, total


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
