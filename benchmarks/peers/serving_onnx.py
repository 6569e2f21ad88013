"""ONNX Runtime: the exported model, a call a token."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.timing import Laps, fastest
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.language_ours import model_of, params_of
from benchmarks.peers.serving_jax import layer_and_inputs

__all__ = ["prepare", "prepare_layer"]


def prepare(name: str, workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``, each the likeliest."""
    given = {"tokens": prefix.astype(np.int64)}
    session, feed, facts = _session(
        workload, model_of(workload), params_of(workload, arrays), given
    )
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
        facts=lambda: facts,
        laps=lambda: laps.seconds,
    )


def prepare_layer(name: str, workload: Language, arrays: Arrays) -> Prepared:
    """One step of the recurrent layer a call, ``length`` calls with the same input."""
    layer, params, xs = layer_and_inputs(workload, arrays)
    session, feed, facts = _session(workload, layer, params, {"xs": xs})
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
        facts=lambda: facts,
        laps=lambda: laps.seconds,
    )


def _session(
    workload: Language, member: Any, params: Any, given: dict[str, np.ndarray]
) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """An open file, what it is fed first, and what a row states: on the fastest of `_threads`."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise Unavailable("onnx and onnxruntime are not installed") from None
    from rnn_jax.export import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        to_onnx(member, params, file)
        written = file.read_bytes()

    def opened(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])

    sessions = {threads: opened(threads) for threads in _threads()}
    carries = [p for p in sessions[1].get_inputs() if p.name.startswith("carry_in")]
    feed = {p.name: np.zeros((workload.batch, p.shape[-1]), np.float32) for p in carries} | given
    # As many calls as will be timed: a session's threads spin for some time after one.
    best = fastest(
        {
            threads: partial(_runs, session, feed, workload.length)
            for threads, session in sessions.items()
        }
    )
    versions = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    return sessions[best], feed, {"versions": versions, "threads": best}


def _runs(session: Any, feed: dict[str, np.ndarray], times: int) -> None:
    for _ in range(times):
        session.run(None, feed)


def _threads() -> tuple[int, ...]:
    """What is tried: the library's own choice, which is 0, what this process may use, and one.

    One thread is faster for little work; its own choice is as many as there are physical cores.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    mine = () if affinity is None else (len(affinity(0)),)
    return tuple(dict.fromkeys((0, *mine, 1)))
