"""Which of ONNX's activations a function is: known by its operations, not by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from rnn_jax.export.onnx.primitives import COMMUTES, called, is_copy
from rnn_jax.export.onnx.translate import struct

__all__ = ["Activation", "activation_of"]

Expression = Any  # (primitive, parameters, *operands), a number, or the name of an argument


class Activation(NamedTuple):
    """An activation of ONNX's LSTM, GRU and RNN, with its coefficients, all of them stated."""

    name: str
    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()


def activation_of(function: Callable[[Any], Any]) -> Activation | None:
    """The activation that a function of one number is; None if it is none, or cannot be read.

    Example:
      >>> activation_of(jnp.tanh), activation_of(jax.nn.gelu)
      (Activation(name='Tanh', alpha=(), beta=()), None)
      >>> activation_of(lambda x: jax.nn.leaky_relu(x, 0.25))
      Activation(name='LeakyRelu', alpha=(0.25,), beta=())
    """
    try:
        wanted = _expression(function, "x")
        for name, template, fixed in _TEMPLATES:
            arguments = template.__code__.co_varnames[: template.__code__.co_argcount]
            found = _matched(_expression(template, *arguments), wanted, {})
            if found is not None:
                found = {**fixed, **found}
                coefficients = ((found[key],) if key in found else () for key in _COEFFICIENTS)
                return Activation(name, *coefficients)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
        return None
    return None


_COEFFICIENTS = ("alpha", "beta")

# name, the function, coefficients that it has besides those it takes. No two can be the same.
_TEMPLATES: tuple[tuple[str, Callable[..., Any], dict[str, float]], ...] = (
    ("Tanh", lambda x: jnp.tanh(x), {}),
    ("Sigmoid", lambda x: jax.nn.sigmoid(x), {}),
    ("Relu", lambda x: jax.nn.relu(x), {}),
    ("Relu", lambda x: jnp.where(x > 0, x, 0), {}),
    ("Relu", lambda x: jnp.where(x > 0, x, 0.0), {}),
    ("Softplus", lambda x: jax.nn.softplus(x), {}),
    ("Softsign", lambda x: jax.nn.soft_sign(x), {}),
    ("Softsign", lambda x: x / (1 + jnp.abs(x)), {}),
    ("Elu", lambda x, alpha: jax.nn.elu(x, alpha), {}),
    ("LeakyRelu", lambda x, alpha: jax.nn.leaky_relu(x, alpha), {}),
    ("ThresholdedRelu", lambda x, alpha: jnp.where(x > alpha, x, 0), {}),
    ("ThresholdedRelu", lambda x, alpha: jnp.where(x > alpha, x, 0.0), {}),
    ("ScaledTanh", lambda x, alpha, beta: alpha * jnp.tanh(beta * x), {}),
    ("HardSigmoid", lambda x: jax.nn.hard_sigmoid(x), {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSigmoid", lambda x, alpha, beta: jnp.clip(alpha * x + beta, 0, 1), {}),
    ("Affine", lambda x, alpha, beta: alpha * x + beta, {}),
    ("Affine", lambda x, alpha: alpha * x, {"beta": 0.0}),
    ("Affine", lambda x: x, {"alpha": 1.0, "beta": 0.0}),
)


def _expression(function: Callable[..., Any], *names: str) -> Expression:
    """What a function of numbers computes, with calls written out and copies left out."""
    number = struct((), jnp.float32, weak=True)
    traced = jax.make_jaxpr(function)(struct((), jnp.float32), *[number] * (len(names) - 1))
    (result,) = _results(traced.jaxpr, traced.consts, names)
    return result


def _results(jaxpr: Any, consts: Any, operands: Any) -> list[Expression]:
    known = dict(zip(jaxpr.constvars, map(float, consts), strict=True))
    known.update(zip(jaxpr.invars, operands, strict=True))

    def read(v: Any) -> Expression:
        return float(v.val) if isinstance(v, Literal) else known[v]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        if (inner := called(eqn)) is not None:
            results = _results(*inner, inputs)
        elif is_copy(eqn):
            results = inputs
        else:
            results = [(str(eqn.primitive), eqn.params.get("y"), *inputs)]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _matched(
    template: Expression, wanted: Expression, found: dict[str, float]
) -> dict[str, float] | None:
    """The coefficients with which the template is what is wanted; None if there are none."""
    if template in _COEFFICIENTS:
        if not isinstance(wanted, float) or found.get(template, wanted) != wanted:
            return None
        return {**found, template: wanted}
    if not isinstance(template, tuple) or not isinstance(wanted, tuple):
        return found if template == wanted else None
    if template[:2] != wanted[:2] or len(template) != len(wanted):
        return None
    orders = [wanted[2:]]
    if template[0] in COMMUTES:
        orders.append(wanted[:1:-1])
    for order in orders:
        known: dict[str, float] | None = found
        for part, other in zip(template[2:], order, strict=True):
            known = None if known is None else _matched(part, other, known)
        if known is not None:
            return known
    return None
