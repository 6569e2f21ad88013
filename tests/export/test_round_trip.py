"""PyTorch → ONNX → here → ONNX → ONNX Runtime: PyTorch's values, and the same parameters again.

The files, and what PyTorch computed, are those of ``tests/golden/files``. 1e-6: some units in the
last place of outputs below 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import rnn_jax as r
from rnn_jax.export import to_onnx
from rnn_jax.interop import from_onnx

FILES = Path(__file__).parents[1] / "golden" / "files"


@pytest.mark.parametrize(
    "name",
    [
        "torch-language-model",
        "torch-language-model-dynamo",
        "torch-classifier",
        "torch-classifier-dynamo",
        "torch-packed",
    ],
)
def test_a_model_of_pytorch_there_and_back(name: str, tmp_path: Path) -> None:
    model, params = from_onnx(FILES / f"{name}.onnx")
    known = np.load(FILES / f"{name.removesuffix('-dynamo')}.npz")
    packed, file = name == "torch-packed", tmp_path / "model.onnx"
    to_onnx(model, params, file, lengths=packed)

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    first = known["input0"].swapaxes(0, 1) if "classifier" in name else known["input0"]
    feed: dict[str, Any] = {names[0]: first}
    if packed:
        feed["lengths"] = known["input1"].astype(np.int32)
    rows = first.shape[1]
    carries = [port for port in session.get_inputs() if port.name.startswith("carry_in")]
    given = [np.zeros((rows, port.shape[-1]), np.float32) for port in carries]
    if "language" in name:  # h and c of each layer, where PyTorch has all h, then all c
        given = [c for pair in zip(known["input1"], known["input2"], strict=True) for c in pair]
    feed |= {port.name: c for port, c in zip(carries, given, strict=True)}
    np.testing.assert_allclose(session.run(None, feed)[0], known["output0"], rtol=1e-6, atol=1e-6)

    again, same = from_onnx(file)
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, params)


LEARNED = r.recurrent(r.lstm(4, learned_carry=True))
OURS = {
    "language model": r.language_model(7, r.recurrent(r.gru(4)), embedding_size=3),
    "learned": r.language_model(7, LEARNED, embedding_size=3),
    "both": r.bidirectional(LEARNED, r.recurrent(LEARNED.cell, reverse=True)),
    "stack": r.serial(LEARNED, r.recurrent(r.lstm(4))),
    **{
        pooling: r.sequence_classifier(3, r.recurrent(r.gru(4)), input_size=5, pooling=pooling)
        for pooling in ("last", "mean", "max")
    },
}


@pytest.mark.parametrize("name", OURS)
def test_a_file_of_ours_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    ours: Any = OURS[name]
    params = ours.init(jax.random.key(0), *([5] if name in ("both", "stack") else []))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
    to_onnx(ours, params, tmp_path / "a.onnx")
    again, same = from_onnx(tmp_path / "a.onnx")
    assert again == ours
    jax.tree.map(np.testing.assert_array_equal, same, params)
