"""The float64 oracle: the equations as the papers print them, and the check before the clock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import relu, sigmoid

from benchmarks.measuring.implementation import STEPS, JaxImplementation
from benchmarks.measuring.workloads import Arrays

__all__ = [
    "EQUATIONS", "HALF", "TOLERANCE", "Tolerance", "Wrong", "at_kinks", "check", "expected", "host",
    "in_float64", "tolerance",
]  # fmt: skip

# Every product sums D or H terms rounded to 6e-8 each, in an order of the implementation's own; a
# gradient sums those errors over T·B steps, as it sums what they disturb. What is right ends at
# 2e-7 to some 1e-6 of the largest element; a gate, a bias or a step in the wrong place changes 1e-2
# and more.
TOLERANCE = 1e-5
# The unit roundoff of each dtype. TF32 multiplies 11 bits.
_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_TF32 = 2.0**-11
# In these an update of the size of `LEARNING_RATE` is lost in a parameter's rounding, and a check
# of updates sees nothing: training steps are compared with the oracle in float32 first.
HALF = ("float16", "bfloat16")

TWO_BIASES = "gru reset after, two biases"
_KINKED = "rnn relu"

Step = Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


class Wrong(Exception):
    """An implementation that computes something else than it claims; it is not timed.

    facts: what its row states besides.
    """

    def __init__(self, reason: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts or {}

    def __str__(self) -> str:
        return self.reason


@contextlib.contextmanager
def host() -> Iterator[None]:
    """What is computed within is computed by the CPU, whatever the device is."""
    with jax.default_device(jax.devices("cpu")[0]):
        yield


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Arrays have 64 bits within; on a TPU, which has none, the CPU computes."""
    device = host() if jax.default_backend() == "tpu" else contextlib.nullcontext()
    with device, jax.enable_x64(True):
        yield


def _rnn(activation: Callable[[jax.Array], jax.Array], p: Any, h: Any, x: jax.Array) -> Any:
    h = activation(x @ p["w_ih"] + h @ p["w_hh"] + p["b"][None])
    return h, h


def _gru(reset: str, p: Any, h: Any, x: jax.Array) -> Any:
    b = p["b"]
    if "b_rz" in p:
        b = b + jnp.concatenate([p["b_rz"], jnp.zeros_like(p["b_hn"])])
    zs = jnp.split(x @ p["w_ih"] + b[None], 3, axis=-1)
    w_r, w_z, w_n = jnp.split(p["w_hh"], 3, axis=-1)
    r, z = sigmoid(zs[0] + h @ w_r), sigmoid(zs[1] + h @ w_z)
    inner = r * (h @ w_n + p["b_hn"][None]) if reset == "after" else (r * h) @ w_n
    h = (1 - z) * jnp.tanh(zs[2] + inner) + z * h
    return h, h


