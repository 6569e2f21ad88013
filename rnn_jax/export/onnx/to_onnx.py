"""A layer or model as an ONNX file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from rnn_jax.export.onnx.flow import Flow, Stream, guarded
from rnn_jax.export.onnx.graph import Graph
from rnn_jax.export.onnx.models import model_nodes
from rnn_jax.export.onnx.proto import library, model_of
from rnn_jax.export.onnx.rules import Unsupported
from rnn_jax.export.onnx.translate import Sizes
from rnn_jax.export.reads import Reads, bare, reads
from rnn_jax.host.files import atomic_path, reason
from rnn_jax.layers.base import adapted, check_layer
from rnn_jax.models import EncoderDecoder
from rnn_jax.types import Layer, Model, Params

__all__ = ["OPSET", "to_onnx"]

# The first with LayerNormalization, of 2022: whatever reads ONNX today reads it. What its recurrent
# operators mean has been the same since opset 7.
OPSET = 17
_LARGEST = 2**31 - 1  # bytes of a protocol buffer


def to_onnx(
    layer: Layer | Model,
    params: Params,
    file: str | os.PathLike[str],
    *,
    lengths: bool = False,
    tokens: bool | None = None,
    input_size: int | None = None,
    dtype: DTypeLike = "float32",
    opset: int = OPSET,
    ir_version: int | None = None,
) -> None:
    """Write a trained layer or model as an ONNX file, which runs without this package or JAX.

    The file computes what ``apply`` does without a key: dropout, zoneout and weight drop are those
    of inference, truncations and `remat` are left out, and `mixed_precision` is the float32 layer
    that it stands around. `elman`, `gru` and `lstm`, with peepholes too, become ONNX's own
    operators RNN, GRU and LSTM, both directions of a `bidirectional` layer one of them. Every other
    cell, and one of your own, becomes a Scan over the steps, and a layer of your own what its
    ``apply`` computes.

    ``T`` and ``B`` are free, of at least 1. Inputs, in this order:

    - ``xs float[T, B, D]``, or ``tokens int64[T, B]``;
    - ``lengths int32[B]``, if asked for: a row is padding from there on, which holds the carry and
      gives zeros (a model's logits are then those of zeros); a row of length 0 keeps its carry;
    - ``carry_in.0``, ``carry_in.1``, … ``float[B, …]``, the leaves of the initial carry, in the
      order of ``jax.tree.leaves``: of an LSTM ``h`` and ``c``. They start as zeros; where they are
      learned, the file's metadata hold them, as lists in JSON under ``initial_carry``.

    Outputs: ``ys float[T, B, O]``, or of a model ``logits``; then ``carry_out.0``, …, which are the
    next call's ``carry_in``: a sequence may be read in one call, in chunks, or step by step. Where
    the metadata's ``causal`` is "false", as of a bidirectional layer, they are only the last states
    of both directions, and a sequence must be read in one call.

    An id outside the vocabulary is an error of the runtime.

    Args:
      layer: a `Layer` or a `Model`.
      params: its parameters, float32.
      file: where to write; whole, or not at all.
      lengths: whether the rows have lengths of their own.
      tokens: whether the input is token ids, which are one-hot vectors. None: for a
        `language_model`, and where the lowest layer is an `embedding`.
      input_size: ``D``, or the number of ids; None where the parameters tell.
      dtype: "float32", or "float16" for weights, inputs and outputs of half the size.
      opset: the version of ONNX's operators, 17 or later.
      ir_version: that of the file's format; None for the oldest that the opset goes with.

    Raises:
      ValueError: onnx is not installed (the extra ``onnx``); a layer that has no form in ONNX,
        named with what it uses; an encoder-decoder, whose parts are exported by themselves;
        parameters that are not float32 or do not fit; an unknown dtype, opset or format; or the
        file cannot be written.

    Example:
      >>> import jax, rnn_jax, tempfile
      >>> from rnn_jax.export import to_onnx
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.gru(8)), embedding_size=4)
      >>> params, file = model.init(jax.random.key(0)), f"{tempfile.mkdtemp()}/model.onnx"
      >>> to_onnx(model, params, file)
      >>> import onnx
      >>> [node.op_type for node in onnx.load(file).graph.node if "GRU" in node.op_type]
      ['GRU']

    Reference:
      Open Neural Network Exchange, Operator Schemas, https://onnx.ai/onnx/operators/.
    """
    onnx = library()
    check_layer("to_onnx", layer, or_model=True)
    if isinstance(bare(layer), EncoderDecoder):
        raise ValueError(
            "to_onnx() writes an encoder-decoder as two files: pass its encoder with "
            "params['encoder'], and its decoder with params['decoder'], whose carry_in is the "
            "encoder's carry_out"
        )
    kind = _checked_dtype(dtype)
    version = _checked_version(onnx, opset, ir_version)
    _check_params(params, kind)
    params = jax.tree.map(jnp.asarray, params)
    graph = Graph(kind, opset)
    try:
        read = reads(layer, params, tokens, input_size)
        notes = _write(graph, layer, params, read, lengths)
    except Unsupported as error:
        raise ValueError(f"to_onnx() cannot write {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"to_onnx() was given parameters that do not fit the {type(bare(layer)).__name__} "
            f"({why}): pass those of its init"
        ) from error
    graph.prune()
    size = sum(array.nbytes for array in graph.shared.arrays.values())
    if size > _LARGEST:
        raise ValueError(
            f"the parameters take {size / 2**30:.1f} GiB, and an ONNX file holds 2: pass "
            "dtype='float16', or export a smaller model"
        )
    model = model_of(graph, type(bare(layer)).__name__, version, notes)
    target = Path(file)
    try:
        with atomic_path(target) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {reason(error)}") from None


def _write(
    graph: Graph, layer: Layer | Model, params: Params, read: Reads, lengths: bool
) -> dict[str, str]:
    """The whole graph; the metadata that go with it."""
    before = jax.eval_shape(lambda: layer.initial_carry((1,), params))
    leaves, tree = jax.tree.flatten(before)
    # First as it is, so that what does not fit is said in the layer's own words.
    xs = jnp.zeros((1, 1), int) if read.ids else jnp.zeros((1, 1, read.size))
    mask = jnp.ones((1, 1), bool) if lengths else None
    _, ys = jax.eval_shape(lambda p, c: layer.apply(p, c, xs, mask=mask), params, before)

    sizes = ("T", "B") if read.ids else ("T", "B", read.size)
    name = "tokens" if read.ids else "xs"
    given = graph.input(name, np.int64 if read.ids else graph.float_dtype, sizes)
    rows = graph.input("lengths", np.int32, ("B",)) if lengths else None
    carries = [
        graph.input(f"carry_in.{i}", graph.dtype(leaf.dtype), ("B", *leaf.shape[1:]))
        for i, leaf in enumerate(leaves)
    ]
    value = guarded(graph, given, sizes)
    flow = Flow(graph, Sizes(graph, value), rows)
    stream = Stream(value, read.size, ids=read.ids)
    after, result = model_nodes(flow, layer, params, jax.tree.unflatten(tree, carries), stream)

    one = adapted(layer).one_output
    shape = (*(("B",) if one else ("T", "B")), *ys.shape[len(ys.shape) - 1 :])
    graph.output(result, graph.dtype(ys.dtype), shape, "logits" if read.model else "ys")
    for i, (leaf, new) in enumerate(zip(leaves, jax.tree.leaves(after), strict=True)):
        graph.output(new, graph.dtype(leaf.dtype), ("B", *leaf.shape[1:]), f"carry_out.{i}")
    return _notes(layer, params)


def _notes(layer: Layer | Model, params: Params) -> dict[str, str]:
    notes = {"causal": json.dumps(bool(layer.causal))}
    first = [np.asarray(leaf[0]) for leaf in jax.tree.leaves(layer.initial_carry((1,), params))]
    if any(leaf.any() for leaf in first):
        notes["initial_carry"] = json.dumps([leaf.tolist() for leaf in first])
    return notes


def _checked_dtype(dtype: DTypeLike) -> np.dtype:
    try:
        known = jnp.dtype(dtype)
    except TypeError:
        known = None
    if known not in (np.dtype(np.float32), np.dtype(np.float16)):
        raise ValueError(
            f"to_onnx() takes the dtype float32 or float16, not {dtype!r}: ONNX Runtime's "
            "recurrent operators know no other"
        )
    return known


def _checked_version(onnx: Any, opset: int, ir_version: int | None) -> int:
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OPSET <= opset <= newest:
        raise ValueError(
            f"the opset must be one of {OPSET} … {newest}, which onnx {onnx.__version__} knows, "
            f"not {opset!r}"
        )
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    if ir_version is None:
        return oldest
    known = isinstance(ir_version, int) and not isinstance(ir_version, bool)
    if not known or not oldest <= ir_version <= onnx.IR_VERSION:
        raise ValueError(
            f"the ir_version must be one of {oldest} … {onnx.IR_VERSION} for opset {opset}, not "
            f"{ir_version!r}"
        )
    return ir_version


def _check_params(params: Params, kind: np.dtype) -> None:
    largest = np.finfo(kind).max
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if jnp.dtype(getattr(leaf, "dtype", object)) != np.float32:
            raise ValueError(
                f"to_onnx() takes parameters of float32, and {name} is "
                f"{getattr(leaf, 'dtype', type(leaf).__name__)}: convert them by "
                "jax.tree.map(lambda p: p.astype('float32'), params)"
            )
        if kind == np.float16 and leaf.size and np.abs(np.asarray(leaf)).max() > largest:
            raise ValueError(
                f"{name} holds numbers beyond float16's {largest:.0f}: leave out dtype"
            )
