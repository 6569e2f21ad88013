"""A layer with perturbations of its carry after every step, to differentiate with respect to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.arrays.masking import expand
from rnn_jax.layers.wrapper import Wrapper, inside
from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.truncation import Truncated
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["Perturbed", "rebuild"]

# Inputs, mask and gradient scale of some steps.
Step: TypeAlias = tuple[Array, Array | None, Array | None]


# eq=False: it holds arrays, which neither compare nor hash by value.
@dataclass(frozen=True, eq=False)
class Perturbed(Wrapper):
    """``layer``, step by step, with ``states[t]`` and ``outputs[t]`` added after each valid step t.

    t is the absolute step, so that a window of a truncation that begins later than step 0 still
    adds the perturbations of its own steps. Where ``outputs`` is None, no output is changed.
    """

    states: Carry
    outputs: Array | None

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        **along: Unpack[Along],
    ) -> tuple[Carry, Array]:
        """The layer, one step after the other."""
        gradient_scale, _ = settled(along.get("gate"), None, mask, reverse=False)
        positions = along.get("start", 0) + jnp.arange(xs.shape[0])
        # None has no leaves, so an absent mask or gradient scale stays absent in every step.
        steps: Step = jax.tree.map(lambda leaf: leaf[:, None], (xs, mask, gradient_scale))

        def body(carry: Carry, positioned: tuple[Array, Step]) -> tuple[Carry, Array]:
            t, (x, valid, scale) = positioned
            carry, y = self.layer.apply(params, carry, x, mask=valid, key=key, gate=scale, start=t)

            def add(value: Array, perturbation: Array) -> Array:
                added = perturbation[t].astype(value.dtype)
                if valid is None:
                    return value + added
                # The positions before step 0 that pad a window are masked: nothing is added there.
                return value + jnp.where(expand(valid[0], value), added, 0)

            carry = jax.tree.map(add, carry, self.states)
            return carry, (y[0] if self.outputs is None else add(y[0], self.outputs))

        return lax.scan(body, carry, (positions, steps))


def rebuild(layer: Any, change: Callable[[Layer], Layer]) -> Any:
    """The layer with ``change`` applied to the largest parts that hold no truncation.

    A part applied step by step has the gradients of the part applied at once. A truncation looks at
    all steps of a call, so it must stay outside whatever is applied step by step. In a model, only
    the recurrent part is rebuilt: everything else acts on each step alone.
    """
    over = getattr(layer, "over", None)
    if over is not None:
        return over(rebuild(layer.layer, change))
    if not any(isinstance(part, Truncated) for part in inside(layer)):
        return change(layer)

    def replaced(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(replaced, value))
        return rebuild(value, change) if isinstance(value, Layer) else value

    if isinstance(layer, Truncated):  # it holds a layer or a model
        return dataclasses.replace(layer, layer=rebuild(layer.layer, change))
    names = [field.name for field in dataclasses.fields(layer)]
    return dataclasses.replace(layer, **{name: replaced(getattr(layer, name)) for name in names})