def _lstm(p: Any, carry: Any, x: jax.Array) -> Any:
    h, c = carry
    i, f, g, o = jnp.split(x @ p["w_ih"] + h @ p["w_hh"] + p["b"][None], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (h, c), h


# What the field's libraries compute under three names; the first word is the cell.
EQUATIONS: dict[str, Step] = {
    "rnn tanh": partial(_rnn, jnp.tanh),
    _KINKED: partial(_rnn, relu),
    "gru reset after": partial(_gru, "after"),
    # The same values, but two biases of one gate train at twice the rate of one.
    TWO_BIASES: partial(_gru, "after"),
    "gru reset before": partial(_gru, "before"),
    "lstm": _lstm,
}


def expected(equations: str, arrays: Arrays, pass_name: str) -> Arrays:
    """The right results of a pass of `benchmarks.measuring.implementation.PASSES`, in float64."""
    return _expected(EQUATIONS[equations], equations, arrays, pass_name)


def at_kinks(
    equations: str, arrays: Arrays, pass_name: str, allowance: Tolerance
) -> dict[str, float]:
    """How far off rounding may take any element, by name, where it crosses the kink of a ReLU.

    An argument that rounds to the other side of 0 leaves the output right and turns its derivative
    from 0 to 1; among DeepBench's 16 million arguments some always do. So the oracle has its kink
    once above and once below 0, by a tenth of the relative tolerance. The largest difference,
    doubled because only some of the arguments between cross, is allowed to all. Empty where there
    is no kink.
    """
    if equations != _KINKED:
        return {}
    above, below = (
        _expected(
            partial(_rnn, partial(_relu_from, side * allowance.relative / 10)),
            equations,
            arrays,
            pass_name,
        )
        for side in (1, -1)
    )
    return {
        name: 2 * float(np.abs(array - below[name]).max(initial=0.0))
        for name, array in above.items()
    }


def _relu_from(kink: float, z: jax.Array) -> jax.Array:
    return jnp.where(z > kink, z, 0)


def _expected(step: Step, equations: str, arrays: Arrays, pass_name: str) -> Arrays:
    with in_float64():
        double = {name: array.astype(np.float64) for name, array in arrays.items()}
        params = {name: a for name, a in double.items() if name not in ("xs", "weights")}
        if equations == "gru reset before":
            del params["b_hn"]
        elif equations == TWO_BIASES:
            params["b_rz"] = np.zeros(2 * params["b_hn"].size)
        oracle = JaxImplementation(
            equations,
            partial(_apply, step),
            params,
            lambda tree: {name: leaf for name, leaf in tree.items() if name != "b_rz"},
            double,
        )
        return oracle.prepare(pass_name).result()


def _apply(step: Step, params: Any, xs: jax.Array) -> jax.Array:
    zeros = jnp.zeros((xs.shape[1], params["w_hh"].shape[0]), xs.dtype)
    carry = (zeros, zeros) if step is _lstm else zeros
    return lax.scan(partial(step, params), carry, xs)[1]


class Tolerance(NamedTuple):
    """Allowed errors: a part of the largest element, and a parameter's rounding at each step."""

    relative: float = TOLERANCE
    roundoff: float = _ROUNDOFF["float32"]


def tolerance(dtype: str, precision: str, length: int = 0) -> Tolerance:
    """By how much an implementation in a dtype may be off, over ``length`` steps.

    A gradient's sum over T steps is off by some √T roundings; `TOLERANCE` has room for a thousand.
    Below float32 the errors themselves come near 1e-2, and a check sees gross mistakes only.
    """
    roundoff = _ROUNDOFF[dtype]
    if (dtype, precision, jax.default_backend()) == ("float32", "default", "tpu"):
        return Tolerance(16 * _ROUNDOFF["bfloat16"], roundoff)  # one product of bfloat16
    if dtype == "float32" and precision != "highest" and jax.default_backend() != "cpu":
        return Tolerance(32 * _TF32, roundoff)
    coarse = {"float16": 32 * roundoff, "bfloat16": 16 * roundoff}
    relative = coarse.get(dtype, TOLERANCE * roundoff / _ROUNDOFF["float32"])
    return Tolerance(relative * max(1.0, length / 1000) ** 0.5, roundoff)


def check(
    got: Arrays,
    want: Arrays,
    pass_name: str,
    allowance: Tolerance | None = None,
    slack: Mapping[str, np.ndarray | float] | None = None,
) -> None:
    """Raise `Wrong` unless ``got`` agrees with ``want``, the results of the oracle.

    slack: what elements may be off beside, by name.
    """
    relative, roundoff = Tolerance() if allowance is None else allowance
    if got.keys() != want.keys():
        raise Wrong(f"wrong: it gives {sorted(got)}, not {sorted(want)}")
    for name, array in want.items():
        if got[name].shape != array.shape:
            raise Wrong(f"wrong: its {name} has shape {got[name].shape}, not {array.shape}")
        error = np.abs(got[name].astype(np.float64) - array)
        if slack is not None and name in slack:
            error = error - slack[name]
        error = error.max(initial=0.0)
        size = np.abs(array).max(initial=0.0)
        if name == "loss" and "xs" in want:
            # A sum of T·B·H terms of either sign, which may end near zero.
            size = (want["xs"][..., 0].size * want["w_hh"].shape[0]) ** 0.5
        allowed = relative * size
        if pass_name == "many-steps":
            # The parameters, up to about 1, were rounded at every step; updates are small.
            allowed += STEPS * roundoff
        if not error <= allowed:
            raise Wrong(
                f"wrong: its {name} is off by {error:.1e} at an element, {allowed:.1e} is allowed"
            )
