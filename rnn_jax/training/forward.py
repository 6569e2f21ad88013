"""A model over a batch, with all that travels beside the batch's inputs."""

from __future__ import annotations

from typing import Any

import jax

from rnn_jax.arrays.masking import check_mask
from rnn_jax.layers.options import check_takes
from rnn_jax.recurrence.layouts import batch_shape_of
from rnn_jax.types import Array, Batch, Carry, Model, Params, Share

__all__ = ["forward"]


def forward(
    model: Model,
    params: Params,
    carry: Carry,
    batch: Batch,
    *,
    key: Array | None = None,
    rows: Array | int | Share | None = None,
) -> tuple[Carry, Array]:
    """The carry and the outputs after a batch; where there is a source, after reading that first.

    Args:
      model: the model.
      params: its parameters.
      carry: before the batch; None: the initial one, or that of the source.
      batch: the batch.
      key: for noise.
      rows: of the batch within a larger one, for noise; see `Along`.

    Raises:
      ValueError: the resets are not ``bool[T, B]``, the model takes none, or it reads no source, or
        it has a carry of before and a source.
    """
    along: dict[str, Any] = {"mask": batch.mask}
    of_rows: dict[str, Any] = {}
    if key is not None and rows is not None:
        check_takes(model, ["rows"])
        of_rows["rows"] = rows
    if batch.resets is not None:
        shape = (batch.inputs.shape[0], *batch_shape_of(batch.inputs))
        check_mask(batch.resets, shape, "resets")
        check_takes(model, ["resets"])
        along["resets"] = batch.resets
    if batch.source is not None:
        encode = getattr(model, "encode", None)
        if encode is None:
            raise ValueError(
                f"{model!r:.60} reads no source: leave source out of the batch, or use an "
                "encoder_decoder"
            )
        if carry is not None:
            raise ValueError(
                "a batch with a source starts from what is read there, and cannot continue the one "
                "before it: make the state without batch_shape"
            )
        reading = None
        if key is not None:
            key, reading = jax.random.split(key)
        carry = encode(params, batch.source, batch.source_mask, key=reading, **of_rows)
    return model.apply(params, carry, batch.inputs, key=key, **along, **of_rows)
