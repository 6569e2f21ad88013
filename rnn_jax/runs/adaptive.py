"""The truncation of a run with ``--bptt adaptive:0.1``: measured again every so many steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.diagnostics import adaptive_truncation, gradient_flow
from rnn_jax.losses.cross_entropy import cross_entropy
from rnn_jax.training import SentenceStream, TrainState, Windows
from rnn_jax.training.batches import Batches
from rnn_jax.truncation import Truncation, full, sliding
from rnn_jax.types import Array, Batch, Carry, Model, Params

__all__ = ["EVERY", "Adaptive", "measured_truncation", "rounded"]

EVERY = 200  # training steps from one measurement to the next, counted from the run's start
# A measurement takes one backward pass for each step of a few rows.
_ROWS, _STEPS = 8, 128
_LOGITS = 1 << 21  # of those rows and steps; some of the backward passes run side by side


@dataclass(frozen=True)
class Adaptive:
    """The ``adapt`` of `rnn_jax.fit` that keeps the measured bias within a bound."""

    model: Model
    bound: float
    every: int = EVERY

    def __call__(self, state: TrainState, batches: Batches, index: int) -> Truncation | None:
        """The truncation from batch ``index`` on; None where the batch tells nothing."""
        assert isinstance(batches, SentenceStream | Windows)
        return measured_truncation(
            self.model, state.params, state.carry, batches, index, self.bound
        )


def rounded(steps: int | None, length: int) -> Truncation:
    """`sliding` by so many steps in batches of ``length``: by the next power of two, or `full`.

    So that few truncations are ever compiled, however often they are measured.

    Example:
      >>> [rounded(steps, 35) for steps in (0, 5, 33, None)]
      [Sliding(steps=1), Sliding(steps=8), Full(), Full()]
    """
    reach = length if steps is None else 1 << max(0, steps - 1).bit_length()
    return sliding(reach) if reach < length - 1 else full()


def measured_truncation(
    model: Model,
    params: Params,
    carry: Carry,
    batches: Windows | SentenceStream,
    index: int,
    bound: float,
) -> Truncation | None:
    """The truncation that keeps the relative bias of a model's gradient within ``bound``.

    It depends on the state and the batch alone, so that a resumed run finds the same.

    Args:
      model: not truncated.
      params: its parameters.
      carry: before the batch; None where every batch begins anew.
      batches: those of the epoch.
      index: the batch to measure on: its first rows, at most eight, and of them at most 128 steps,
        without noise.
      bound: the relative bias that is tolerated.

    Returns:
      The truncation; None where the batch tells nothing, because its rows have less than two steps
      or the gradient is not finite.
    """
    lengths = batches.buckets if isinstance(batches, SentenceStream) else batches.inputs.shape[1:2]
    inputs, targets, mask = _first_rows(batches, index, max(lengths))
    used = int(mask.any(1).sum())
    # One of the lengths that batches have, because each is compiled.
    length = min(next(n for n in lengths if n >= used), _STEPS)
    rows = max(1, min(_ROWS, _LOGITS // (length * model.output_size)))
    inputs, targets, mask = (side[:length, :rows] for side in (inputs, targets, mask))
    carry = jax.tree.map(lambda c: c[:rows], carry)
    norms = np.asarray(_mean_norms(model, params, carry, inputs, targets, mask))
    norms = norms[: min(used, length)]
    if len(norms) < 2 or not np.isfinite(norms).all():
        return None
    return rounded(adaptive_truncation(norms, bound).steps, max(lengths))


@partial(jax.jit, static_argnums=2)
def _first_rows(
    batches: Windows | SentenceStream, index: int, length: int
) -> tuple[Array, Array, Array]:
    """Inputs, targets and mask of some rows of a batch, padded to ``length`` steps."""

    def consume(_: tuple[Array, Array, Array], batch: Batch) -> tuple[Array, Array, Array]:
        mask = jnp.ones(batch.inputs.shape, bool) if batch.mask is None else batch.mask
        fill = [(0, length - batch.inputs.shape[0]), (0, 0)]
        inputs, targets, mask = (
            jnp.pad(side[:, :_ROWS], fill) for side in (batch.inputs, batch.targets, mask)
        )
        return inputs, targets, mask

    rows = min(batches.batch_size, _ROWS)
    empty = jnp.zeros((length, rows), jnp.int32)
    inputs, targets, mask = batches.visit(
        jnp.asarray(index), consume, (empty, empty, empty.astype(bool))
    )
    return inputs, targets, mask


@partial(jax.jit, static_argnums=0)
def _mean_norms(
    model: Model, params: Params, carry: Carry, inputs: Array, targets: Array, mask: Array
) -> Array:
    loss = partial(cross_entropy, targets=targets, mask=mask, reduction="none")
    return gradient_flow(model, params, carry, inputs, loss=loss, mask=mask).mean
