"""The word model as a good NumPy programmer would write it."""

from __future__ import annotations

import numpy as np

from rnn_jax.reference.word_model import Array, Gradients, Ids, NumpyRNN

__all__ = ["VectorisedRNN"]


class VectorisedRNN(NumpyRNN):
    """The same model, with matrix products in place of the loops over words and windows.

    The weights are copied, U into Fortran order, in which the column of a word is contiguous.

    Example:
        >>> slow = NumpyRNN.init(vocab_size=8, hidden_size=4, seed=0)
        >>> fast = VectorisedRNN(slow.U, slow.V, slow.W)
        >>> pairs = zip(slow.gradients([0, 1], [1, 2], 1), fast.gradients([0, 1], [1, 2], 1))
        >>> all(np.allclose(a, b) for a, b in pairs)
        True
    """

    def __init__(self, U: Array, V: Array, W: Array) -> None:
        super().__init__(np.array(U, order="F"), V.copy(), W.copy())

    def forward(self, x: Ids) -> tuple[Array, Array]:
        """Compute o [T, V] and s [T+1, H] as `NumpyRNN.forward` does, with a one-GEMM read-out."""
        x = self._ids(x)
        s = np.empty((len(x) + 1, len(self.W)), self.U.dtype)
        s[:-1], s[-1] = self.U.T[x], 0
        product = np.empty_like(s[0])
        for t in range(len(x)):
            np.dot(self.W, s[t - 1], out=product)
            product += s[t]
            np.tanh(product, out=s[t])
        o = s[:-1] @ self.V.T
        o -= o.max(axis=1, keepdims=True)
        np.exp(o, out=o)
        o /= o.sum(axis=1, keepdims=True)
        return o, s

    def _errors(self, x: Array, y: Array, k: int) -> tuple[Array, Array, Array, Array]:
        """Return do [T, V], s [T, H], s one step earlier [T, H] and dL/dz [T, H] for s = tanh z."""
        do, s = self.forward(x)
        do[np.arange(len(y)), y] -= 1
        s, s_before = s[:-1], np.roll(s, 1, axis=0)[:-1]
        slope = 1 - s * s
        # Row i of delta is the error at step i from the loss j steps later: all windows at once.
        delta = do @ self.V * slope
        dz = delta.copy()
        for j in range(1, min(k, len(x) - 1) + 1):
            delta = delta[1:] @ self.W
            delta *= slope[:-j]
            dz[:-j] += delta
        return do, s, s_before, dz

    def gradients(self, x: Ids, y: Ids, bptt_truncate: int) -> Gradients:
        """Compute dU [H, V], dV [V, H] and dW [H, H] as `NumpyRNN.gradients` does."""
        x, y = self._pair(x, y, bptt_truncate)
        do, s, s_before, dz = self._errors(x, y, bptt_truncate)
        dU = np.zeros_like(self.U)  # also in Fortran order
        np.add.at(dU.T, x, dz)
        return dU, do.T @ s, dz.T @ s_before

    def sgd_step(self, x: Ids, y: Ids, learning_rate: float, bptt_truncate: int) -> None:
        """Update U, V and W in place, U only in the columns of the words that occur."""
        x, y = self._pair(x, y, bptt_truncate)
        do, s, s_before, dz = self._errors(x, y, bptt_truncate)
        rate = float(learning_rate)
        dz *= rate
        np.subtract.at(self.U.T, x, dz)  # a word may occur twice
        self.V -= do.T @ (rate * s)
        self.W -= dz.T @ s_before
