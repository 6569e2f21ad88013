"""A recurrent part over features or ids and a linear read-out: what models of both share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import affine
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import member
from rnn_jax.layers.base import BaseLayer, adapted
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["Features", "ReadOut", "read_out"]


@dataclass(frozen=True)
class Features(BaseLayer):
    """A model without its read-out, with the model's parameters; see `Apart`."""

    model: Any

    @property
    def causal(self) -> bool:
        """That of the model."""
        causal: bool = self.model.causal
        return causal

    @property
    def encode(self) -> Any:
        """That of an encoder-decoder; no other model has one."""
        return self.model.encode

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """That of the model."""
        return self.model.initial_carry(batch_shape, params)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The new carry, and what the read-out reads."""
        found: tuple[Carry, Array] = self.model.run_features(params, carry, xs, along, every=every)
        return found


class ReadOut(BaseLayer):
    """The base of models with the parameters ``{"layer": …, "readout": {"w": [H, C], "b"?: [C]}}``.

    A class adds its fields, `output_size` and `run`.
    """

    layer: Layer
    input_size: int
    bias: bool

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        table = adapted(self.layer).input_table
        return None if table is None else ("layer", *table)

    def init(self, key: Array) -> Params:
        """``{"layer": …, "readout": {"w": [H, C], "b"?: [C]}}``; ``w`` in ±1/√H, ``b`` zero."""
        layer_key, readout_key = jax.random.split(key)
        features, size = self.layer.output_size or self.input_size, cast(int, self.output_size)
        readout = {"w": uniform_fan_in(readout_key, (features, size))}
        if self.bias:
            readout["b"] = jnp.zeros(size)
        return {"layer": self.layer.init(layer_key, self.input_size), "readout": readout}

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The recurrent part's initial carry."""
        part = None if params is None else member(self, params, "layer")
        return self.layer.initial_carry(batch_shape, part)

    def _refuse_integer_features(self, xs: Array) -> None:
        if is_ids(xs) and xs.ndim > 2 and xs.shape[-1] == self.input_size:
            raise ValueError(
                f"integers {xs.dtype}{list(xs.shape)} are token ids of a batch "
                f"{list(xs.shape[1:])}: if they are features, pass xs.astype(float), else flatten "
                "the batch to one axis"
            )


def read_out(params: Params, ys: Array) -> Array:
    """``y W + b`` for ``float[…, H]``, in the `state_dtype` of ``W``."""
    return affine(ys, params["w"], params.get("b"))
