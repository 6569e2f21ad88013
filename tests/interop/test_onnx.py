"""`from_onnx` against ONNX Runtime on the same files: recurrent nodes, their states and lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto

import rnn_jax as r
from tests.interop.graphs import XS, B, D, Graph, H, T, applied, assert_equal, from_onnx, runtime

LENGTHS = np.array([T, 1, 3, 0], np.int32)
RNG = np.random.default_rng(2)

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "lstm-no-bias": ("LSTM", {"bias": False}),
    "lstm-peepholes": ("LSTM", {"peepholes": True}),
    "gru-after": ("GRU", {"linear_before_reset": 1}),
    "gru-after-no-bias": ("GRU", {"linear_before_reset": 1, "bias": False}),
    "gru-before": ("GRU", {}),
    "rnn": ("RNN", {}),
    "rnn-relu": ("RNN", {"activations": ["Relu"]}),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")
CASES = [
    *((name, direction, 1) for name in CELLS for direction in DIRECTIONS),
    *((name, "bidirectional", 3) for name in ("lstm", "gru-after", "rnn")),
    ("gru-before", "forward", 2),
]


@pytest.mark.parametrize("name, direction, depth", CASES)
def test_values_and_final_states(tmp_path: Path, name: str, direction: str, depth: int) -> None:
    operator, options = CELLS[name]
    if "activations" in options and direction == "bidirectional":
        options = {**options, "activations": ["Relu", "Tanh"]}
    count, kinds = 1 + (direction == "bidirectional"), 1 + (operator == "LSTM")
    graph = Graph()
    x, lengths = graph.input("x", ("T", "B", D)), graph.input("lengths", ("B",), TensorProto.INT32)
    given_in = [graph.input(f"s{i}", (depth * count, "B", H)) for i in range(kinds)]
    finals, size = [], D
    for i in range(depth):
        rows = [graph.tensor([n * count]) for n in (i, i + 1)]
        initial = [graph.node("Slice", s, *rows, graph.tensor([0])) for s in given_in]
        x, *final = graph.recurrent(
            operator, x, (size, H), direction=direction, lengths=lengths, states=initial, **options
        )
        finals.append(final)
        size = count * H
    joint = [graph.node("Concat", *rows, axis=0) for rows in zip(*finals, strict=True)]
    file = graph.save(tmp_path / "a.onnx", x, *joint)
    given = [RNG.normal(size=(depth * count, B, H)).astype(np.float32) for _ in range(kinds)]
    named = {f"s{i}": state for i, state in enumerate(given)}
    layer, params = from_onnx(file)
    structure = jax.tree.structure(layer.initial_carry(()))
    carry = jax.tree.unflatten(structure, [s[i] for i in range(depth * count) for s in given])
    for steps, lens in ((T, LENGTHS), (T, np.full(B, T, np.int32)), (1, np.minimum(LENGTHS, 1))):
        theirs, *states = runtime(file, x=XS[:steps], lengths=lens, **named)
        mask = r.length_mask(jnp.asarray(lens), steps)
        # Numbers in the padding reach nothing.
        xs = np.where(np.asarray(mask)[..., None], XS[:steps], np.nan)
        new, ours = applied(layer, params, carry, jnp.asarray(xs), mask)
        assert_equal(ours, theirs)
        leaves = jax.tree.leaves(new)
        for kind, state in enumerate(states):
            found = np.stack(leaves[kind::kinds])
            assert_equal(found[:, lens > 0], state[:, lens > 0])
            # Of a row of length 0, ONNX forgets the state.
            assert_equal(found[:, lens == 0], given[kind][:, lens == 0])


ACTIVATIONS: list[tuple[str, dict[str, list[float]]]] = [
    ("Tanh", {}),
    ("Sigmoid", {}),
    ("Softsign", {}),
    ("Softplus", {}),
    ("Affine", {"activation_alpha": [0.5], "activation_beta": [0.1]}),
    ("LeakyRelu", {}),
    ("LeakyRelu", {"activation_alpha": [0.2]}),
    ("ThresholdedRelu", {"activation_alpha": [0.3]}),
    ("ScaledTanh", {"activation_alpha": [0.7], "activation_beta": [1.2]}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("Elu", {}),
    ("Elu", {"activation_alpha": [0.5]}),
]


@pytest.mark.parametrize("name, options", ACTIVATIONS, ids=str)
def test_activations_of_a_plain_node(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    graph = Graph()
    ys, _ = graph.recurrent(
        "RNN", graph.input("x", (2, B, D)), (D, H), activations=[name], **options
    )
    file = graph.save(tmp_path / "a.onnx", ys)
    layer, params = from_onnx(file)
    assert layer == from_onnx(file)[0] and hash(layer) == hash(from_onnx(file)[0])
    assert_equal(applied(layer, params, None, XS[:2], None)[1], runtime(file, x=XS[:2])[0])


def test_parameters_of_activations_are_taken_in_order(tmp_path: Path) -> None:
    graph = Graph()
    ys, _ = graph.recurrent(
        "RNN", graph.input("x", (2, B, D)), (D, H), direction="bidirectional",
        activations=["Tanh", "ScaledTanh"], activation_alpha=[0.7], activation_beta=[1.2],
    )  # fmt: skip
    file = graph.save(tmp_path / "a.onnx", ys)
    layer, params = from_onnx(file)
    assert layer.forward.cell.activation is jnp.tanh
    assert_equal(applied(layer, params, None, XS[:2], None)[1], runtime(file, x=XS[:2])[0])


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_two_nodes_in_both_directions_are_one_layer(tmp_path: Path, merge: str) -> None:
    graph = Graph()
    x = graph.input("x", ("T", "B", D))
    other = H if merge == "sum" else H + 1
    pair = [
        graph.recurrent(operator, x, (D, units), direction=direction)[0]
        for operator, units, direction in (("GRU", H, "forward"), ("RNN", other, "reverse"))
    ]
    joint = graph.node("Add", *pair) if merge == "sum" else graph.node("Concat", *pair, axis=-1)
    file = graph.save(tmp_path / "a.onnx", joint)
    layer, params = from_onnx(file)
    assert isinstance(layer, r.Bidirectional) and layer.merge == merge
    assert_equal(applied(layer, params, None, XS, None)[1], runtime(file, x=XS)[0])


def test_states_one_by_one_and_kept_at_length_0(tmp_path: Path) -> None:
    """As this package writes them: a state an input, joined; those of empty rows put back."""
    graph = Graph()
    x, lengths = graph.input("x", ("T", "B", D)), graph.input("lengths", ("B",), TensorProto.INT32)
    states = [graph.input(f"s{i}", ("B", H)) for i in range(2)]
    zero = graph.tensor([0])
    joint = graph.node("Concat", *(graph.node("Unsqueeze", s, zero) for s in states), axis=0)
    ys, h = graph.recurrent(
        "GRU", x, (D, H), direction="bidirectional", lengths=lengths, states=[joint]
    )
    valid = graph.node("Greater", lengths, graph.tensor(np.int32(0)))
    kept = graph.node("Where", graph.node("Unsqueeze", valid, graph.tensor([0, 2])), h, joint)
    finals = [graph.node("Squeeze", s, zero) for s in graph.node("Split", kept, outputs=2)]
    file = graph.save(tmp_path / "a.onnx", ys, *finals)
    layer, params = from_onnx(file)
    carry = tuple(RNG.normal(size=(B, H)).astype(np.float32) for _ in range(2))
    theirs = runtime(file, x=XS, lengths=LENGTHS, s0=carry[0], s1=carry[1])
    new, ours = applied(layer, params, carry, XS, r.length_mask(jnp.asarray(LENGTHS), T))
    for one, other in zip((ours, *new), theirs, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_initial_states_in_the_file_are_the_carry_of_the_parameters(
    tmp_path: Path, operator: str
) -> None:
    graph = Graph()
    x = graph.input("x", (T, B, D))
    states = [
        graph.tensor(np.tile(graph.rng.normal(size=(1, 1, H)), (1, B, 1)).astype(np.float32))
        for _ in range(2)
    ]
    ys, *_ = graph.recurrent(operator, x, (D, H), states=states)
    file = graph.save(tmp_path / "a.onnx", ys)
    layer, params = from_onnx(file)
    assert layer.cell.learned_carry
    assert_equal(applied(layer, params, None, XS, None)[1], runtime(file, x=XS)[0])


def test_batch_first_nodes(tmp_path: Path) -> None:
    """layout=1, which ONNX Runtime refuses: the same numbers as those of the other layout."""
    files = []
    for layout in (0, 1):
        graph = Graph()
        x = graph.input("x", ("B", "T", D) if layout else ("T", "B", D))
        w, u, b = graph.normal(2, 4 * H, D), graph.normal(2, 4 * H, H), graph.normal(2, 8 * H)
        ys, h, c = graph.node(
            "LSTM", x, w, u, b, outputs=3,
            hidden_size=H, direction="bidirectional", layout=layout,
        )  # fmt: skip
        if not layout:
            ys = graph.node("Transpose", ys, perm=[0, 2, 1, 3])
        ys = graph.node("Reshape", ys, graph.tensor([0, 0, -1]))
        files.append(graph.save(tmp_path / f"{layout}.onnx", ys, h, c))
    one, two = map(from_onnx, files)
    assert one[0] == two[0]
    jax.tree.map(np.testing.assert_array_equal, one[1], two[1])
