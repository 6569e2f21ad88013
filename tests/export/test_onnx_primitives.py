"""What a step of one's own may compute: each of JAX's primitives that has an ONNX operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnn_jax as r
from rnn_jax.export import to_onnx
from rnn_jax.export.onnx.activations import activation_of
from rnn_jax.export.onnx.primitives import RULES
from tests.export.runtime import assert_near, written

TABLE = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@dataclass(frozen=True)
class Computes(r.BaseLayer):
    """A layer that is one function of each step's features, side by side with others."""

    functions: tuple[Callable[[Any], Any], ...] = field(hash=False)

    def init(self, key: Any, input_size: int) -> Any:
        return {}

    def run(self, params: Any, carry: Any, xs: Any, along: Any, *, every: bool) -> Any:
        ys = [jnp.asarray(f(xs), jnp.float32) for f in self.functions]
        return (), jnp.concatenate([y.reshape(*xs.shape[:2], -1) for y in ys], -1)


# Of features between 0.1 and 0.9, `[T, B, 4]`.
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(jnp, name) for name in (
        "abs", "arccos", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "cos", "cosh",
        "exp", "exp2", "expm1", "floor", "isfinite", "log", "log1p", "negative", "round", "sign",
        "sin", "sinh", "sqrt", "square", "tan", "tanh",
    )},
    **{name: getattr(jax.nn, name) for name in (
        "celu", "elu", "gelu", "log_sigmoid", "log_softmax", "relu6", "selu", "sigmoid", "silu",
        "softmax", "softplus", "soft_sign", "standardize",
    )},
    "acosh": lambda x: jnp.arccosh(1 + x),
    "and": lambda x: (x > 0.2) & (x < 0.7) | ~(x != 0.5) ^ (x >= 0.3),
    "argmax": lambda x: jnp.argmax(x, -1)[..., None] + jnp.argmin(x, -1)[..., None],
    "all": lambda x: jnp.all(x > 0.3, -1, keepdims=True) | jnp.any(x > 0.6, -1, keepdims=True),
    "clip": lambda x: jnp.clip(x, 0.3, 0.6),
    "cumsum": lambda x: jnp.cumsum(x, -1) - jnp.cumsum(x[..., ::-1], -1),
    "divide": lambda x: x / (1 + x[..., :1]),
    "dot": lambda x: x[..., :3] @ TABLE.T,
    "einsum": lambda x: jnp.einsum("tbi,tbj->tbij", x, x),
    "erf": lambda x: lax.erf(x) - lax.erfc(x),
    "integer_pow": lambda x: x**3 + x**-2,
    "large": lambda x: jnp.log1p(1e30 * x) / jnp.log1p(1e20 + x),
    "max": lambda x: x.max(-1, keepdims=True) - x.min(-1, keepdims=True),
    "prod": lambda x: x.prod(-1, keepdims=True) * x.sum(-1, keepdims=True),
    "maximum": lambda x: jnp.maximum(x, 0.5) * jnp.minimum(x[..., ::-1], 0.4),
    "numbers": lambda x: jnp.zeros_like(x) + jnp.arange(4.0)[None, None] + jnp.float32(2) ** x,
    "pad": lambda x: jnp.pad(x, [(0, 0), (0, 0), (1, 2)], constant_values=3),
    "power": lambda x: x ** (x + 1),
    "remainder": lambda x: lax.rem(3 * x, jnp.full_like(x, 0.4)),
    "rows": lambda x: jnp.asarray(TABLE)[(4 * x).astype(int)],
    "rows-filled": lambda x: jnp.nan_to_num(jnp.asarray(TABLE).at[(9 * x).astype(int)].get(
        mode="fill", fill_value=7)),
    "rows-clipped": lambda x: jnp.take(
        jnp.asarray(TABLE), (9 * x).astype(int) - 3, axis=0, mode="clip"),
    "split": lambda x: jnp.concatenate(jnp.split(x, 2, -1)[::-1], -1),
    "slices": lambda x: x[..., 1::2] + x[..., :-2] - jnp.swapaxes(x[..., 2:], 0, 0),
    "transpose": lambda x: x.reshape(*x.shape[:2], 2, 2).swapaxes(-1, -2),
    "small": lambda x: jnp.log1p(1e-6 * x) * 1e6 + jnp.expm1(1e-6 * x) * 1e6,
    "sizes": lambda x: x / x.shape[0] + jnp.arange(x.shape[1], dtype=float)[None, :, None],
    "stack": lambda x: jnp.stack([x, 2 * x], -1),
    "stop": lambda x: lax.stop_gradient(x) + jax.checkpoint(jnp.sin)(x),
    "take": lambda x: jnp.take(x, jnp.array([2, 0]), axis=-1),
    "where": lambda x: jnp.where(x > 0.5, x, -1) + jnp.where(x[..., :1] > 0.5, 1.0, x),
}  # fmt: skip


