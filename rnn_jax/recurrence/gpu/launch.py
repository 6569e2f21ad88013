"""One kernel for what one block does: its operands, its results and its shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rnn_jax.jaxprs import kernel
from rnn_jax.recurrence.gpu.form import Form
from rnn_jax.recurrence.gpu.product import resident

__all__ = ["launch"]


def launch(
    form: Form, block: Callable[..., None], read: Any, written: Any, exchange: jax.ShapeDtypeStruct
) -> Any:
    """What the kernel writes.

    Args:
      form: what is fixed.
      block: of ``read`` and ``written`` as references, the exchange, and where rows of the matrix
        are read.
      read: a tree of arrays; its ``matrix`` is kept in shared memory where `Form.resident` says so.
      written: a tree of the shapes of the results.
      exchange: the array in shared memory through which the units of a step see each other.
    """
    operands, reads = jax.tree.flatten(read)
    outputs, writes = jax.tree.flatten(written)

    def body(*refs: Any) -> None:
        cut = len(operands) + len(outputs)
        source = jax.tree.unflatten(reads, refs[: len(operands)])
        target = jax.tree.unflatten(writes, refs[len(operands) : cut])
        shared, *copies = refs[cut:]
        block(source, target, shared, resident(form, source.matrix, copies))

    scratch = [exchange]
    if form.resident:
        scratch.append(form.vector(form.units * form.gates, dtype=form.dtype))
    call = kernel(body, outputs, scratch, form.blocks, interpret=form.interpret)
    return jax.tree.unflatten(writes, call(*operands))
