"""Layouts of PyTorch, Keras and Flax without these libraries: names, round trips, failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.interop import (
    from_flax,
    from_keras,
    from_torch,
    load_torch,
    save_torch,
    to_flax,
    to_keras,
    to_torch,
)

D, H = 3, 4
KEY = jax.random.key(0)


def both(cell: r.Cell, **options: Any) -> r.Layer:
    """A cell in both directions."""
    return r.bidirectional(r.recurrent(cell), r.recurrent(cell, reverse=True), **options)


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


TORCH: dict[str, tuple[str, r.Layer]] = {
    "tanh": ("rnn_tanh", r.recurrent(r.elman(H, recurrent_bias=True))),
    "relu": ("rnn_relu", both(r.elman(H, activation=jax.nn.relu, bias=False))),
    "gru": ("gru", r.serial(both(r.gru(H)), r.dropout(0.5), both(r.gru(H)))),
    "lstm": ("lstm", r.serial(*[r.recurrent(r.lstm(H, bias=False))] * 2)),
    "projected": ("lstm", r.serial(*[both(r.lstm(H, proj_size=2, recurrent_bias=True))] * 2)),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_round_trip_and_file(name: str, tmp_path: Path) -> None:
    kind, layer = TORCH[name]
    params, rate = layer.init(KEY, D), 0.5 if name == "gru" else 0.0
    state_dict = to_torch(layer, params)
    assert all(a.flags.c_contiguous and a.flags.owndata for a in state_dict.values())
    again, back = from_torch(state_dict, kind=kind, dropout_rate=rate)
    assert again == layer
    same(back, params)
    save_torch(tmp_path / "t.safetensors", layer, params)
    again, back = load_torch(tmp_path / "t.safetensors", kind=kind, dropout_rate=rate)
    assert again == layer
    same(back, params)


@pytest.mark.parametrize(
    "kind, cell",
    [
        ("rnn_tanh", r.elman(H, recurrent_bias=True)),
        ("lstm", r.lstm(H, recurrent_bias=True)),
        ("gru", r.gru(H, bias=False)),
    ],
)
def test_torch_cells(kind: str, cell: r.Cell) -> None:
    params = cell.init(KEY, D)
    state_dict = to_torch(cell, params)
    names = {"weight_ih", "weight_hh"} | ({"bias_ih", "bias_hh"} if "b" in params else set())
    assert state_dict.keys() == names
    layer, back = from_torch(state_dict, kind=kind)
    assert layer == r.recurrent(cell)
    same(back, params)


@pytest.mark.parametrize("wrap", [lambda x: r.truncate(x, r.sliding(3)), r.remat])
def test_what_changes_no_weight_is_looked_through(wrap: Callable[[r.Layer], r.Layer]) -> None:
    layer = r.recurrent(r.gru(H))
    params = layer.init(KEY, D)
    for convert in (to_torch, to_keras, to_flax):
        same(convert(wrap(layer), params), convert(layer, params))
    stack = r.serial(wrap(layer), wrap(r.recurrent(r.gru(H))))
    params = stack.init(KEY, D)
    same(to_torch(stack, params), to_torch(r.serial(layer, layer), params))


def test_torch_names_and_shapes() -> None:
    layer = TORCH["projected"][1]
    shapes = {name: a.shape for name, a in to_torch(layer, layer.init(KEY, D)).items()}
    assert len(shapes) == 20
    assert {name: shape for name, shape in shapes.items() if name.endswith("_l1_reverse")} == {
        "weight_ih_l1_reverse": (16, 4),
        "weight_hh_l1_reverse": (16, 2),
        "bias_ih_l1_reverse": (16,),
        "bias_hh_l1_reverse": (16,),
        "weight_hr_l1_reverse": (2, 4),
    }


def test_a_forget_bias_stands_in_every_library() -> None:
    cell, plain = r.lstm(H, forget_bias=1.5), r.lstm(H)
    params, xs = cell.init(KEY, D), jnp.ones((3, 2, D))
    expected = r.unroll(cell, params, None, xs)
    layer, there = from_torch(to_torch(r.recurrent(cell), params), kind="lstm")
    same(layer.apply(there, None, xs), expected)
    kernel, recurrent, bias = to_keras(r.recurrent(cell), params)
    same(r.unroll(plain, {"w_ih": kernel, "w_hh": recurrent, "b": bias}, None, xs), expected)
    assert {name: dense.get("bias", [0])[0] for name, dense in to_flax(cell, params).items()} == {
        "ii": 0, "if": 0, "ig": 0, "io": 0, "hi": 0, "hf": 1.5, "hg": 0, "ho": 0,
    }  # fmt: skip


@dataclass(frozen=True)
class Leaky(r.PointwiseCell):
    """A user's own cell, which no other library has."""

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = 0.5 * carry + z[0] + r[0]
        return h, h


