"""The figures of the page on ONNX: a character model trained for some minutes, and its files.

    python docs/how-to/onnx-figures.py

It prints a row for each file: its size, and the bits per character of the last part of the text.
"""

from __future__ import annotations

import pydoc_data.topics
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import optax
from onnxruntime.quantization import QuantType, quantize_dynamic

import rnn_jax
from rnn_jax.export import to_onnx

HIDDEN, STEPS, ROWS, UPDATES = 256, 64, 32, 400


def bits(file: Path, tokens: np.ndarray) -> float:
    """Bits per character of ``int[T]`` in one row, in calls of a thousand steps."""
    session = onnxruntime.InferenceSession(file)
    wide = np.float16 if "float16" in session.get_inputs()[1].type else np.float32
    carry = [np.zeros((1, HIDDEN), wide) for _ in session.get_inputs()[1:]]
    total = 0.0
    for begin in range(0, len(tokens) - 1, 1000):
        part = tokens[begin : begin + 1001]
        feeds = {f"carry_in.{i}": c for i, c in enumerate(carry)}
        logits, *carry = session.run(None, {"tokens": part[:-1, None], **feeds})
        logits = logits[:, 0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        chosen = np.take_along_axis(logits, part[1:, None], axis=1)[:, 0]
        total += (np.log(np.exp(logits).sum(axis=1)) - chosen).sum()
    return total / np.log(2) / (len(tokens) - 1)


def main() -> None:
    """Train, export, measure."""
    text = "".join(pydoc_data.topics.topics.values()).encode()  # comes with Python
    symbols, tokens = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    tokens = tokens[:500_000]
    cut = len(tokens) * 19 // 20
    learned, held_out = tokens[:cut], tokens[cut:]
    for cell in (rnn_jax.lstm(HIDDEN, forget_bias=1.0), rnn_jax.gru(HIDDEN)):
        model = rnn_jax.language_model(len(symbols), rnn_jax.recurrent(cell), embedding_size=64)
        optimizer = optax.adam(3e-3)
        state = rnn_jax.init_train_state(model, optimizer, model.init(jax.random.key(0)))
        step = jax.jit(rnn_jax.make_train_step(model, optimizer), donate_argnums=0)
        rng = np.random.default_rng(0)
        for _ in range(UPDATES):
            begins = rng.integers(0, cut - STEPS - 1, ROWS)
            rows = jnp.asarray(learned[begins[None] + np.arange(STEPS + 1)[:, None]])
            state, _ = step(state, rnn_jax.Batch(rows[:-1], rows[1:]))
        folder = Path(tempfile.mkdtemp())
        files = {name: folder / f"{name}.onnx" for name in ("float32", "float16", "int8")}
        to_onnx(model, state.params, files["float32"])
        to_onnx(model, state.params, files["float16"], dtype="float16")
        quantize_dynamic(files["float32"], files["int8"], weight_type=QuantType.QInt8)
        for name, file in files.items():
            found = bits(file, held_out.astype(np.int64))
            print(f"{type(cell).__name__:9} {name:8} {file.stat().st_size:9,} bytes {found:.4f}")


if __name__ == "__main__":
    main()
