"""What `from_onnx` refuses, each time in a sentence that names the operator or the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper

from tests.interop.graphs import B, D, Graph, H, T, from_onnx


def spoiled(change: str) -> Graph:
    """A GRU over ``x``, spoiled in one way; its output is the last node's."""
    graph = Graph()
    x = graph.input("x", ("T", "B", D))
    options: dict[str, Any] = {}
    operator = "LSTM" if change in ("coupled", "activations") else "GRU"
    if change == "clip":
        options["clip"] = 2.0
    elif change == "coupled":
        options["input_forget"] = 1
    elif change == "activations":
        options["activations"] = ["HardSigmoid", "Tanh", "Tanh"]
    elif change == "affine":
        operator, options = "RNN", {"activations": ["Affine"]}
    elif change == "relu before":
        x = graph.node("Relu", x)
    elif change == "integers":
        graph.inputs.clear()
        x = graph.node("Cast", graph.input("x", ("T", "B", D), TensorProto.INT64), to=1)
    elif change == "narrow ids":
        graph.inputs.clear()
        ids = graph.input("x", ("T", "B"), TensorProto.INT64)
        narrow = graph.node("Cast", ids, to=TensorProto.BOOL)
        ids = graph.node("Cast", narrow, to=TensorProto.INT64)
        x = graph.node("Gather", graph.normal(D, D), ids)
    elif change == "cut":
        cut = [graph.tensor([n]) for n in (0, 2, 2)]
        x = graph.node("Slice", x, *cut)
        graph.recurrent("GRU", x, (2, H))
        return graph
    elif change == "weights":
        w = graph.input("w", (1, 3 * H, D))
        graph.node("GRU", x, w, graph.normal(1, 3 * H, H), outputs=2, hidden_size=H)
        graph.nodes[-1].output.pop()
        return graph
    elif change == "state":
        _, h = graph.recurrent("GRU", x, (D, H))
        options["states"] = [graph.node("Tanh", h)]
    elif change == "own state":
        cut = [graph.tensor([n]) for n in (0, 1, 0)]
        options["states"] = [graph.node("Slice", x, *cut)]
    elif change == "lengths":
        options["lengths"] = graph.tensor(np.array([2, 2], np.int32))
    ys, *_ = graph.recurrent(operator, x, (D, H), **options)
    if change == "mixed lengths":
        lengths = graph.input("lengths", ("B",), TensorProto.INT32)
        graph.recurrent("GRU", ys, (H, H), lengths=lengths)
    elif change == "residual":
        graph.node("Add", ys, graph.node("MatMul", x, graph.normal(D, H)))
    elif change == "units":
        graph.node("Reshape", ys, graph.tensor([0, -1, 2]))
    elif change == "transposed":
        graph.recurrent("GRU", graph.node("Transpose", ys, perm=[1, 0, 2]), (H, H))
    elif change == "half":
        graph.node("MatMul", graph.node("Split", ys, axis=2, outputs=2)[0], graph.normal(2, 2))
        graph.nodes[-2].output.reverse()
    elif change == "first step":
        first = graph.node("Gather", ys, graph.tensor(np.int64(0)), axis=0)
        graph.node("MatMul", first, graph.normal(H, 2))
    elif change in ("bias of steps", "softmax of steps"):
        # As many outputs as steps, so that the sizes tell nothing.
        graph.inputs[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, (T, B, D))
        y = graph.node("Transpose", graph.node("MatMul", ys, graph.normal(H, T)), perm=[2, 1, 0])
        if change == "bias of steps":
            y = graph.node("Add", y, graph.normal(T))
        else:
            y = graph.node("Softmax", y, axis=-1)
        graph.node("Transpose", y, perm=[2, 1, 0])
    elif change == "bias with an axis":
        graph.node("Add", graph.node("MatMul", ys, graph.normal(H, 2)), graph.normal(1, 1, 1, 2))
    elif change == "rounded state":
        _, h = graph.recurrent("GRU", ys, (H, H))
        graph.node("Cast", graph.node("Cast", h, to=TensorProto.INT32), to=TensorProto.FLOAT)
    elif change == "two layers":
        graph.node("Relu", graph.node("MatMul", ys, graph.normal(H, 2)))
    elif change == "foreign":
        graph.node("LSTM", ys, domain="com.example")
    return graph


