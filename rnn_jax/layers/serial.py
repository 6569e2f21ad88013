"""Layers one on top of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax

from rnn_jax.host.checks import check_parts
from rnn_jax.layers.base import BaseLayer, adapted, check_layer, initial_or, run
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["Serial", "serial"]


@dataclass(frozen=True)
class Serial(BaseLayer):
    """Hyperparameters of `serial`, with the pure functions of a `Layer`."""

    layers: tuple[Layer, ...]

    @property
    def output_size(self) -> int | None:
        """That of the highest layer which has one of its own."""
        sizes = [layer.output_size for layer in self.layers if layer.output_size is not None]
        return sizes[-1] if sizes else None

    @property
    def causal(self) -> bool:
        """Whether every layer is."""
        return all(layer.causal for layer in self.layers)

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        table = adapted(self.layers[0]).input_table
        return None if table is None else ("0", *table)

    def init(self, key: Array, input_size: int) -> Params:
        """``{"0": …, "1": …}``, the layers' parameters from the bottom."""
        params, size = {}, input_size
        keys = jax.random.split(key, len(self.layers))
        for i, (layer, layer_key) in enumerate(zip(self.layers, keys, strict=True)):
            params[str(i)] = layer.init(layer_key, size)
            size = size if layer.output_size is None else layer.output_size
        return params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """A tuple of the layers' initial carries."""
        return tuple(
            layer.initial_carry(batch_shape, None if params is None else _part(params, i))
            for i, layer in enumerate(self.layers)
        )

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """Every layer on the outputs of the one below; the carry is a tuple of theirs."""
        carry = initial_or(self, params, carry, xs)
        check_parts(self, carry, len(self.layers))
        new = []
        for i, (layer, beside) in enumerate(zip(self.layers, self._beside(along), strict=True)):
            c, xs = run(layer, _part(params, i), carry[i], xs, beside, every=every)
            new.append(c)
        return tuple(new), xs

    def run_last(
        self, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        """That of the highest layer with a carry; those above it act on each step alone."""
        if self.causal:
            return super().run_last(params, carry, xs, along)
        carry = initial_or(self, params, carry, xs)
        check_parts(self, carry, len(self.layers))
        length = xs.shape[0]
        parts = enumerate(zip(self.layers, carry, strict=True))
        top = max(i for i, part in parts if not _acts_on_each_step(*part))
        new = []
        for i, (layer, beside) in enumerate(zip(self.layers, self._beside(along), strict=True)):
            part, own = _part(params, i), carry[i]
            if i < top:
                c, xs = run(layer, part, own, xs, beside, every=False)
            elif i == top:
                c, xs = adapted(layer).run_last(part, own, xs, beside)
            else:
                mask = None if along.mask is None else along.mask.any(axis=0)[None]
                one = Along(mask, beside.key, start=along.start + length - 1, rows=along.rows)
                c, ys = run(layer, part, own, xs[None], one, every=False)
                xs = ys[0]
            new.append(c)
        return tuple(new), xs

    def _beside(self, along: Along) -> list[Along]:
        """What travels beside each layer's input: a key of its own."""
        count, key = len(self.layers), along.key
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        return [along._replace(key=key) for key in keys]


def _part(params: Params, i: int) -> Params:
    """The parameters of layer i; those of a layer without any are missing in some files."""
    if not isinstance(params, Mapping):
        raise ValueError(
            "the parameters of serial() must be a dict, one entry for each layer, not "
            f"{type(params).__name__}: pass those that its init gives"
        )
    return params.get(str(i), {})


def _acts_on_each_step(layer: Layer, carry: Carry) -> bool:
    """Whether an output depends on the input of its step alone: nothing else could reach it."""
    return layer.causal and not jax.tree.leaves(carry)


def serial(*layers: Layer) -> Serial:
    """A stack: every layer reads the outputs of the one below it.

    Parameters are ``{"0": …, "1": …}`` from the bottom, the carry is a tuple.

    Args:
      *layers: one or more `Layer`; wrap a cell with `recurrent`.

    Raises:
      ValueError: no layer, or something that is not a layer.

    Example:
      >>> import jax, rnn_jax
      >>> deep = rnn_jax.serial(*[rnn_jax.recurrent(rnn_jax.elman(3)) for _ in range(2)])
      >>> params = deep.init(jax.random.key(0), 5)
      >>> carry, ys = deep.apply(params, None, jax.numpy.ones((7, 4, 5)))
      >>> len(carry), ys.shape
      (2, (7, 4, 3))
    """
    if not layers:
        raise ValueError("serial() needs at least one layer")
    for layer in layers:
        check_layer("serial", layer)
    return Serial(layers)
