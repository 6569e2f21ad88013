"""ONNX's activations of a recurrent node, as functions of one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.types import Array

__all__ = ["Activation", "activation"]

# Those without parameters, by the name in lower case: ONNX takes no heed of case.
_PLAIN: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softsign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
}
# The others: how many parameters they take, and these where the file gives none, as ONNX Runtime
# has it. Where it has 0, the function is not what its name says, and a file must give them.
_DEFAULTS: dict[str, tuple[float | None, ...]] = {
    "affine": (None, None),
    "leakyrelu": (0.01,),
    "thresholdedrelu": (None,),
    "scaledtanh": (None, None),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0,),
}


@dataclass(frozen=True)
class Activation:
    """An activation with its parameters: equal, and hashed, by name and numbers.

    Affine ``αx + β``, LeakyRelu ``x`` or ``αx`` below 0, ThresholdedRelu ``x`` above α and else 0,
    ScaledTanh ``α tanh(βx)``, HardSigmoid ``min(max(αx + β, 0), 1)``, Elu ``x`` or
    ``α(eˣ - 1)`` below 0.

    Example:
      >>> Activation("HardSigmoid", 0.2, 0.5)(1.0)
      Array(0.7, dtype=float32, weak_type=True)
    """

    name: str
    alpha: float
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        """The activation of ``x``."""
        a, b = self.alpha, self.beta
        match self.name.lower():
            case "affine":
                return a * x + b
            case "leakyrelu":
                return jnp.where(x < 0, a * x, x)
            case "thresholdedrelu":
                return jnp.where(x > a, x, jnp.zeros_like(x))
            case "scaledtanh":
                return a * jnp.tanh(b * x)
            case "hardsigmoid":
                return jnp.clip(a * x + b, 0, 1)
            case "elu":
                return jnp.where(x < 0, a * jnp.expm1(jnp.minimum(x, 0)), x)
        raise ValueError(f"ONNX has no activation {self.name}")


def activation(
    name: str, alphas: list[float], betas: list[float]
) -> Callable[[Array], Array] | str:
    """The function of a name, which takes its parameters off the lists; or what is amiss with it.

    Example:
      >>> activation("Tanh", [], []) is jnp.tanh
      True
      >>> alphas = [0.1, 0.2]
      >>> activation("LeakyRelu", alphas, []), alphas
      (Activation(name='LeakyRelu', alpha=0.1, beta=0.0), [0.2])
      >>> activation("Affine", [], [])
      'Affine without its alpha and beta'
    """
    if (plain := _PLAIN.get(name.lower())) is not None:
        return plain
    defaults = _DEFAULTS.get(name.lower())
    if defaults is None:
        return f"an activation {name} that ONNX does not have"
    given = [
        values.pop(0) if values else default
        for values, default in zip((alphas, betas), defaults, strict=False)
    ]
    if None in given:
        return f"{name} without its {' and '.join(('alpha', 'beta')[: len(defaults)])}"
    return Activation(name, *(value for value in given if value is not None))
