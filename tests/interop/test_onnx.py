"""`from_onnx` against ONNX Runtime on the same files, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper

import rnn_jax as r
import rnn_jax.interop
from tests.cases import quick_jit
from tests.interop.graphs import Graph, runtime

T, B, D, H = 5, 4, 3, 4
LENGTHS = np.array([T, 1, 3, 0], np.int32)
RNG = np.random.default_rng(1)
XS = RNG.normal(size=(T, B, D)).astype(np.float32)
IDS = RNG.integers(0, D, (T, B))


def from_onnx(file: Path) -> Any:
    """As of whichever class the test expects."""
    return rnn_jax.interop.from_onnx(file)


@quick_jit
def applied(layer: Any, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    return layer.apply(params, carry, xs, mask=mask)


def assert_equal(ours: Any, theirs: Any) -> None:
    """To 1e-6: values are of the size of 1, and their sums of a few numbers in float32."""
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-6)


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
    for lens in (LENGTHS, np.full(B, T, np.int32)):
        theirs, *states = runtime(file, x=XS, lengths=lens, **named)
        # Numbers in the padding reach nothing.
        xs = np.where(np.arange(T)[:, None, None] < lens[:, None], XS, np.nan)
        new, ours = applied(
            layer, params, carry, jnp.asarray(xs), r.length_mask(jnp.asarray(lens), T)
        )
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


def language_model_file(path: Path, *, batch_first: bool, tied: bool, flat: bool) -> Path:
    """Ids, embedding, two nodes, a read-out, and a softmax of merged or of all axes."""
    graph, vocab = Graph(), 7
    ids = graph.input("ids", ("B", "T") if batch_first else ("T", "B"), TensorProto.INT64)
    table = graph.normal(vocab, H)
    x = graph.node("Gather", table, ids)
    if batch_first:
        x = graph.node("Transpose", x, perm=[1, 0, 2])
    for _ in range(2):
        x, *_ = graph.recurrent("GRU", x, (H, H), linear_before_reset=1)
        x = graph.node("Dropout", x)
    if batch_first:
        x = graph.node("Transpose", x, perm=[1, 0, 2])
    if flat:
        x = graph.node("Reshape", x, graph.tensor([-1, H]))
    if tied:
        logits = graph.node("MatMul", x, graph.node("Transpose", table, perm=[1, 0]))
    else:
        logits = graph.node("MatMul", x, graph.normal(H, vocab))
    logits = graph.node("Add", graph.normal(vocab), logits)
    return graph.save(path, graph.node("LogSoftmax", logits, axis=-1))


@pytest.mark.parametrize("batch_first, tied, flat", [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)])
def test_a_language_model(tmp_path: Path, batch_first: bool, tied: bool, flat: bool) -> None:
    file = language_model_file(tmp_path / "a.onnx", batch_first=batch_first, tied=tied, flat=flat)
    model, params = from_onnx(file)
    assert isinstance(model, r.LanguageModel)
    assert (model.vocab_size, model.embedding_size, model.tied) == (7, H, bool(tied))
    (theirs,) = runtime(file, ids=IDS.T if batch_first else IDS)
    if flat:
        theirs = theirs.reshape((B, T, 7) if batch_first else (T, B, 7))
    if batch_first:
        theirs = theirs.swapaxes(0, 1)
    logits = applied(model, params, None, jnp.asarray(IDS), None)[1]
    assert_equal(jax.nn.log_softmax(logits), theirs)


def test_one_hot_ids_are_ids(tmp_path: Path) -> None:
    graph = Graph()
    ids = graph.input("ids", ("T", "B"), TensorProto.INT64)
    x = graph.node("OneHot", ids, graph.tensor(D), graph.tensor(np.array([0, 1], np.float32)))
    x, *_ = graph.recurrent("LSTM", x, (D, H))
    x = graph.node("Add", graph.node("MatMul", x, graph.normal(H, D)), graph.normal(D))
    file = graph.save(tmp_path / "a.onnx", x)
    model, params = from_onnx(file)
    assert isinstance(model, r.LanguageModel) and model.embedding_size is None
    assert_equal(applied(model, params, None, jnp.asarray(IDS), None)[1], runtime(file, ids=IDS)[0])


@pytest.mark.parametrize("how", ["state", "both states", "step", "mean", "max"])
def test_a_classifier(tmp_path: Path, how: str) -> None:
    graph = Graph()
    x = graph.input("x", ("T", "B", D))
    direction = "bidirectional" if how == "both states" else "forward"
    ys, h, *_ = graph.recurrent("LSTM", x, (D, H), direction=direction)
    width = 2 * H if how == "both states" else H
    if how == "both states":
        h = graph.node("Transpose", h, perm=[1, 0, 2])
        pooled = graph.node("Reshape", h, graph.tensor([0, -1]))
    elif how == "state":
        pooled = graph.node("Squeeze", h, graph.tensor([0]))
    elif how == "step":
        pooled = graph.node("Gather", ys, graph.tensor(np.int64(-1)), axis=0)
    else:
        operator = {"mean": "ReduceMean", "max": "ReduceMax"}[how]
        pooled = graph.node(operator, ys, axes=[0], keepdims=0)
    logits = graph.node("Gemm", pooled, graph.normal(6, width), graph.normal(6), transB=1)
    file = graph.save(tmp_path / "a.onnx", logits)
    model, params = from_onnx(file)
    assert isinstance(model, r.SequenceClassifier)
    assert model.pooling == (how if how in ("mean", "max") else "last")
    assert_equal(applied(model, params, None, XS, None)[1], runtime(file, x=XS)[0])


def test_a_tagger_between_products(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.node("MatMul", graph.input("x", ("T", "B", D)), graph.normal(D, 2))
    x, *_ = graph.recurrent("RNN", x, (2, H))
    x = graph.node("Add", graph.node("MatMul", x, graph.normal(H, 2)), graph.normal(1, 1, 2))
    x, *_ = graph.recurrent("GRU", x, (2, H), direction="reverse")
    file = graph.save(tmp_path / "a.onnx", graph.node("MatMul", x, graph.normal(H, 2)))
    model, params = from_onnx(file)
    layers: Any = model.layer
    assert isinstance(model, r.SequenceTagger) and not model.bias and len(layers.layers) == 4
    assert_equal(applied(model, params, None, XS, None)[1], runtime(file, x=XS)[0])


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_two_nodes_in_both_directions_are_one_layer(tmp_path: Path, merge: str) -> None:
    graph = Graph()
    x = graph.input("x", ("T", "B", D))
    pair = [
        graph.recurrent(operator, x, (D, H), direction=direction)[0]
        for operator, direction in (("GRU", "forward"), ("RNN", "reverse"))
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


def test_ids_below_0_are_none_and_each_direction_has_a_last_step(tmp_path: Path) -> None:
    graph = Graph()
    ids = graph.input("ids", ("T", "B"), TensorProto.INT64)
    below = graph.node("Less", ids, graph.tensor(np.int64(0)))
    ids = graph.node("Where", below, graph.tensor(np.int64(99)), ids)
    x = graph.node("Gather", graph.normal(D, H), ids)
    ends = [
        graph.node("Gather", graph.recurrent("RNN", x, (H, H), direction=direction)[0],
            graph.tensor(np.int64(step)), axis=0)
        for direction, step in (("forward", -1), ("reverse", 0))
    ]  # fmt: skip
    pooled = graph.node("Concat", *ends, axis=-1)
    file = graph.save(tmp_path / "a.onnx", graph.node("MatMul", pooled, graph.normal(2 * H, D)))
    model, params = from_onnx(file)
    assert isinstance(model, r.SequenceClassifier) and not model.layer.causal
    assert_equal(applied(model, params, None, IDS, None)[1], runtime(file, ids=IDS)[0])


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
        ("two layers", "operator Relu"),
        ("foreign", "operator LSTM .* has no counterpart"),
    ],
)
def test_what_no_layer_computes_is_named(tmp_path: Path, change: str, message: str) -> None:
    graph = spoiled(change)
    file = graph.save(tmp_path / "a.onnx", graph.nodes[-1].output[0])
    with pytest.raises(ValueError, match=rf"a\.onnx cannot be read as .*{message}"):
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
