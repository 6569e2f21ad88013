"""The cells that ``--cell`` names, and the options that each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from rnn_jax.cells import echo_state, elman, gru, lru, lstm, min_gru, min_lstm
from rnn_jax.types import Cell

__all__ = ["CELLS", "WITH", "make_cell"]

CELLS: dict[str, Callable[..., Cell]] = {
    "tanh": elman,
    "relu": partial(elman, activation=jax.nn.relu),
    "sigmoid": partial(elman, activation=jax.nn.sigmoid),
    "gru": gru,
    "gru-before": partial(gru, reset="before"),
    "lstm": partial(lstm, forget_bias=1.0),
    "lstm-peephole": partial(lstm, forget_bias=1.0, peepholes=True),
    "min-gru": min_gru,
    "min-lstm": min_lstm,
    "lru": lru,
    "echo-state": echo_state,
}

_GATED = ("tanh", "relu", "sigmoid", "gru", "gru-before", "lstm", "lstm-peephole")

# Which cells take an option. A reservoir is fixed: nothing of it is to be learned or dropped.
WITH: dict[str, tuple[str, ...]] = {
    "bias": (*_GATED, "min-gru", "min-lstm"),
    "layer_norm": ("tanh", "relu", "sigmoid", "gru", "lstm"),
    "proj_size": ("lstm",),
    "learned_carry": (*_GATED, "min-gru", "min-lstm", "lru"),
    "zoneout": (*_GATED, "min-gru", "min-lstm", "echo-state"),
    "zoneout_cell": ("lstm", "lstm-peephole"),
    "weight_drop": _GATED,
}


def make_cell(
    name: str,
    hidden_size: int,
    *,
    bias: bool = True,
    layer_norm: bool = False,
    proj_size: int | None = None,
    learned_carry: bool = False,
) -> Cell:
    """The cell of a name; without ``bias`` where it has one."""
    options: dict[str, bool | int] = {} if bias or name not in WITH["bias"] else {"bias": False}
    if layer_norm:
        options["layer_norm"] = True
    if proj_size is not None:
        options["proj_size"] = proj_size
    if learned_carry:
        options["learned_carry"] = True
    return CELLS[name](hidden_size, **options)
