"""`from_onnx` against ONNX Runtime on files of whole models: from ids or numbers to a read-out."""

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
from tests.interop.graphs import (
    IDS,
    XS,
    B,
    D,
    Graph,
    H,
    T,
    applied,
    assert_equal,
    from_onnx,
    runtime,
)


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
