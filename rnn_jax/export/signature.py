"""A layer or model as a function of arrays alone, with names for what it reads and writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.masking import length_mask
from rnn_jax.export.reads import reads
from rnn_jax.layers.base import BaseLayer, check_layer, inside
from rnn_jax.models.encoder_decoder import EncoderDecoder
from rnn_jax.truncation.truncate import Truncated
from rnn_jax.types import Array, Layer, Model, Params, state_dtype

__all__ = ["Port", "Program", "program_of", "struct_of"]

# What a layer may raise for parameters or an input that it was not made for.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Port(NamedTuple):
    """One input or output: its name, its shape with ``"T"`` and ``"B"`` where free, its dtype."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


class Program(NamedTuple):
    """A layer or model with its parameters, as a function of arrays alone.

    run: takes the inputs one by one, and returns a tuple of the outputs.
    inputs: the sequence, the lengths if they are asked for, the leaves of the carry.
    outputs: the names of what comes out.
    initial: the leaves of the initial carry of one row.
    """

    run: Callable[..., tuple[Array, ...]]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    initial: tuple[np.ndarray, ...]


def program_of(
    member: Layer | Model,
    params: Params,
    *,
    what: str,
    lengths: bool = False,
    input_size: int | None = None,
    tokens: bool | None = None,
) -> Program:
    """The program of a layer or model; noise is left out.

    Args:
      member: the layer or model.
      params: its parameters.
      what: the name of the function that exports it, for messages.
      lengths: whether the lengths of the rows are an input.
      input_size: the features of an input; None: told by the parameters.
      tokens: whether it reads token ids; None: only if it can read nothing else.

    Raises:
      ValueError: it is no layer or model, or reads two sequences, or its input cannot be told.

    Example:
      >>> import rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.lstm(3))
      >>> params = layer.init(jax.random.key(0), 5)
      >>> program = program_of(layer, params, what="to_stablehlo")
      >>> for port in program.inputs:
      ...     print(*port)
      xs ('T', 'B', 5) float32
      carry_in.0 ('B', 3) float32
      carry_in.1 ('B', 3) float32
      >>> program.outputs
      ('ys', 'carry_out.0', 'carry_out.1')
    """
    check_layer(what, member, or_model=True)
    if any(isinstance(part, EncoderDecoder) for part in inside(member)):
        raise ValueError(
            "an encoder-decoder reads two sequences: export its encoder and its decoder, each with "
            "its part of the parameters"
        )
    member = _untruncated(member)
    # Plain arrays of this process become constants of the program, wherever they lay before.
    params = jax.tree.map(np.asarray, jax.device_get(params))
    leaves, tree = jax.tree.flatten(jax.device_get(member.initial_carry((), params)))

    def run(xs: Array, *more: Array) -> tuple[Array, ...]:
        mask = length_mask(more[0], xs.shape[0]) if lengths else None
        before = jax.tree.unflatten(tree, more[1 if lengths else 0 :])
        after, ys = member.apply(jax.tree.map(jnp.asarray, params), before, xs, mask=mask)
        return ys, *jax.tree.leaves(after)

    read = reads(member, params, tokens, input_size)
    first = Port("tokens", ("T", "B"), "int32")
    if not read.ids:
        first = Port("xs", ("T", "B", read.size), _dtype(params))
    beside = [Port("lengths", ("B",), "int32")] if lengths else []
    beside += [Port(f"carry_in.{i}", ("B", *c.shape), str(c.dtype)) for i, c in enumerate(leaves)]
    inputs = (first, *beside)
    try:
        jax.eval_shape(run, *(struct_of(port, {"T": 1, "B": 1}) for port in inputs))
    except _UNREADABLE as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"{what}() was given parameters that do not fit the {type(member).__name__} ({why}): "
            "pass the parameters of its own init, and their number of features as input_size="
        ) from error
    outputs = ["logits" if read.model else "ys", *(f"carry_out.{i}" for i in range(len(leaves)))]
    return Program(run, inputs, tuple(outputs), tuple(leaves))


def _untruncated(value: Any) -> Any:
    """The same without `truncate` anywhere inside, which changes no value."""
    while isinstance(value, Truncated):
        value = value.layer
    if isinstance(value, tuple):
        return tuple(map(_untruncated, value))
    if not isinstance(value, BaseLayer) or not dataclasses.is_dataclass(value):
        return value
    parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    new = {name: _untruncated(part) for name, part in parts.items()}
    changed = {name: part for name, part in new.items() if part != parts[name]}
    return dataclasses.replace(value, **changed) if changed else value


def struct_of(port: Port, sizes: Mapping[str, Any]) -> Any:
    """The shape and dtype of an input, its T and B of these sizes."""
    make: Any = jax.ShapeDtypeStruct  # not annotated
    return make(tuple(sizes[n] if isinstance(n, str) else n for n in port.shape), port.dtype)


def _dtype(params: Params) -> str:
    floating = [leaf.dtype for leaf in jax.tree.leaves(params) if leaf.dtype.kind != "c"]
    return str(state_dtype(jnp.result_type(*floating)) if floating else jnp.dtype("float32"))
