"""Weights from and to Flax's cells, linen and nnx, without importing Flax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.elman import Elman, elman
from rnn_jax.cells.gru import GRUAfter, gru
from rnn_jax.cells.lstm import LSTM, lstm
from rnn_jax.interop.weights import Weights, bare, joined_bias, owned, plain_weights
from rnn_jax.layers.recurrent import Recurrent, recurrent
from rnn_jax.types import Array, Cell, Layer, Params

__all__ = ["LAYOUTS", "FlaxKind", "flax_cell", "from_flax", "to_flax"]

FlaxKind = Literal["linen", "nnx", "nnx-optimized"]


class Layout(NamedTuple):
    """The dense maps of a cell, one for all gates or one per gate, and those with a bias."""

    inputs: tuple[str, ...]
    hidden: tuple[str, ...]
    biases: tuple[str, ...]


# The gates are in our order throughout: r, z, n and i, f, g, o. `if` is a keyword, hence `if_`.
_HIDDEN = ("hi", "hf", "hg", "ho")
LAYOUTS: dict[tuple[str, str], Layout] = {
    ("linen", "SimpleCell"): Layout(("i",), ("h",), ("i",)),
    ("linen", "GRUCell"): Layout(("ir", "iz", "in"), ("hr", "hz", "hn"), ("ir", "iz", "in")),
    ("linen", "LSTMCell"): Layout(("ii", "if", "ig", "io"), _HIDDEN, _HIDDEN),
    ("nnx", "SimpleCell"): Layout(("dense_i",), ("dense_h",), ("dense_i",)),
    ("nnx", "GRUCell"): Layout(("dense_i",), ("dense_h",), ("dense_i",)),
    ("nnx", "LSTMCell"): Layout(("ii", "if_", "ig", "io"), _HIDDEN, _HIDDEN),
    ("nnx", "OptimizedLSTMCell"): Layout(("dense_i",), ("dense_h",), ("dense_h",)),
}
LAYOUTS["linen", "OptimizedLSTMCell"] = LAYOUTS["linen", "LSTMCell"]
_CELLS: dict[type, str] = {Elman: "SimpleCell", GRUAfter: "GRUCell", LSTM: "LSTMCell"}


def from_flax(cell: Any, params: Params = None) -> tuple[Layer, Params]:
    """A layer and its parameters from a Flax cell.

    Of PyTorch's second bias, linen's GRU has only ``b_hn`` and nnx's GRU nothing. They become
    ``gru(H)``, with zeros in the other thirds of ``b_hh``, and ``gru(H, recurrent_bias=False)``.
    The carry of an LSTM is ``(c, h)`` in Flax and ``(h, c)`` here; sequences are time-major here.

    Types do not promote as in Flax. There, parameters in bfloat16 meet a carry in float32, and the
    cell computes in float32 unless its ``dtype`` says otherwise; here products are of the
    parameters' type and sums and states in float32. For Flax's numbers, cast the parameters to
    float32; for a cell with ``dtype=bfloat16``, take `mixed_precision`.

    Args:
      cell: a ``SimpleCell``, ``GRUCell``, ``LSTMCell`` or ``OptimizedLSTMCell`` of linen or nnx.
      params: for a linen cell, its variables or their "params"; an nnx cell holds its own.

    Returns:
      ``recurrent(cell)`` and the parameters.

    Raises:
      ValueError: the cell or one of its options has no counterpart, or the weights are not those of
        the cell.
    """
    name, kind = type(cell).__name__, "nnx" if hasattr(cell, "hidden_features") else "linen"
    if (kind, name) not in LAYOUTS:
        raise ValueError(
            "from_flax takes a SimpleCell, GRUCell, LSTMCell or OptimizedLSTMCell of linen or nnx, "
            f"not {name}"
        )
    simple = name == "SimpleCell"
    if getattr(cell, "residual", False):
        raise ValueError("a SimpleCell with residual=True has no counterpart: use residual=False")
    if not simple and (cell.activation_fn, cell.gate_fn) != (jnp.tanh, jax.nn.sigmoid):
        raise ValueError(
            f"a {name} can be converted if its activations are tanh and sigmoid: use these"
        )
    tree = params if params is not None else cell if kind == "nnx" else {}
    if isinstance(tree, Mapping) and "params" in tree:
        tree = tree["params"]
    return flax_cell(kind, name, tree, cell.activation_fn if simple else jnp.tanh)


def flax_cell(
    kind: str, name: str, tree: Any, activation: Callable[[Array], Array]
) -> tuple[Layer, Params]:
    """``recurrent(cell)`` and its parameters, from a tree or a module of a class of Flax.

    Raises:
      ValueError: the tree is that of another class.
    """
    layout = LAYOUTS[kind, name]
    try:
        weights = {
            "w_ih": _joined(tree, layout.inputs, "kernel"),
            "w_hh": _joined(tree, layout.hidden, "kernel"),
            "b": _joined(tree, layout.biases, "bias"),
        }
        if (kind, name) == ("linen", "GRUCell"):
            b_hn = _joined(tree, ("hn",), "bias")
            weights["b_hh"] = np.concatenate([np.zeros_like(b_hn)] * 2 + [b_hn])
    except (AttributeError, KeyError):
        raise ValueError(
            f"these are not the parameters of {kind}'s {name}: pass what its init returned"
        ) from None
    size = weights["w_hh"].shape[0]
    ours: Cell
    if name == "SimpleCell":
        ours = elman(size, activation=activation)
    elif name == "GRUCell":
        ours = gru(size, recurrent_bias="b_hh" in weights)
    else:
        ours = lstm(size)
    return recurrent(ours), {name: owned(array) for name, array in weights.items()}


def to_flax(
    layer: Layer | Cell, params: Params, *, kind: FlaxKind = "linen"
) -> dict[str, dict[str, jax.Array]]:
    """The parameters of the Flax cell that computes what a cell does.

    Linen: ``cell.apply({"params": to_flax(layer, params)}, carry, x)``; nnx:
    ``nnx.update(cell, to_flax(layer, params, kind="nnx"))``. Flax has one bias where PyTorch has
    two; they are added up, together with the forget bias. A missing bias becomes zero.

    Args:
      layer: elman (whose activation the Flax cell must share), gru (reset after) or lstm, as a cell
        or in ``recurrent``.
      params: its parameters.
      kind: "linen", "nnx", or "nnx-optimized" for nnx's OptimizedLSTMCell; the parameters of
        linen's two LSTMs are the same.

    Returns:
      ``{dense map: {"kernel": …, "bias": …}}``.

    Raises:
      ValueError: Flax has no such cell; for nnx, a GRU whose ``b_hn`` is not zero.

    Example:
      >>> import jax, rnn_jax
      >>> cell = rnn_jax.elman(3)
      >>> sorted(to_flax(cell, cell.init(jax.random.key(0), 5)))
      ['h', 'i']
    """
    if isinstance(layer, Layer):
        layer = bare(layer)
    cell = layer.cell if isinstance(layer, Recurrent) else layer
    # By exact class: a cell derived from one of these computes something else.
    if not isinstance(cell, Elman | GRUAfter | LSTM) or type(cell) not in _CELLS:
        raise ValueError(
            "Flax has cells for elman, gru(reset='after') and lstm, each to be converted by "
            f"itself, but not for {cell!r}"
        )
    name = _CELLS[type(cell)]
    if kind not in ("linen", "nnx", "nnx-optimized"):
        raise ValueError(f"kind must be 'linen', 'nnx' or 'nnx-optimized', not {kind!r}")
    if kind == "nnx-optimized":
        name = f"Optimized{name}"
    layout = LAYOUTS.get((kind.removesuffix("-optimized"), name))
    if layout is None:
        raise ValueError(f"nnx optimizes only the LSTM: use kind='nnx' for {cell!r}")
    weights = plain_weights(cell, params, "Flax")
    b_hn = None
    if type(cell) is GRUAfter and "b_hh" in weights:
        b_hr, b_hz, b_hn = np.split(weights["b_hh"], 3)
        weights["b_hh"] = np.concatenate([b_hr, b_hz, np.zeros_like(b_hn)])
    bias = joined_bias(weights)
    bias = np.zeros_like(weights["w_ih"][0]) if bias is None else bias
    if b_hn is not None and kind == "nnx" and b_hn.any():
        raise ValueError(
            "nnx's GRUCell has no bias inside the reset product, but the last third of b_hh is not "
            "zero: use linen's GRUCell, or train with gru(H, recurrent_bias=False)"
        )
    tree: dict[str, dict[str, jax.Array]] = {}
    for names, leaf, array in (
        (layout.inputs, "kernel", weights["w_ih"]),
        (layout.hidden, "kernel", weights["w_hh"]),
        (layout.biases, "bias", bias),
    ):
        for dense, block in zip(names, np.split(array, len(names), -1), strict=True):
            tree.setdefault(dense, {})[leaf] = owned(block)
    if (kind, name) == ("linen", "GRUCell"):
        tree["hn"]["bias"] = owned(np.zeros_like(tree["hn"]["kernel"][0]) if b_hn is None else b_hn)
    return tree


def _joined(tree: Any, dense_maps: tuple[str, ...], leaf: str) -> Weights:
    """The kernels or biases of some dense maps, side by side, from a dict or a module."""

    def get(node: Any, name: str) -> Any:
        return node[name] if isinstance(node, Mapping) else getattr(node, name)

    return np.concatenate([np.asarray(get(get(tree, dense), leaf)) for dense in dense_maps], -1)
