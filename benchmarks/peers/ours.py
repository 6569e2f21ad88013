"""rnn_jax: `recurrent` over a cell, jitted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import rnn_jax
from benchmarks.measuring.implementation import JaxImplementation, Prepared, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence
from benchmarks.peers import backend_of
from rnn_jax import Layer
from rnn_jax.recurrence import Backend

__all__ = ["CELLS", "PACKAGES", "build", "build_layer", "refusing"]

PACKAGES = ("rnn-jax-functional", "jax", "jaxlib")

CELLS: dict[str, tuple[Callable[[int], rnn_jax.Cell], str]] = {
    "rnn": (rnn_jax.elman, "rnn tanh"),
    "relu": (lambda size: rnn_jax.elman(size, activation=jax.nn.relu), "rnn relu"),
    "gru": (rnn_jax.gru, "gru reset after, two biases"),
    "lstm": (rnn_jax.lstm, "lstm"),
}


def build(name: str, workload: Recurrence, arrays: Arrays) -> JaxImplementation:
    """One bias a gate; the GRU has a second one, of which only the new gate's part counts."""
    return build_layer(workload, arrays, lambda layer: layer, backend_of(name))


@contextlib.contextmanager
def refusing(backend: Backend) -> Iterator[None]:
    """What a backend that was asked for by name refuses is `Unavailable`, with its sentence."""
    try:
        yield
    except ValueError as error:
        if backend in ("auto", "scan"):  # which take whatever there is
            raise
        raise Unavailable(str(error)) from None


@dataclass(frozen=True)
class _Ours(JaxImplementation):
    backend: Backend = "auto"

    def prepare(self, pass_name: str) -> Prepared:
        with refusing(self.backend):  # some things it sees when it is compiled
            return super().prepare(pass_name)


def build_layer(
    workload: Recurrence,
    arrays: Arrays,
    wrap: Callable[[Layer], Layer],
    backend: Backend = "auto",
) -> JaxImplementation:
    """`build` for ``wrap(recurrent(cell))``, which must have the cell's parameters."""
    factory, equations = CELLS[workload.cell]
    layer = wrap(rnn_jax.recurrent(factory(workload.hidden), backend=backend))
    size = workload.hidden
    params = {name: arrays[name] for name in ("w_ih", "w_hh", "b")}
    if "b_hn" in arrays:
        params["b_hh"] = np.pad(arrays["b_hn"], (2 * size, 0))

    def to_workload(tree: Any) -> dict[str, Any]:
        named = {name: leaf for name, leaf in tree.items() if name != "b_hh"}
        return named | ({"b_hn": tree["b_hh"][2 * size :]} if "b_hh" in tree else {})

    return _Ours(
        equations,
        lambda params, xs: layer.apply(params, None, xs)[1],
        params,
        to_workload,
        arrays,
        backend=backend,
    )