@pytest.mark.parametrize(
    "change, message",
    [
        ("clip", "has clip=2"),
        ("coupled", "has input_forget=1"),
        ("activations", "activations HardSigmoid, Tanh, Tanh"),
        ("affine", "Affine without its alpha and beta"),
        ("relu before", "its operator Relu .* has no counterpart"),
        ("integers", "reads integers as numbers"),
        ("narrow ids", "operator Cast .* to fewer than 32 bits"),
        ("cut", "reads some of the features"),
        ("weights", "has a W that is not in the file"),
        ("state", "operator Tanh"),
        ("own state", "initial_h that is computed from something else"),
        ("lengths", "sequence_lens that are not an input"),
        ("mixed lengths", "has not the sequence_lens of the node below"),
        ("residual", "operator Add .* joins what are not both directions"),
        ("units", "operator Reshape .* mixes the axes"),
        ("transposed", "runs along another axis"),
        ("half", "operator Split .* cuts"),
        ("first step", "operator Gather .* has not read the whole sequence"),
        ("bias of steps", "operator Add .* along another axis"),
        ("softmax of steps", "operator Softmax .* is not over the outputs"),
        ("bias with an axis", "operator Add .* a bias of another size"),
        ("rounded state", "operator Cast .* rounds"),
        ("two layers", "operator Relu"),
        ("foreign", "operator LSTM .* has no counterpart"),
    ],
)
def test_what_no_layer_computes_is_named(tmp_path: Path, change: str, message: str) -> None:
    graph = spoiled(change)
    file = graph.save(tmp_path / "a.onnx", graph.nodes[-1].output[0])
    with pytest.raises(ValueError, match=rf"a\.onnx cannot be read as .*{message}"):
        from_onnx(file)


@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize("change", ["other lengths", "no lengths", "swapped", "batch last"])
def test_directions_of_different_sequences_are_not_one_layer(
    tmp_path: Path, merge: str, change: str
) -> None:
    graph = Graph()
    x = graph.input("x", ("T", "B", D))
    given = [graph.input(f"l{i}", ("B",), TensorProto.INT32) for i in range(2)]
    lengths = {"other lengths": given, "no lengths": [given[0], ""]}.get(change, ["", ""])
    pair = [
        graph.recurrent("GRU", x, (D, H), direction=direction, lengths=those)[0]
        for direction, those in zip(("forward", "reverse"), lengths, strict=True)
    ]
    if change == "swapped":
        pair.reverse()
    elif change == "batch last":
        pair = [graph.node("Transpose", ys, perm=[0, 2, 1]) for ys in pair]
    joint = graph.node("Add", *pair) if merge == "sum" else graph.node("Concat", *pair, axis=-1)
    file = graph.save(tmp_path / "a.onnx", joint)
    with pytest.raises(ValueError, match="joins what are not both directions of one layer"):
        from_onnx(file)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    body = helper.make_graph([], "body", [], [])
    x = graph.input("x", (2, 2))
    graph.nodes.append(helper.make_node("Loop", ["", "", x], ["y"], body=body))
    looped = graph.save(tmp_path / "loop.onnx", "y")
    graph = Graph()
    unrolled = graph.save(tmp_path / "plain.onnx", graph.node("Tanh", graph.input("x", (2, 2))))
    graph = Graph()
    a, _ = graph.recurrent("GRU", graph.input("x", ("T", "B", D)), (D, H))
    b = graph.node("MatMul", a, graph.normal(H, 2))
    two = graph.save(tmp_path / "two.onnx", a, b)
    (tmp_path / "text.onnx").write_text("no model, but more bytes than none")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for file, message in (
        (looped, "a Loop, exported from Keras or jax2onnx"),
        (unrolled, "dynamo=False"),
        (two, "has the outputs .*: keep one of them"),
        (tmp_path / "text.onnx", "is not an ONNX model"),
        (tmp_path / "empty.onnx", "is not an ONNX model: it has no graph"),
        (tmp_path / "missing.onnx", "cannot be read: No such file"),
    ):
        with pytest.raises(ValueError, match=message):
            from_onnx(file)


def test_softmax_of_old_files_is_over_all_axes_but_the_first(tmp_path: Path) -> None:
    """Before version 13 of the operators its axis was 1 by default, with all axes after it."""
    graph = Graph()
    ys, _ = graph.recurrent("GRU", graph.input("x", ("T", "B", D)), (D, H))
    out = graph.node("Softmax", graph.node("MatMul", ys, graph.normal(H, 3)))
    with pytest.raises(ValueError, match=r"operator Softmax .* is not over the outputs"):
        from_onnx(graph.save(tmp_path / "old.onnx", out, opset=11))
    from_onnx(graph.save(tmp_path / "new.onnx", out))
