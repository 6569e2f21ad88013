"""Cells that are ONNX's LSTM, GRU and RNN: their weights in its order, and the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_jax.cells import LSTM, Elman, GRUAfter, GRUBefore, PeepholeLSTM
from rnn_jax.export.onnx.activations import Activation, activation_of
from rnn_jax.export.onnx.graph import Graph, joined
from rnn_jax.types import Cell, Params

__all__ = ["Direction", "direction_of", "recurrence"]


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent operator, its weights in ONNX's order of gates.

    w: ``[G·H, D]``.
    r: ``[G·H, H]``.
    b: ``[2·G·H]``, the bias of either product.
    p: peepholes ``[3·H]``, or None.
    activation: of an RNN; an LSTM's and a GRU's are the operator's own.
    """

    op: str
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    p: np.ndarray | None = None
    activation: Activation | None = None
    attributes: dict[str, int] = field(default_factory=dict)

    def beside(self, other: Direction) -> bool:
        """Whether both can be the two directions of one node."""
        mine, its = ((d.op, d.w.shape, d.p is None, d.attributes) for d in (self, other))
        return mine == its


def direction_of(cell: Cell, params: Params) -> Direction | None:
    """A cell as a recurrent operator; None where it is none, and steps must be written out."""
    pack = _PACKED.get(type(cell))  # a class of one's own may compute something else
    return None if pack is None else pack(cell, params)


def _blocks(matrix: Any, count: int, order: Sequence[int]) -> np.ndarray:
    """Our columns ``[…, G·H]``, one block a gate, in another order of the gates."""
    parts = np.split(np.asarray(matrix), count, axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)


def _weights(params: Params, order: Sequence[int]) -> dict[str, Any]:
    count, columns = len(order), params["w_hh"].shape[1]
    biases = [np.asarray(params.get(name, np.zeros(columns))) for name in ("b", "b_hh")]
    return {
        "w": _blocks(params["w_ih"], count, order).T,
        "r": _blocks(params["w_hh"], count, order).T,
        "b": np.concatenate([_blocks(b, count, order) for b in biases]).astype(np.float32),
    }


def _lstm(cell: LSTM | PeepholeLSTM, params: Params) -> Direction:
    weights = _weights(params, (0, 3, 1, 2))  # i, f, g, o to i, o, f, c
    forget = slice(2 * cell.hidden_size, 3 * cell.hidden_size)
    weights["b"][forget] += np.float32(cell.forget_bias)
    p = None
    if isinstance(cell, PeepholeLSTM):
        p = np.concatenate([np.asarray(params["peephole"][gate]) for gate in "iof"])
    return Direction("LSTM", **weights, p=p)


def _gru(cell: GRUAfter | GRUBefore, params: Params) -> Direction:
    after = isinstance(cell, GRUAfter)
    if not after:  # which reads no second bias
        params = {name: params[name] for name in params if name != "b_hh"}
    weights = _weights(params, (1, 0, 2))  # r, z, n to z, r, h
    return Direction("GRU", **weights, attributes={"linear_before_reset": int(after)})


def _rnn(cell: Elman, params: Params) -> Direction | None:
    activation = activation_of(cell.activation)
    if activation is None:
        return None
    return Direction("RNN", **_weights(params, (0,)), activation=activation)


_PACKED: dict[type, Callable[[Any, Params], Direction | None]] = {
    LSTM: _lstm,
    PeepholeLSTM: _lstm,
    GRUAfter: _gru,
    GRUBefore: _gru,
    Elman: _rnn,
}


def recurrence(
    graph: Graph,
    directions: Sequence[Direction],
    xs: str,
    carries: Sequence[Sequence[str]],
    lengths: str | None,
    *,
    reverse: bool,
    path: str,
) -> tuple[list[list[str]], str]:
    """One recurrent node.

    Args:
      graph: where it goes.
      directions: one, or two that stand `Direction.beside` each other.
      xs: ``[T, B, D]``.
      carries: for each direction ``h`` and, of an LSTM, ``c``: ``[B, H]``.
      lengths: ``int32[B]``, or None.
      reverse: whether the one direction runs from the last step to the first.
      path: where its parameters stand, for names.

    Returns:
      The new carries, and the outputs ``[T, B, directions · H]``, zeros from a row's length on.
    """
    first, size = directions[0], directions[0].r.shape[1]

    def weights(name: str) -> str:
        return graph.constant(
            np.stack([getattr(d, name) for d in directions]), joined(path, name.upper())
        )

    before = [_stacked(graph, leaves) for leaves in zip(*carries, strict=True)]
    states = len(before)
    inputs = [xs, *map(weights, "wrb"), lengths or "", *before]
    if first.p is not None:
        inputs.append(weights("p"))
    two = len(directions) == 2
    how: dict[str, Any] = {"hidden_size": size, **first.attributes}
    how["direction"] = "bidirectional" if two else "reverse" if reverse else "forward"
    if first.activation is not None:
        chosen = [d.activation for d in directions if d.activation is not None]
        how["activations"] = [activation.name for activation in chosen]
        for key in ("alpha", "beta"):  # each activation takes what is its own, in this order
            if values := [value for activation in chosen for value in getattr(activation, key)]:
                how[f"activation_{key}"] = values
    ys, *after = graph.add_many(first.op, *inputs, outputs=1 + states, name=path, **how)
    if lengths is not None:  # an operator forgets the state of a row without steps
        zero = graph.constant(np.zeros((), np.int32), "no_steps")
        some = graph.add("Unsqueeze", graph.add("Greater", lengths, zero), graph.integers(0, 2))
        after = [graph.add("Where", some, new, old) for new, old in zip(after, before, strict=True)]
    if two:
        # [T, 2, B, H] to [T, B, 2, H] to [T, B, 2·H]; a 0 keeps a size.
        across = graph.add("Transpose", ys, perm=[0, 2, 1, 3])
        ys = graph.add("Reshape", across, graph.integers(0, 0, 2 * size))
    else:
        ys = graph.add("Squeeze", ys, graph.integers(1))
    return _apart(graph, after, len(directions)), ys


def _stacked(graph: Graph, leaves: Sequence[str]) -> str:
    """One leaf of each direction's carry as ``[directions, B, H]``."""
    rows = [graph.add("Unsqueeze", leaf, graph.integers(0)) for leaf in leaves]
    return rows[0] if len(rows) == 1 else graph.add("Concat", *rows, axis=0)


def _apart(graph: Graph, states: Sequence[str], count: int) -> list[list[str]]:
    """``[directions, B, H]`` of each leaf as the carry of each direction."""
    zero = graph.integers(0)
    carries: list[list[str]] = [[] for _ in range(count)]
    for state in states:
        parts: Sequence[str] = [state]
        if count == 2:
            parts = graph.add_many(
                "Split", state, graph.integers(1, 1), outputs=2, axis=0, name="direction"
            )
        for carry, part in zip(carries, parts, strict=True):
            carry.append(graph.add("Squeeze", part, zero))
    return carries
