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
    """An operation: ``forward(*inputs)``, and ``backward(*inputs, dz)`` to their gradients."""

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
    """Everything that one step computes: ``U x``, ``W s_before``, their sum, ``s``, ``V s``."""

    mulu: Array
    mulw: Array
    add: Array
    s: Array
    mulv: Array


def layer_forward(x: Array, s_before: Array, U: Array, V: Array, W: Array) -> Step:
    """One step of the model from a one-hot word ``x [V]`` and the state before, through the gates.

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
        s_before: float[H], the state before.
        U: float[H, V].
        V: float[V, H].
        W: float[H, H].
        ds: float[H], what later steps send back to this step's state.
        dmulv: float[V], what this step's loss sends back to V s.

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
    """The word model with its gradients from the gates, and per-sentence mean losses.

    `gradients` are those of `NumpyRNN`, of a sentence's summed loss; the loss that is reported is
    the mean over sentences of the mean over their words.

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
        """Average the mean losses of the sentences, each of at least one word."""
        if not len(xs):
            raise ValueError("the loss of no sentences is undefined: give at least one sentence")
        mean = super().loss
        return float(np.mean([mean([x], [y]) for x, y in zip(xs, ys, strict=True)]))

    def gradients(self, x: Ids, y: Ids, bptt_truncate: int) -> Gradients:
        """Compute dU, dV and dW with two loops: from each word, ``bptt_truncate`` words back."""
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
        """Compute dU, dV and dW of the whole sentence with one loop, in which ds is carried back.

        The article's proposal: what the steps after t send back to s_t is one vector, however many
        they are, so that nothing needs to be walked twice.
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
        """Return the one-hot words, the state before each, and what each loss sends back to V s."""
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
