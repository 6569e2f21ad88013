"""The word model as a graph of small operations, each with its backward pass written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnn_jax.reference.word_model import Array, Gradients, Ids, NumpyRNN

__all__ = ["GATES", "Gate", "OperationGraphRNN", "Step", "layer_backward", "layer_forward"]


@dataclass(frozen=True)
class Gate:
    """An operation: ``forward(*inputs)``, and ``backward(*inputs, dz)``, the inputs' gradients."""

    forward: Callable[..., Array]
    backward: Callable[..., tuple[Array, ...]]


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    p: Array = e / e.sum()
    return p


multiply = Gate(lambda w, x: w @ x, lambda w, x, dz: (np.outer(dz, x), w.T @ dz))
add = Gate(lambda a, b: a + b, lambda a, b, dz: (dz, dz))
tanh = Gate(np.tanh, lambda x, dz: ((1 - np.tanh(x) ** 2) * dz,))
cross_entropy = Gate(
    lambda z, onehot: -np.log(_softmax(z) @ onehot),
    lambda z, onehot, dz: ((_softmax(z) - onehot) * dz,),  # the target has no gradient
)

GATES = {"multiply": multiply, "add": add, "tanh": tanh, "cross-entropy": cross_entropy}


class Step(NamedTuple):
    """All that one step computes: ``U x``, ``W s_before``, their sum, ``s`` and ``V s``."""

    mulu: Array
    mulw: Array
    add: Array
    s: Array
    mulv: Array


def layer_forward(x: Array, s_before: Array, U: Array, V: Array, W: Array) -> Step:
    """One step of the model through the gates, from a one-hot word ``x [V]`` and the state before.

    Example:
        >>> U = np.ones((2, 4))
        >>> step = layer_forward(np.eye(4)[1], np.zeros(2), U, U.T, np.eye(2))
        >>> step.mulv.shape
        (4,)
    """
    mulu, mulw = multiply.forward(U, x), multiply.forward(W, s_before)
    total = add.forward(mulw, mulu)
    s = tanh.forward(total)
    return Step(mulu, mulw, total, s, multiply.forward(V, s))


def layer_backward(
    x: Array, s_before: Array, U: Array, V: Array, W: Array, ds: Array, dmulv: Array
) -> tuple[Array, Array, Array, Array]:
    """Back through the gates of one step.

    Args:
        x: float[V], the one-hot word.
        s_before: float[H], the state before the step.
        U: float[H, V].
        V: float[V, H].
        W: float[H, H].
        ds: float[H], the gradient of this step's state from later steps.
        dmulv: float[V], the gradient of V s from this step's loss.

    Returns:
        The gradients of s_before, U, V and W.
    """
    step = layer_forward(x, s_before, U, V, W)
    dV, ds_readout = multiply.backward(V, step.s, dmulv)
    (dadd,) = tanh.backward(step.add, ds_readout + ds)
    dmulw, dmulu = add.backward(step.mulw, step.mulu, dadd)
    dW, ds_before = multiply.backward(W, s_before, dmulw)
    dU, _ = multiply.backward(U, x, dmulu)
    return ds_before, dU, dV, dW


class OperationGraphRNN(NumpyRNN):
    """The word model with gradients computed by the gates and losses averaged per sentence.

    `gradients` returns what `NumpyRNN` does, the gradients of the summed loss of a sentence; the
    reported loss is the mean over the sentences of the mean over their words.

    Example:
        >>> plain = NumpyRNN.init(vocab_size=8, hidden_size=4, seed=0)
        >>> graph = OperationGraphRNN(plain.U, plain.V, plain.W)
        >>> a, b = (model.gradients([0, 5, 2], [5, 2, 1], 1) for model in (plain, graph))
        >>> all(map(np.allclose, a, b))
        True

    Source: "Implementing Recurrent Neural Network from Scratch",
    github.com/pangolulu/rnn-from-scratch.
    """

    def loss(self, xs: Sequence[Ids], ys: Sequence[Ids]) -> float:
        """Average the mean losses of the sentences, which have at least one word each."""
        if not len(xs):
            raise ValueError("the loss of no sentences is undefined: give at least one sentence")
        mean = super().loss
        return float(np.mean([mean([x], [y]) for x, y in zip(xs, ys, strict=True)]))

    def gradients(self, x: Ids, y: Ids, bptt_truncate: int) -> Gradients:
        """Compute dU, dV and dW in a double loop: from each word, ``bptt_truncate`` words back."""
        x, y = self._pair(x, y, bptt_truncate)
        words, before, dmulv = self._forward(x, y)
        sums = [np.zeros_like(weight) for weight in (self.U, self.V, self.W)]
        for t in range(len(x)):
            ds, from_loss = np.zeros(len(self.W)), dmulv[t]
            for i in range(t, max(-1, t - bptt_truncate - 1), -1):
                ds, *parts = layer_backward(
                    words[i], before[i], self.U, self.V, self.W, ds, from_loss
                )
                for total, part in zip(sums, parts, strict=True):
                    total += part
                from_loss = np.zeros_like(from_loss)
        return sums[0], sums[1], sums[2]

    def full_gradients(self, x: Ids, y: Ids) -> Gradients:
        """Compute dU, dV and dW of the whole sentence in one loop that carries ds back.

        This is the article's proposal: however many steps follow t, the gradient they send back to
        s_t is one vector, so no step needs to be visited twice.
        """
        x, y = self._pair(x, y, 0)
        words, before, dmulv = self._forward(x, y)
        sums = [np.zeros_like(weight) for weight in (self.U, self.V, self.W)]
        ds = np.zeros(len(self.W))
        for t in reversed(range(len(x))):
            ds, *parts = layer_backward(words[t], before[t], self.U, self.V, self.W, ds, dmulv[t])
            for total, part in zip(sums, parts, strict=True):
                total += part
        return sums[0], sums[1], sums[2]

    def _forward(self, x: Array, y: Array) -> tuple[Array, list[Array], list[Array]]:
        """Return the one-hot words, the state before each, and the gradient of each loss in V s."""
        words, targets = _one_hot(x, len(self.V)), _one_hot(y, len(self.V))
        before, dmulv = [np.zeros(len(self.W))], []
        for word, target in zip(words, targets, strict=True):
            step = layer_forward(word, before[-1], self.U, self.V, self.W)
            before.append(step.s)
            dmulv.append(cross_entropy.backward(step.mulv, target, 1.0)[0])
        return words, before[:-1], dmulv


def _one_hot(ids: Array, size: int) -> Array:
    rows = np.zeros((len(ids), size))
    rows[np.arange(len(ids)), ids] = 1
    return rows
