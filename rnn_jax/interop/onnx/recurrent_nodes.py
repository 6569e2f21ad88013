"""ONNX's LSTM, GRU and RNN nodes as layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rnn_jax.cells.elman import elman
from rnn_jax.cells.gru import gru
from rnn_jax.cells.lstm import lstm
from rnn_jax.cells.memory import LSTMCarry
from rnn_jax.interop.onnx.activations import activation
from rnn_jax.interop.onnx.values import Atom, Axis, Final, Known, Row, Steps, Unknown, Value, Zeros
from rnn_jax.interop.weights import Weights, owned, reordered
from rnn_jax.layers.bidirectional import bidirectional
from rnn_jax.layers.recurrent import recurrent
from rnn_jax.types import Cell, Layer, Params

__all__ = ["RECURRENT", "RecurrentNode"]

# Where our gates stand among ONNX's: i, f, g, o in i, o, f, c, and r, z, n in z, r, h.
RECURRENT: dict[str, tuple[int, ...]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


class _No(Exception):
    """What keeps the node from being a layer, as a clause."""


@dataclass(frozen=True)
class RecurrentNode:
    """One node: its operator, its name, its attributes, and what is known of its inputs."""

    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]

    ATTRIBUTES: ClassVar = {
        "activation_alpha", "activation_beta", "activations", "direction", "hidden_size",
        "input_forget", "layout", "linear_before_reset",
    }  # fmt: skip

    def outputs(self) -> list[Value]:
        """What is known of Y, Y_h and Y_c."""
        try:
            return self._outputs()
        except _No as why:
            return [Unknown(f"its {self.operator} node {self.name!r} {why}")] * 3

    def _outputs(self) -> list[Value]:
        given = dict(zip(_INPUTS, (*self.inputs, *[None] * 8), strict=False))
        x = given["X"]
        if self.attributes.get("clip"):
            raise _No(f"has clip={self.attributes['clip']:g}, which no cell here does")
        if self.attributes.get("input_forget"):
            raise _No("has input_forget=1, a coupled gate, which no cell here has")
        if unknown := sorted(set(self.attributes) - self.ATTRIBUTES - {"clip"}):
            raise _No(f"has an attribute {unknown[0]} of which nothing is known here")
        layout = self.attributes.get("layout", 0)
        steps = self._read(x, bool(layout))
        lengths = self._lengths(given["sequence_lens"], steps)
        weights = {name: self._weights(name, given[name]) for name in ("W", "R", "B", "P")}
        w, r = weights["W"], weights["R"]
        if w is None or r is None or w.ndim != 3 or r.ndim != 3:
            raise _No("lacks W or R")
        direction = self.attributes.get("direction", "forward")
        if direction not in _DIRECTIONS:
            raise _No(f"has a direction {direction!r}, which ONNX does not know")
        reverse = _DIRECTIONS[direction]
        count, size = len(reverse), r.shape[2]
        initial = [
            self._initial(name, given[name], steps, bool(layout))
            for name in ("initial_h", "initial_c")
        ]
        gates = len(RECURRENT[self.operator])
        shapes = {
            "W": (count, gates * size, w.shape[2]),
            "R": (count, gates * size, size),
            "B": (count, 2 * gates * size),
            "P": (count, 3 * size),
        }
        for name, array in weights.items():
            if array is not None and array.shape != shapes[name]:
                raise _No(f"has a {name} of shape {list(array.shape)}, not {list(shapes[name])}")
        activations = self._activations(count)
        halves = []
        for i, backwards in enumerate(reverse):
            part = {name: None if a is None else a[i] for name, a in weights.items()}
            carry = [None if state is None else state[i] for state in initial]
            cell, params = self._cell(size, part, carry, activations[i])
            halves.append((recurrent(cell, reverse=backwards), params))
        layer: Layer = halves[0][0]
        params = halves[0][1]
        if count == 2:
            layer = bidirectional(halves[0][0], halves[1][0])
            params = {"forward": halves[0][1], "backward": halves[1][1]}
        time, batch = (group for group in (steps.axes[layout], steps.axes[1 - layout]))
        directions: Axis = (Atom("directions" if count == 2 else "", count),)
        units: Axis = (Atom("units", size),)
        axes = (batch, time, directions, units) if layout else (time, directions, batch, units)
        ys = replace(
            steps.grown(layer, params, w.shape[2]),
            axes=axes,
            features=("directions", "units") if count == 2 else ("units",),
            time=time[0].name if time else "",
            batch=batch[0].name if batch else "",
            lengths=lengths,
        )
        states: Axis = (Atom("states", count),)
        return [
            ys,
            *(
                Final(
                    (batch, states, units) if layout else (states, batch, units),
                    tuple(Row(kind, backwards, self.name, ys) for backwards in reverse),
                )
                for kind in "hc"
            ),
        ]

    def _read(self, x: Value | None, batch_first: bool) -> Steps:
        """The input, once its axes are those of a sequence."""
        if not isinstance(x, Steps):
            raise _No("does not read the sequence")
        if x.ids and not x.parts and not x.vocabulary:
            raise _No("reads integers as numbers")
        if len(x.axes) != 3:
            raise _No(f"reads {len(x.axes)} axes in the place of three")
        if x.parts and not x.parts[-1].layer:
            raise _No("reads what has been pooled over all steps")
        time, batch = x.axes[batch_first], x.axes[1 - batch_first]
        for group in (time, batch):
            if len(group) > 1 or not all(atom.whole for atom in group):
                raise _No("reads a part of the sequence, or merged axes")
        found = tuple(group[0].name if group else "" for group in (time, batch))
        if x.settled and found != (x.time, x.batch):
            raise _No("runs along another axis than the node below it")
        if not x.features_last:
            raise _No("reads some of the features, or in another order")
        return x

    def _lengths(self, value: Value | None, steps: Steps) -> str:
        """The input that the lengths are; empty: none."""
        if value is None:
            source = ""
        elif isinstance(value, Steps) and value.untouched and len(value.axes) == 1:
            if not all(atom.whole for axis in value.axes for atom in axis):
                raise _No("reads some of the lengths")
            if value.order != steps.order:
                raise _No("reads lengths in another order than that of the batch")
            source = value.source
        else:
            raise _No("has sequence_lens that are not an input of the graph")
        if not source and steps.order:
            raise _No("reads a batch in another order")
        if steps.settled and source != steps.lengths:
            raise _No("has not the sequence_lens of the node below it")
        return source

    def _weights(self, name: str, value: Value | None) -> Weights | None:
        if value is None:
            return None
        if not isinstance(value, Known):
            raise _No(f"has a {name} that is not in the file")
        return value.array

    def _initial(
        self, name: str, value: Value | None, steps: Steps, batch_first: bool
    ) -> Weights | None:
        """The initial states that the file holds, ``[directions, H]``; None: zeros, or inputs."""
        if value is None or isinstance(value, Zeros):
            return None
        if isinstance(value, Steps) and value.untouched and value.source != steps.source:
            return None
        if not isinstance(value, Known):
            raise _No(f"has an {name} that is computed from something else")
        array = value.array.swapaxes(0, 1) if batch_first else value.array
        if not array.any():
            return None
        if array.ndim != 3 or (array != array[:, :1]).any():
            raise _No(f"has an {name} of its own for each row of a batch")
        return array[:, 0]

    def _activations(self, count: int) -> list[Any]:
        """One for each direction; those of an LSTM or GRU must be the usual ones."""
        usual = _USUAL[self.operator]
        names = list(self.attributes.get("activations", usual * count))
        lower = [name.lower() for name in names]
        if self.operator != "RNN":
            if lower != [name.lower() for name in usual] * count:
                raise _No(
                    f"has the activations {', '.join(names)}, which no cell here has: only "
                    f"{', '.join(usual)}"
                )
            return [None] * count
        alphas, betas = (
            list(self.attributes.get(f"activation_{which}", ())) for which in ("alpha", "beta")
        )
        found = [activation(name, alphas, betas) for name in names]
        if amiss := [function for function in found if isinstance(function, str)]:
            raise _No(f"has {amiss[0]}")
        if len(found) != count:
            raise _No(f"has {len(found)} activations for {count} directions")
        return found

    def _cell(
        self, size: int, weights: dict[str, Any], carry: list[Any], function: Any
    ) -> tuple[Cell, Params]:
        order = RECURRENT[self.operator]
        params: Params = {
            "w_ih": reordered(weights["W"].T, order),
            "w_hh": reordered(weights["R"].T, order),
        }
        options: dict[str, Any] = {"bias": weights["B"] is not None}
        after = self.operator == "GRU" and bool(self.attributes.get("linear_before_reset"))
        before = self.operator == "GRU" and not after
        if weights["B"] is not None:
            b, b_hh = (reordered(bias, order) for bias in np.split(weights["B"], 2))
            if before:
                b = b + b_hh
            elif after or b_hh.any():
                options["recurrent_bias"], params["b_hh"] = True, b_hh
            params["b"] = b
        if any(state is not None for state in carry):
            options["learned_carry"] = True
            h, c = (np.zeros(size, params["w_hh"].dtype) if s is None else s for s in carry)
            params["carry"] = LSTMCarry(owned(h), owned(c)) if self.operator == "LSTM" else h
        cell: Cell
        if self.operator == "RNN":
            cell = elman(size, activation=function, **options)
        elif self.operator == "GRU":
            cell = gru(size, reset="after" if after else "before", **options)
        else:
            peepholes = weights["P"]
            cell = lstm(size, peepholes=peepholes is not None, **options)
            if peepholes is not None:
                i, o, f = np.split(peepholes, 3)
                params["peephole"] = {"i": owned(i), "f": owned(f), "o": owned(o)}
        owner = {k: v if isinstance(v, tuple | dict) else owned(v) for k, v in params.items()}
        return cell, owner
