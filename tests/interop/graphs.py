"""ONNX files made by hand, what ONNX Runtime computes from them, and what we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import rnn_jax.interop
from tests.cases import quick_jit

T, B, D, H = 5, 4, 3, 4
_RNG = np.random.default_rng(1)
XS = _RNG.normal(size=(T, B, D)).astype(np.float32)
IDS = _RNG.integers(0, D, (T, B))
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class Graph:
    """A graph that grows node by node; names of tensors are strings."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.tensors: list[Any] = []
        self.count = 0

    def input(self, name: str, shape: tuple[Any, ...], kind: int = TensorProto.FLOAT) -> str:
        """An input; axes given by a letter are free."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def tensor(self, array: Any) -> str:
        """Numbers in the file."""
        self.count += 1
        self.tensors.append(numpy_helper.from_array(np.asarray(array), f"t{self.count}"))
        return f"t{self.count}"

    def normal(self, *shape: int) -> str:
        """Random weights in the file."""
        return self.tensor(self.rng.normal(0, 0.4, shape).astype(np.float32))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; the names of its outputs."""
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def recurrent(
        self, operator: str, x: str, sizes: tuple[int, int], *, direction: str = "forward",
        bias: bool = True, peepholes: bool = False, lengths: str = "", states: Any = (),
        **attributes: Any,
    ) -> list[str]:  # fmt: skip
        """A node with random weights; its outputs, Y as ``[T, B, directions·H]``."""
        (size, hidden), count = sizes, 2 if direction == "bidirectional" else 1
        gates = GATES[operator] * hidden
        w, r = self.normal(count, gates, size), self.normal(count, gates, hidden)
        b = self.normal(count, 2 * gates) if bias else ""
        given = [x, w, r, b, lengths, *(states or ("", ""))]
        if operator == "LSTM":
            given = [*given, *([""] * (7 - len(given)))]
            given.append(self.normal(count, 3 * hidden) if peepholes else "")
        else:
            given = given[:6]
        while given[-1] == "":
            given.pop()
        outputs = 3 if operator == "LSTM" else 2
        ys, *final = self.node(
            operator, *given, outputs=outputs, hidden_size=hidden, direction=direction, **attributes
        )
        ys = self.node("Transpose", ys, perm=[0, 2, 1, 3])
        return [self.node("Reshape", ys, self.tensor(np.array([0, 0, -1]))), *final]

    def save(self, path: Path, *outputs: str, opset: int = 17) -> Path:
        """Write the model with these outputs."""
        made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, made, self.tensors)
        opsets = [helper.make_opsetid("", opset)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
        return path


def runtime(path: Path, **inputs: Any) -> list[np.ndarray]:
    """The outputs, by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def from_onnx(file: Path) -> Any:
    """As of whichever class the test expects."""
    return rnn_jax.interop.from_onnx(file)


@quick_jit
def applied(layer: Any, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    return layer.apply(params, carry, xs, mask=mask)


def assert_equal(ours: Any, theirs: Any) -> None:
    """To 1e-6: values are of the size of 1, and their sums of a few numbers in float32."""
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-6)
