"""ONNX files as other programs see them: checked by onnx, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime

from rnn_jax.export import to_onnx

__all__ = ["File", "assert_near", "written"]


class File:
    """An exported file, open in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, onnx.load(path)
        onnx.checker.check_model(self.model, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]

    def feed(self, xs: Any, carry: Any, lengths: Any = None) -> dict[str, np.ndarray]:
        """The inputs by name, in the file's dtypes."""
        given = dict(zip(self.inputs, [xs, *([] if lengths is None else [lengths])], strict=False))
        leaves = jax.tree.leaves(carry)
        given |= {f"carry_in.{i}": leaf for i, leaf in enumerate(leaves)}
        kinds = {"float": "float32", "float16": "float16", "int32": "int32", "int64": "int64"}
        return {
            name: np.asarray(given[name], kinds[value.type[7:-1]])
            for name, value in self.inputs.items()
        }

    def run(self, xs: Any, carry: Any, lengths: Any = None) -> tuple[list[np.ndarray], np.ndarray]:
        """The leaves of the new carry, and the outputs."""
        ys, *after = self.session.run(None, self.feed(xs, carry, lengths))
        return after, ys

    def operators(self) -> list[str]:
        """The kinds of all nodes but those inside a Scan."""
        return [node.op_type for node in self.model.graph.node]


def written(folder: Path, layer: Any, params: Any, **options: Any) -> File:
    """A layer or model, exported and opened."""
    path = folder / "exported.onnx"
    to_onnx(layer, params, path, **options)
    return File(path)


def assert_near(found: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    """Two trees agree leaf by leaf, relative to the leaf's largest entry, NaN nowhere."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.isfinite(a).all()
        assert np.abs(a - b).max(initial=0) <= tolerance * max(np.abs(b).max(initial=0), 1)