def test_each_primitive_is_its_operator(tmp_path: Path) -> None:
    xs = np.random.default_rng(0).uniform(0.1, 0.9, (3, 2, 4)).astype(np.float32)
    layer = Computes(tuple(FUNCTIONS.values()))
    file = written(tmp_path, layer, {}, input_size=4)
    _, found = file.run(xs, ())
    start = 0
    for name, function in FUNCTIONS.items():
        wanted = np.asarray(function(xs), np.float32).reshape(3, 2, -1)
        part = found[..., start : start + wanted.shape[-1]]
        start += wanted.shape[-1]
        try:
            # Some of these, a power and a sine, are further than 1e-7 from the exact result.
            assert_near(part, wanted, 1e-6)
        except AssertionError:
            raise AssertionError(f"{name} differs: {part} and {wanted}") from None
    assert start == found.shape[-1]


@pytest.mark.parametrize(
    "function, named",
    [
        (jnp.sort, "JAX's sort"),
        (lambda x: jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]), "a piece of a free size"),
        (lambda x: x.astype(complex).real, "an array of complex64"),
        (lambda x: x.astype("bfloat16") + 1, "an array of bfloat16"),
        (lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: 2 * y, x), "JAX's while"),
        (lambda x: x + jax.random.normal(jax.random.key(0), (4,))[None, None], "an array of key"),
        (lambda x: jnp.take_along_axis(x, (x > 0.5).astype(int), -1), "gather along several axes"),
        (lambda x: jnp.fft.fft(x).real, "complex"),
        (lambda x: x if x.shape[0] > 5 else 2 * x, "something else for other numbers of steps"),
    ],
)
def test_what_has_no_operator_is_named(function: Any, named: str, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    layer = r.serial(r.recurrent(r.elman(4)), Computes((function,)))
    params = layer.init(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=rf"^to_onnx\(\) cannot write the layer Computes.*{named}"):
        to_onnx(layer, params, file)
    assert not list(tmp_path.iterdir())


def test_primitives_of_another_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a later JAX may name them."""
    monkeypatch.delitem(RULES, "tanh")
    layer = r.recurrent(r.elman(3, layer_norm=True))
    with pytest.raises(ValueError, match="the cell LayerNormElman, which computes JAX's tanh"):
        to_onnx(layer, layer.init(jax.random.key(0), 2), tmp_path / "a.onnx")


@pytest.mark.parametrize(
    "function, wanted",
    [
        (jnp.tanh, ("Tanh", (), ())),
        (jax.nn.sigmoid, ("Sigmoid", (), ())),
        (jax.nn.relu, ("Relu", (), ())),
        (lambda x: jnp.maximum(0, x), ("Relu", (), ())),
        (lambda x: jnp.where(x > 0, x, 0.0), ("Relu", (), ())),
        (jax.nn.softplus, ("Softplus", (), ())),
        (jax.nn.soft_sign, ("Softsign", (), ())),
        (jax.nn.elu, ("Elu", (1.0,), ())),
        (lambda x: jax.nn.elu(x, 0.5), ("Elu", (0.5,), ())),
        (jax.nn.leaky_relu, ("LeakyRelu", (0.01,), ())),
        (lambda x: jnp.where(x > 0.25, x, 0.0), ("ThresholdedRelu", (0.25,), ())),
        (lambda x: 1.5 * jnp.tanh(0.5 * x), ("ScaledTanh", (1.5,), (0.5,))),
        (lambda x: jnp.tanh(x * 0.5) * 1.5, ("ScaledTanh", (1.5,), (0.5,))),
        (jax.nn.hard_sigmoid, ("HardSigmoid", (1 / 6,), (0.5,))),
        (lambda x: jnp.clip(0.25 * x + 0.5, 0, 1), ("HardSigmoid", (0.25,), (0.5,))),
        (lambda x: 0.5 * x + 2, ("Affine", (0.5,), (2.0,))),
        (lambda x: x, ("Affine", (1.0,), (0.0,))),
        (jax.nn.relu6, None),
        (jnp.sin, None),
        (lambda x: jnp.clip(x, -1, 1), None),
    ],
)
def test_an_activation_is_known_by_what_it_computes(
    function: Any, wanted: Any, tmp_path: Path
) -> None:
    found = activation_of(function)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert found.name == wanted[0]
        np.testing.assert_allclose([*found.alpha, *found.beta], [*wanted[1], *wanted[2]], 1e-6)
    both = (r.recurrent(r.elman(3, activation=f), reverse=back) for f, back in
            ((function, False), (jax.nn.leaky_relu, True)))  # fmt: skip
    layer = r.bidirectional(*both)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32),
                          layer.init(jax.random.key(0), 2))  # fmt: skip
    xs, carry = rng.normal(size=(4, 2, 2)).astype(np.float32), layer.initial_carry((2,))
    file = written(tmp_path, layer, params)
    nodes = {True: ["RNN"], False: ["RNN", "Scan"]}[wanted is not None]
    assert sorted(set(file.operators()) & {"RNN", "Scan"}) == nodes
    with jax.disable_jit():
        wanted_carry, ys = layer.apply(jax.tree.map(jnp.asarray, params), carry, jnp.asarray(xs))
    after, found_ys = file.run(xs, carry)
    assert_near(found_ys, ys)
    assert_near(after, wanted_carry)
