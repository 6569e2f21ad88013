"""A layer or a model, and its parameters, from an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rnn_jax.interop.onnx.graph import opened, outputs_of
from rnn_jax.interop.onnx.recurrent_nodes import RECURRENT
from rnn_jax.interop.onnx.values import Final, Steps, Unknown, Value
from rnn_jax.interop.parts import Part, joined
from rnn_jax.types import Layer, Model, Params

__all__ = ["from_onnx"]


def from_onnx(file: str | os.PathLike[str]) -> tuple[Layer | Model, Params]:
    """A layer or a model, and its parameters, from an ONNX file.

    The graph is followed from its inputs to its outputs, axis by axis: what comes back computes
    what the file computes, or there is an error that names the operator.

    - LSTM, GRU and RNN nodes, in either direction or both, become ``recurrent`` and
      ``bidirectional`` layers: with peepholes, both forms of ``linear_before_reset``, all
      activations of RNN. A stack becomes ``serial``, with ``embedding`` for a Gather of rows and
      ``linear`` for a MatMul or Gemm between nodes.
    - A product above the last node is a read-out: where ids come in and as many numbers out, and
      no step depends on later ones, the file is a ``language_model`` (tied where the matrix is
      the embedding's); of the last step, or the mean or largest of all steps, a
      ``sequence_classifier``; else a ``sequence_tagger``. A Softmax or LogSoftmax above it is
      left off: models here give logits.
    - ``sequence_lens`` are the mask: ``length_mask(lengths, T)``. At a row of length 0, ONNX
      gives zeros as the final state, and here it is the state before.
    - Initial states that are inputs of the graph are the carry, and final states among its outputs
      the carry that comes back, node by node. Those that stand in the file are the ``carry`` of
      ``learned_carry=True``, and so are the first states that a file of `to_onnx` names.
    - Biases of the recurrent product that are all zero are left out, but for ``gru``'s.

    Sequences here are time-major, ``[T, B, …]``, whatever the axes in the file.

    Args:
      file: the path of an ``.onnx`` file; weights beside it, as PyTorch writes for large models,
        are read from where it says. Needs ``pip install 'rnn-jax-functional[onnx]'``.

    Returns:
      ``(layer, params)`` or ``(model, params)``; parameters have the file's dtype (float64 becomes
      float32 unless JAX runs with x64).

    Raises:
      ValueError: the file is no ONNX model, has no recurrent nodes (Keras and jax2onnx write a
        Loop, and PyTorch's default exporter unrolls ``nn.RNN``), or computes what no layer here
        does; an LSTM or GRU with other activations than sigmoid and tanh, ``clip`` and
        ``input_forget`` are such.

    Example:
      >>> import tempfile, jax.numpy as jnp, onnx
      >>> model = onnx.parser.parse_model('''<ir_version: 9, opset_import: ["": 17]>
      ...     tiny (float[T, B, 2] x) => (float[T, 1, B, 1] y) {
      ...         w = Constant<value = float[1, 1, 2] {0.3, -0.2}>()
      ...         r = Constant<value = float[1, 1, 1] {0.5}>()
      ...         y = RNN<hidden_size = 1>(x, w, r)
      ...     }''')
      >>> file = tempfile.mkdtemp() + "/tiny.onnx"
      >>> onnx.save(model, file)
      >>> layer, params = from_onnx(file)
      >>> params["w_ih"].tolist()
      [[0.3], [-0.2]]
      >>> layer.apply(params, None, jnp.ones((7, 4, 2)))[1].shape
      (7, 4, 1)

    Reference:
      Open Neural Network Exchange, operators LSTM, GRU and RNN, https://onnx.ai/onnx/operators/.
    """
    model = opened(file)
    try:
        return _assembled(model)
    except ValueError as error:
        raise ValueError(
            f"{os.fspath(file)} cannot be read as a layer or a model: {error}"
        ) from None


def _assembled(model: Any) -> tuple[Layer | Model, Params]:
    operators = [node.op_type for node in model.graph.node]
    if not any(operator in RECURRENT for operator in operators):
        raise ValueError(_without_nodes(operators))
    outputs = outputs_of(model)
    for name, value in outputs.items():
        if isinstance(value, Unknown):
            raise ValueError(f"on the way to its output {name!r}, {value.why}")
    main = _main(outputs)
    finals = [value for value in outputs.values() if isinstance(value, Final)]
    for row in (row for final in finals for row in final.rows):
        if not _on_the_way(row.steps.parts, main.parts):
            raise ValueError(f"its node {row.node!r} is not on the way to its other outputs")
    if main.order:
        raise ValueError("its outputs are in another order than the rows of its input")
    return joined(main.parts, main.width, ids=main.vocabulary)


def _on_the_way(parts: Sequence[Part], main: Sequence[Part]) -> bool:
    """Whether the layers below a state are those of the output, or one direction of the last."""
    if len(parts) > len(main):
        return False
    *below, top = zip(parts, main, strict=False)
    halves = [top[1].params.get(name) for name in ("forward", "backward")]
    return all(a is b for a, b in below) and any(
        top[0].params is params for params in (top[1].params, *halves)
    )


def _without_nodes(operators: Sequence[str]) -> str:
    if "Loop" in operators or "Scan" in operators:
        kind = "Loop" if "Loop" in operators else "Scan"
        return (
            f"it has no LSTM, GRU or RNN node but a {kind}, exported from Keras or jax2onnx: take "
            "the weights from there by from_keras or load_params"
        )
    return (
        "it has no LSTM, GRU or RNN node; where PyTorch's exporter has unrolled an nn.RNN, export "
        "with dynamo=False"
    )


def _main(outputs: dict[str, Value]) -> Steps:
    """The output that is no state, with all layers below it; or else the highest state's."""
    found = {
        name: value for name, value in outputs.items() if isinstance(value, Steps) and value.parts
    }
    if strange := [n for n, v in outputs.items() if n not in found and not isinstance(v, Final)]:
        raise ValueError(f"its output {strange[0]!r} is computed by none of its recurrent nodes")
    if len(found) > 1:
        raise ValueError(
            f"it has the outputs {', '.join(found)}: keep one of them by onnx.utils.extract_model"
        )
    if found:
        ((name, main),) = found.items()
        _check_axes(name, main)
        return main
    rows = [row for value in outputs.values() if isinstance(value, Final) for row in value.rows]
    return max((row.steps for row in rows), key=lambda steps: len(steps.parts))


def _check_axes(name: str, steps: Steps) -> None:
    """Raise ValueError unless an output is all steps, all rows and all features."""
    atoms = [atom for axis in steps.axes for atom in axis if atom.name]
    pooled = any(part.pooling and part.pooling != "softmax" for part in steps.parts)
    outer = [steps.batch] if pooled else [steps.time, steps.batch]
    names = [atom.name for atom in atoms]
    features = [n for n in names if n not in outer]
    whole = all(atom.whole for atom in atoms) and sorted(n for n in names if n in outer) == sorted(
        n for n in outer if n
    )
    if not whole or tuple(features) != steps.features:
        raise ValueError(f"its output {name!r} is not all steps, rows and features of a sequence")
