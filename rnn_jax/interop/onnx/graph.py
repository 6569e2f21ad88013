"""An ONNX file, and what its graph makes of its inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.operators import OPERATORS
from rnn_jax.interop.onnx.recurrent_nodes import RECURRENT, RecurrentNode
from rnn_jax.interop.onnx.values import Atom, Known, Steps, Unknown, Value

__all__ = ["opened", "outputs_of"]

_NOWHERE = Unknown("a name in it stands for nothing")
_DRAWN = ("Random", "Bernoulli", "Multinomial")  # the beginnings of operators that draw
_INTEGERS = {2, 3, 4, 5, 6, 7, 12, 13}  # the numbers of ONNX's integer types


def opened(file: str | os.PathLike[str]) -> Any:
    """The model in a file.

    Raises:
      ValueError: onnx is missing, or the file is no ONNX model.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ValueError(
            "from_onnx needs the library onnx: pip install 'rnn-jax-functional[onnx]'"
        ) from None
    path = os.fspath(file)
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except (DecodeError, ValueError, UnicodeDecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{path} is not an ONNX model: {line_of(error)}") from None
    if not model.graph.node:
        raise ValueError(f"{path} is not an ONNX model: it has no graph")
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    return model


def line_of(error: Exception) -> str:
    """An error's words on one line, the first 200 letters."""
    return " ".join(str(error).split())[:200]


def outputs_of(model: Any) -> dict[str, Value]:
    """What is known of each output of the graph, by its name."""
    from onnx.numpy_helper import to_array

    graph = model.graph
    values: dict[str, Value] = {
        tensor.name: Known(to_array(tensor)) for tensor in graph.initializer
    }
    values |= _learned(model)
    for entry in graph.input:
        if entry.name not in values:
            kind = entry.type.tensor_type
            if not kind.HasField("shape"):
                values[entry.name] = Unknown(f"its input {entry.name!r} says nothing of its axes")
                continue
            axes = tuple(
                (Atom(f"{entry.name}:{i}", dim.dim_value or None),)
                for i, dim in enumerate(kind.shape.dim)
            )
            values[entry.name] = Steps(axes, entry.name, ids=kind.elem_type in _INTEGERS)
    for node in _needed(graph.node, [output.name for output in graph.output]):
        attributes = {a.name: _attribute(a) for a in node.attribute}
        if node.op_type in ("Softmax", "LogSoftmax") and _opset(model) < 13:
            attributes.setdefault("axis", 1)  # and all axes after it; since then -1
        inputs = [values.get(name, _NOWHERE) if name else None for name in node.input]
        found = _computed(model, node, attributes, inputs)
        values.update(zip(node.output, found, strict=False))
    return {output.name: values.get(output.name, _NOWHERE) for output in graph.output}


def _learned(model: Any) -> dict[str, Known]:
    """The states that files of `to_onnx` name as the first ones, of one row, by their inputs."""
    notes = {note.key: note.value for note in model.metadata_props}
    if model.producer_name != "rnn_jax" or "initial_carry" not in notes:
        return {}
    try:
        states = [np.array([state], np.float32) for state in json.loads(notes["initial_carry"])]
    except (TypeError, ValueError):
        raise ValueError("its metadata hold an initial_carry that is no list of lists") from None
    return {f"carry_in.{i}": Known(state) for i, state in enumerate(states)}


def _opset(model: Any) -> int:
    """The version of ONNX's own operators."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _computed(model: Any, node: Any, attributes: Any, inputs: list[Value | None]) -> list[Value]:
    name = node.name or node.output[0]
    standard = node.domain in ("", "ai.onnx")
    unknown = [value for value in inputs if isinstance(value, Unknown)]
    if unknown:
        return [unknown[0] for _ in node.output]
    if standard and node.op_type in RECURRENT:
        return RecurrentNode(node.op_type, name, attributes, inputs).outputs()
    count, operator = len(node.output), node.op_type
    arrays = [value.array if isinstance(value, Known) else None for value in inputs]
    if (
        standard
        and not operator.startswith(_DRAWN)
        and not any(a.HasField("g") for a in node.attribute)
        and all(value is None or isinstance(value, Known) for value in inputs)
    ):
        return _folded(model, node, arrays)
    if not standard or operator not in OPERATORS:
        return [Unknown(f"its operator {node.op_type} ({name!r}) has no counterpart here")] * count
    known = Node(node.op_type, name, attributes, inputs, node.output[0], count)
    try:
        found = OPERATORS[operator](known)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        found = known.no("has not the inputs and attributes that ONNX gives it")
    if isinstance(found, list):
        return found
    return [known.no("lacks an input") if found is None else found] * count


def _needed(nodes: Iterable[Any], outputs: list[str]) -> list[Any]:
    """The nodes on which the outputs depend, in the order of the graph."""
    wanted, found = set(outputs), []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]


def _folded(model: Any, node: Any, arrays: list[np.ndarray | None]) -> list[Value]:
    """What a node makes of numbers alone."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: array for name, array in zip(node.input, arrays, strict=True) if name}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, 0, None) for name in dict.fromkeys(names) if name]
        for names in (given, node.output)
    )
    graph = helper.make_graph([node], "numbers", inputs, outputs)
    single = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        found = ReferenceEvaluator(single).run(None, given)
    except Exception as error:  # of any kind: it is onnx's own, for whatever the file holds
        why = f"its operator {node.op_type} ({node.name!r}) cannot be computed: {line_of(error)}"
        return [Unknown(why)] * len(node.output)
    return [Known(np.asarray(array)) for array in found]


def _attribute(attribute: Any) -> Any:
    """Its value: tensors as arrays, bytes as text."""
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if attribute.type == attribute.TENSOR:
        return numpy_helper.to_array(value)
    if attribute.type == attribute.STRING:
        return value.decode()
    return [part.decode() for part in value] if attribute.type == attribute.STRINGS else value
