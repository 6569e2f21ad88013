"""A layer with perturbations of its carry after every step, to differentiate with respect to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import expand
from rnn_jax.jaxprs import scan
from rnn_jax.layers.base import adapted, initial_or, inside, run, single_steps
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.truncation import Truncated
from rnn_jax.types import Along, Array, Carry, Layer, Params, Steps

__all__ = ["Perturbed", "rebuild"]


# eq=False: it holds arrays, which neither compare nor hash by value.
@dataclass(frozen=True, eq=False)
class Perturbed(Wrapper):
    """``layer``, step by step, with ``states[t]`` and ``outputs[t]`` added after each valid step t.

    t is the absolute step, so that a window of a truncation that begins later than step 0 still
    adds the perturbations of its own steps. Where ``outputs`` is None, no output is changed.
    """

    states: Carry
    outputs: Array | None

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The layer, one step after the other."""

        def body(carry: Carry, step: tuple[Array, Array, Steps]) -> tuple[Carry, Any]:
            t, x, steps = step
            carry, y = run(self.layer, params, carry, x, along.over(steps, t), every=False)

            def add(value: Array, perturbation: Array) -> Array:
                added = perturbation[t].astype(value.dtype)
                if steps.mask is None:
                    return value + added
                # The positions before step 0 that pad a window are masked, and so never added.
                return value + jnp.where(expand(steps.mask[0], value), added, 0)

            carry = jax.tree.map(add, carry, self.states)
            y = y[0] if self.outputs is None else add(y[0], self.outputs)
            return carry, (carry if every else None, y)

        carry = initial_or(self.layer, params, carry, xs)
        last, (carries, ys) = scan(body, carry, single_steps(xs, along))
        return (carries if every else last), ys


def rebuild(layer: Any, change: Callable[[Layer], Layer]) -> Any:
    """The layer with ``change`` applied to the largest parts that hold no truncation.

    A part applied step by step has the gradients of the part applied at once. A truncation looks at
    all steps of a call, so it must stay outside whatever is applied step by step. In a model, only
    the recurrent part is rebuilt: everything else acts on each step alone.
    """
    base = adapted(layer)
    if base.recurrent_part is not None:
        return base.over(rebuild(base.recurrent_part, change))
    if not any(isinstance(part, Truncated) for part in inside(layer)):
        return change(layer)

    def replaced(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(replaced, value))
        return rebuild(value, change) if isinstance(value, Layer) else value

    if isinstance(layer, Truncated):  # it holds a layer or a model
        # The reference form, because the changed parts hold arrays to differentiate by.
        return dataclasses.replace(layer, layer=rebuild(layer.layer, change), reference=True)
    names = [field.name for field in dataclasses.fields(layer)]
    return dataclasses.replace(layer, **{name: replaced(getattr(layer, name)) for name in names})
