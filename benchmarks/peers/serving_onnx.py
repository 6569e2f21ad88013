"""ONNX Runtime: the exported model, a call a token."""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.timing import Laps
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.language_ours import model_of, params_of
from benchmarks.peers.serving_jax import layer_and_inputs

__all__ = ["prepare", "prepare_layer"]


def prepare(name: str, workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``, each the likeliest."""
    session, feed = _session(workload, model_of(workload), params_of(workload, arrays))
    feed["tokens"] = prefix.astype(np.int64)
    laps = Laps()

    def tokens() -> np.ndarray:
        given, taken = dict(feed), []
        laps.start()
        for _ in range(workload.length):
            logits, *carry = session.run(None, given)
            given["tokens"] = logits.argmax(-1)
            given |= {f"carry_in.{i}": leaf for i, leaf in enumerate(carry)}
            taken.append(given["tokens"])
            laps.lap()
        return np.concatenate(taken)

    return Prepared(
        tokens,
        lambda: {"tokens": tokens()},
        steps=workload.length,
        equations=workload.equations,
        facts=_facts,
        laps=lambda: laps.seconds,
    )


def prepare_layer(name: str, workload: Language, arrays: Arrays) -> Prepared:
    """One step of the recurrent layer a call, ``length`` calls with the same input."""
    layer, params, xs = layer_and_inputs(workload, arrays)
    session, feed = _session(workload, layer, params)
    feed["xs"] = xs
    laps = Laps()

    def steps() -> np.ndarray:
        given = dict(feed)
        laps.start()
        for _ in range(workload.length):
            ys, *carry = session.run(None, given)
            given |= {f"carry_in.{i}": leaf for i, leaf in enumerate(carry)}
            laps.lap()
        return ys

    return Prepared(
        steps,
        lambda: {"ys": steps()},
        steps=workload.length,
        facts=_facts,
        laps=lambda: laps.seconds,
    )


def _session(workload: Language, member: Any, params: Any) -> tuple[Any, dict[str, Any]]:
    """An open file, and zeros for its carry. A single row is fastest on one thread."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise Unavailable("onnx and onnxruntime are not installed") from None
    from rnn_jax.export import to_onnx

    options = onnxruntime.SessionOptions()
    if workload.batch == 1:
        options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        to_onnx(member, params, file)
        session = onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    carries = [port for port in session.get_inputs() if port.name.startswith("carry_in")]
    zeros = {port.name: np.zeros((workload.batch, port.shape[-1]), np.float32) for port in carries}
    return session, zeros


def _facts() -> dict[str, Any]:
    return {"versions": {name: metadata.version(name) for name in ("onnx", "onnxruntime")}}