def converted(convert: Callable[..., Any], layer: Any, **options: Any) -> Callable[[], Any]:
    return lambda: convert(layer, layer.init(KEY, D), **options)


GRU = to_torch(r.recurrent(r.gru(H)), r.gru(H).init(KEY, D))
RAW = {("weight_hh_l0_raw" if k == "weight_hh_l0" else k): v for k, v in GRU.items()}
GRU_AFTER_TRAINING = {**r.gru(H).init(KEY, D), "b_hh": jnp.ones(3 * H)}
LEARNED = r.recurrent(r.gru(H, learned_carry=True))
UNEQUAL = r.serial(r.recurrent(r.gru(H)), r.recurrent(r.gru(H + 1)))
MISMATCH = r.bidirectional(
    r.recurrent(r.elman(H)), r.recurrent(r.elman(H, bias=False), reverse=True)
)
FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "no kind": (lambda: from_torch(GRU), "one of rnn_tanh, rnn_relu, gru, lstm, not kind=None"),
    "a number": (lambda: from_torch(3), "not kind='int'"),
    "prefix": (
        lambda: from_torch({f"rnn.{k}": v for k, v in GRU.items()}, kind="gru"),
        "the prefix 'rnn.' and take it off",
    ),
    "empty": (lambda: from_torch({}, kind="gru"), "but this one has nothing"),
    "flat": (lambda: from_torch({k: v.ravel() for k, v in GRU.items()}, kind="gru"), "be a matrix"),
    "wrong kind": (lambda: from_torch(GRU, kind="lstm"), r"should have \(12, 3\)"),
    "one bias": (
        lambda: from_torch({k: v for k, v in GRU.items() if "bias_hh" not in k}, kind="gru"),
        "bias_hh_l0 has shape None",
    ),
    "surplus": (
        lambda: from_torch({**GRU, "weight_hr_l0": np.ones((2, H))}, kind="gru"),
        r"but should have None",
    ),
    "torch reset": (converted(to_torch, r.recurrent(r.gru(H, reset="before"))), "reset='after'"),
    "torch sigmoid": (
        converted(to_torch, r.recurrent(r.elman(H, activation=jax.nn.sigmoid))), "tanh or relu",
    ),
    "torch own cell": (converted(to_torch, r.recurrent(Leaky(H))), "not for Leaky"),
    "torch reverse": (converted(to_torch, r.recurrent(r.gru(H), reverse=True)), "are stacks of"),
    "torch sum": (converted(to_torch, both(r.gru(H), merge="sum")), "that concatenates"),
    "torch number": (lambda: to_torch(3, {}), "are stacks of"),  # type: ignore[arg-type]
    "torch cell": (converted(to_torch, r.lstm(H, proj_size=2)), "LSTMCell has no projection"),
    "cell flat": (
        lambda: from_torch({"weight_ih": np.ones(3), "weight_hh": np.ones((3, 1))}, kind="gru"),
        r"weight_ih_l0 should be a matrix, but has shape \(3,\)",
    ),
    "raw weights": (
        lambda: from_torch({**GRU, "weight_hh_l0_raw": GRU["weight_hh_l0"]}, kind="gru"),
        "weight_hh_l0_raw has shape",
    ),
    "only raw weights": (lambda: from_torch(RAW, kind="gru"), "in the place of weight_hh_l0_raw"),
    "torch unequal": (converted(to_torch, UNEQUAL), "convert them one by one"),
    "torch carry": (converted(to_torch, LEARNED), "no initial carry"),
    "keras other": (lambda: from_keras(3), "not int"),
    "keras stack": (converted(to_keras, UNEQUAL), "layer by layer"),
    "keras own cell": (converted(to_keras, r.recurrent(Leaky(H))), "not for"),
    "keras biases": (converted(to_keras, MISMATCH), "in both directions or in none"),
    "keras carry": (converted(to_keras, LEARNED), "Keras keeps no initial carry"),
    "flax other": (lambda: from_flax(3), "not int"),
    "flax reset": (converted(to_flax, r.gru(H, reset="before")), "reset='after'"),
    "flax stack": (converted(to_flax, UNEQUAL), "by itself"),
    "flax kind": (converted(to_flax, r.gru(H), kind="haiku"), "kind must be"),
    "flax optimized": (converted(to_flax, r.gru(H), kind="nnx-optimized"), "optimizes only"),
    "flax b_hn": (
        lambda: to_flax(r.gru(H), GRU_AFTER_TRAINING, kind="nnx"),
        "no bias inside the reset product",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_what_does_not_map_says_so(name: str) -> None:
    call, message = FAILURES[name]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
