"""Batches of a stream of tokens as data on the device."""

from __future__ import annotations

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

import rnn_jax

__all__ = ["consecutive", "stacked"]


def stacked(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> rnn_jax.Windows:
    """The batches of one epoch, such as `rnn_jax.text.random_batches` cuts them, as `Windows`.

    Example:
      >>> from rnn_jax.text import sequential_batches
      >>> data = stacked(sequential_batches(range(35), 2, 5, np.random.default_rng(0)))
      >>> data.inputs.shape
      (2, 5, 2)
    """
    inputs, targets = zip(*pairs, strict=True)
    return rnn_jax.Windows(jnp.asarray(np.stack(inputs)), jnp.asarray(np.stack(targets)))


def consecutive(ids: np.ndarray, batch_size: int, seq_length: int) -> rnn_jax.Windows:
    """All of ``ids [N]`` but a remainder, as ``B`` rows that continue from window to window.

    Unlike `rnn_jax.text.sequential_batches` it drops no random offset: each call sees the same
    tokens.

    Raises:
      ValueError: there are too few tokens for one window of ``batch_size`` rows.

    Example:
      >>> data = consecutive(np.arange(14), 2, 3)
      >>> data.inputs[:, :, 0].tolist(), data.targets[-1, :, 1].tolist()
      ([[0, 1, 2], [3, 4, 5]], [10, 11, 12])
    """
    count = (len(ids) - 1) // batch_size // seq_length
    if count < 1:
        raise ValueError(
            f"{len(ids)} tokens are too few for {batch_size} rows of {seq_length}: use a longer "
            "text, fewer rows or shorter windows"
        )
    used = batch_size * count * seq_length
    inputs, targets = (
        jnp.asarray(side.reshape(batch_size, count, seq_length).transpose(1, 2, 0), jnp.int32)
        for side in (ids[:used], ids[1 : used + 1])
    )
    return rnn_jax.Windows(inputs, targets)
