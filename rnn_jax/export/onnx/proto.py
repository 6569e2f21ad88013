"""The one place that knows the package onnx: a graph as its protocol buffers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rnn_jax.export.onnx.graph import Graph, Node, Port

__all__ = ["library", "model_of"]


def library() -> Any:
    """The package onnx.

    Raises:
      ValueError: it is not installed.
    """
    try:
        return import_module("onnx")
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ValueError(
            "to_onnx() needs the library onnx: pip install 'rnn-jax-functional[onnx]'"
        ) from None


def model_of(graph: Graph, name: str, ir_version: int, notes: dict[str, str]) -> Any:
    """An ``onnx.ModelProto`` of a finished graph, checked, with notes as its metadata."""
    onnx = library()
    helper = onnx.helper
    model = helper.make_model(
        _graph(onnx, graph, name),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=ir_version,
        producer_name="rnn_jax",
    )
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    return model


def _graph(onnx: Any, graph: Graph, name: str) -> Any:
    arrays = graph.shared.arrays if graph.parent is None else {}
    return onnx.helper.make_graph(
        [_node(onnx, graph, node) for node in graph.nodes],
        name,
        [_port(onnx, graph, port) for port in graph.inputs],
        [_port(onnx, graph, port) for port in graph.outputs],
        [onnx.numpy_helper.from_array(array, key) for key, array in arrays.items()],
        value_info=[_port(onnx, graph, port) for port in graph.known],
    )


def _node(onnx: Any, graph: Graph, node: Node) -> Any:
    def attribute(key: str, value: Any) -> Any:
        if isinstance(value, Graph):
            return _graph(onnx, value, f"{node.name}.{key}")
        if isinstance(value, np.dtype):
            return onnx.helper.np_dtype_to_tensor_dtype(value)
        return value

    aliases = graph.root.aliases
    inputs, outputs = (
        [aliases.get(v, v) for v in values] for values in (node.inputs, node.outputs)
    )
    attributes = {key: attribute(key, value) for key, value in node.attributes.items()}
    return onnx.helper.make_node(node.op, inputs, outputs, name=node.name, **attributes)


def _port(onnx: Any, graph: Graph, port: Port) -> Any:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(port.dtype)
    name = graph.root.aliases.get(port.name, port.name)
    return onnx.helper.make_tensor_value_info(name, dtype, list(port.shape))
