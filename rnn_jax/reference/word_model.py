"""The tutorial's word model, as published: a loop over the words, a double loop backwards."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rnn_jax.host.files import atomic_path

__all__ = ["Array", "Gradients", "Ids", "NumpyRNN"]

Array = NDArray[Any]
Ids = Sequence[int] | Array
Gradients = tuple[Array, Array, Array]


class NumpyRNN:
    """Recurrent language model without biases, with sliding truncated BPTT in a double loop.

        s_t = tanh(U[:, x_t] + W s_{t-1}),   s_{-1} = 0,   o_t = softmax(V s_t)

    All computation is done in the dtype of the weights.

    Args:
        U: float[H, V], input weights, one column per word.
        V: float[V, H], output weights.
        W: float[H, H], recurrent weights. The three are updated in place by `sgd_step`.

    Raises:
        ValueError: the shapes do not fit together, or the dtypes differ.

    Example:
        >>> model = NumpyRNN.init(vocab_size=8, hidden_size=4, seed=0)
        >>> x, y = [0, 5, 2], [5, 2, 1]
        >>> before = model.loss([x], [y])
        >>> for _ in range(20):
        ...     model.sgd_step(x, y, learning_rate=0.1, bptt_truncate=4)
        >>> model.loss([x], [y]) < before
        True

    Source: D. Britz, "Recurrent Neural Networks Tutorial, Part 2", wildml.com, 2015.
    """

    def __init__(self, U: Array, V: Array, W: Array) -> None:
        vocab, hidden = len(V), len(W)
        shapes = (U.shape, V.shape, W.shape)
        if shapes != ((hidden, vocab), (vocab, hidden), (hidden, hidden)):
            raise ValueError(f"U, V and W must be [H, V], [V, H] and [H, H], not {shapes}")
        if not (U.dtype == V.dtype == W.dtype and np.issubdtype(U.dtype, np.floating)):
            raise ValueError("U, V and W must have one floating dtype: convert them with astype")
        self.U, self.V, self.W = U, V, W

    @classmethod
    def init(
        cls, vocab_size: int, hidden_size: int = 100, *, seed: int, dtype: DTypeLike = np.float64
    ) -> Self:
        """Draw every weight uniformly from ±1/√n, n the fan-in: V for U, H for V and W."""
        if min(vocab_size, hidden_size) < 1:
            raise ValueError(f"sizes must be positive, not {vocab_size} and {hidden_size}")
        rng = np.random.default_rng(seed)

        def uniform(*shape: int) -> Array:
            bound = 1 / math.sqrt(shape[1])
            return rng.uniform(-bound, bound, shape).astype(dtype)

        V, H = vocab_size, hidden_size
        return cls(uniform(H, V), uniform(V, H), uniform(H, H))

    def _ids(self, tokens: Ids) -> Array:
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise ValueError(f"token ids must be int[T], not {ids.dtype}{list(ids.shape)}")
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self.V):  # -1 would wrap around
            raise ValueError(f"token ids must lie in 0 … {len(self.V) - 1}: encode the text anew")
        return ids.astype(np.intp)

    def _pair(self, x: Ids, y: Ids, bptt_truncate: int) -> tuple[Array, Array]:
        x, y = self._ids(x), self._ids(y)
        if len(x) != len(y):
            raise ValueError(f"x and y must be equally long, not {len(x)} and {len(y)} words")
        if bptt_truncate < 0:
            raise ValueError(f"bptt_truncate must be 0 or more, not {bptt_truncate}")
        return x, y

    def forward(self, x: Ids) -> tuple[Array, Array]:
        """Compute the word probabilities o [T, V] and the states s [T+1, H]; s[-1] is zero."""
        x = self._ids(x)
        T = len(x)
        s = np.zeros((T + 1, len(self.W)), self.U.dtype)
        o = np.zeros((T, len(self.V)), self.U.dtype)
        for t in range(T):
            s[t] = np.tanh(self.U[:, x[t]] + self.W @ s[t - 1])
            z = self.V @ s[t]
            e = np.exp(z - z.max())
            o[t] = e / e.sum()
        return o, s

    def predict(self, x: Ids) -> Array:
        """Return the most probable next word at each step, int[T]."""
        return np.argmax(self.forward(x)[0], axis=1)

    def total_loss(self, xs: Sequence[Ids], ys: Sequence[Ids]) -> float:
        """Sum the cross-entropy, in nats, over all words of all sentences."""
        total = 0.0
        for x, y in zip(xs, ys, strict=True):
            x, y = self._pair(x, y, 0)
            total -= float(np.log(self.forward(x)[0][np.arange(len(y)), y]).sum())
        return total

    def loss(self, xs: Sequence[Ids], ys: Sequence[Ids]) -> float:
        """Divide `total_loss` by the number of words."""
        words = sum(len(np.asarray(y)) for y in ys)
        if words == 0:
            raise ValueError("the loss of no words is undefined: give at least one word")
        return self.total_loss(xs, ys) / words

    def gradients(self, x: Ids, y: Ids, bptt_truncate: int) -> Gradients:
        """Compute dU, dV and dW of one sentence by sliding truncated BPTT.

        The loss at step t is backpropagated through the steps t, t-1, …, max(0, t-k): k+1
        applications of the recurrence, separately for each t.

        Args:
            x: int[T], the words.
            y: int[T], the words that follow them.
            bptt_truncate: k ≥ 0.

        Returns:
            dU [H, V], dV [V, H], dW [H, H].
        """
        x, y = self._pair(x, y, bptt_truncate)
        T = len(y)
        do, s = self.forward(x)
        do[np.arange(T), y] -= 1
        dU, dV, dW = np.zeros_like(self.U), np.zeros_like(self.V), np.zeros_like(self.W)
        for t in reversed(range(T)):
            dV += np.outer(do[t], s[t])
            delta = self.V.T @ do[t] * (1 - s[t] ** 2)
            for step in range(t, max(0, t - bptt_truncate) - 1, -1):
                dW += np.outer(delta, s[step - 1])
                dU[:, x[step]] += delta
                delta = self.W.T @ delta * (1 - s[step - 1] ** 2)
        return dU, dV, dW

    def sgd_step(self, x: Ids, y: Ids, learning_rate: float, bptt_truncate: int) -> None:
        """Subtract learning_rate times the gradients of one sentence from U, V and W in place."""
        dU, dV, dW = self.gradients(x, y, bptt_truncate)
        rate = float(learning_rate)  # a NumPy scalar would turn float32 into float64
        self.U -= rate * dU
        self.V -= rate * dV
        self.W -= rate * dW

    def generate(
        self,
        rng: np.random.Generator,
        *,
        start: int,
        end: int,
        unknown: int,
        min_length: int = 7,
        max_length: int = 100,
        max_draws: int = 1000,
    ) -> list[int]:
        """Sample one sentence word by word, without its markers.

        A word is drawn again if it is `unknown`, a sentence if it has fewer than `min_length`
        words. A sentence without an end is cut off after `max_length` words.

        Raises:
            ValueError: none of `max_draws` sentences is long enough.
        """
        self._ids([start, end, unknown])
        for _ in range(max_draws):
            words, word = list[int](), start
            s = np.zeros(len(self.W), self.U.dtype)
            while len(words) < max_length:
                s = np.tanh(self.U[:, word] + self.W @ s)
                z = (self.V @ s).astype(np.float64)
                z[unknown] = -np.inf  # the same distribution as drawing again
                p = np.exp(z - z.max())
                word = int(rng.choice(len(p), p=p / p.sum()))
                if word == end:
                    break
                words.append(word)
            if len(words) >= min_length:
                return words
        raise ValueError(
            f"none of {max_draws} sentences had {min_length} to {max_length} words: lower "
            "min_length or train the model longer"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write U, V and W to one .npz file, whole or not at all."""
        try:
            with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
                np.savez(file, U=self.U, V=self.V, W=self.W)
        except OSError as error:
            raise ValueError(f"cannot write {path} ({error}): choose another path") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read U, V and W from an .npz file; their dtype is kept."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["U"], arrays["V"], arrays["W"])
        except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error) as e:
            raise ValueError(f"{path} is not a readable .npz file of U, V and W: {e}") from e
