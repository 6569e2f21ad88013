"""`jax.experimental.rnn`: cuDNN's LSTM from JAX, float32, on an NVIDIA GPU alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.measuring.implementation import JaxImplementation, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["PACKAGES", "build"]

PACKAGES = ("jax", "jaxlib", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13")


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """One flat vector of weights, cuDNN's second bias zero."""
    if jax.default_backend() != "gpu":
        raise Unavailable("cuDNN runs on NVIDIA GPUs alone")
    if workload.cell != "lstm":
        raise Unavailable("jax.experimental.rnn has the LSTM only")
    if workload.dtype != "float32":
        raise Unavailable("jax.experimental.rnn has float32 only")
    from jax.experimental import rnn

    precision = lax.Precision("highest" if workload.precision == "highest" else "high")
    size, features = workload.hidden, workload.features
    zeros = jnp.zeros((1, workload.batch, size))
    lengths = jnp.full(workload.batch, workload.length, jnp.int32)
    parts = [arrays["w_ih"].T, arrays["w_hh"].T, arrays["b"], np.zeros_like(arrays["b"])]
    ends = np.cumsum([part.size for part in parts])

    def apply(weights: Any, xs: Any) -> Any:
        return rnn.lstm(
            xs, zeros, zeros, weights, lengths, features, size, 1, 0.0, False, precision
        )[0]

    def to_workload(weights: Any) -> dict[str, Any]:
        w_ih, w_hh, b, _ = jnp.split(weights, ends[:-1])
        return {
            "w_ih": w_ih.reshape(-1, features).T, "w_hh": w_hh.reshape(-1, size).T, "b": b,
        }  # fmt: skip

    flat = np.concatenate([part.ravel() for part in parts])
    return JaxImplementation("lstm", apply, flat, to_workload, arrays, batch_major=True)
