"""What the package asks of a layer beyond the protocol, declared once with its defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Never

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import at_first_valid, at_last_valid
from rnn_jax.arrays.products import narrow_like, widened
from rnn_jax.cells.memory import named
from rnn_jax.host.checks import check_renamed
from rnn_jax.jaxprs import in_auto_mode, scan, vary_over, varying_axes
from rnn_jax.layers.options import check_takes
from rnn_jax.recurrence.gradient_scale import settled
from rnn_jax.recurrence.layouts import batch_shape_of, checked_steps, layouts_of
from rnn_jax.types import Along, Array, Carry, Layer, Model, Params, Share, Steps

__all__ = [
    "Apart",
    "BaseLayer",
    "adapted",
    "check_layer",
    "initial_or",
    "inside",
    "run",
    "single_steps",
]


class Apart(NamedTuple):
    """A model that ends in a read-out, in its two parts.

    features: the model without it, whose outputs are what is read out.
    read_out: from the model's parameters to the matrix, the bias or None, and the axis of the
      matrix along which the model's outputs lie; None where the read-out is something else.
    path: where in the parameters ``{"w": …, "b"?: …}`` of the read-out stands that nothing else
      reads; None where something does, as the embedding of a tied model.
    loss: where there is no such matrix, from the model's parameters, features and targets
      to the cross-entropy, with the options of `rnn_jax.models.softmax.Softmax.loss`.
    draw: from a key, targets and a mask to the words of a training step, ``drawn`` of that loss.
    tables: where in the parameters the tables stand of which a step reads the rows of these only.
    """

    features: BaseLayer
    read_out: Callable[[Params], tuple[Array, Array | None, int]] | None
    path: tuple[str, ...] | None
    loss: Callable[..., Array] | None = None
    draw: Callable[[Array, Array, Array | None], Any] | None = None
    tables: tuple[tuple[str, ...], ...] = ()

    def within(
        self,
        features: BaseLayer,
        part: Callable[[Params], Params],
        place: tuple[str, ...] = (),
        *,
        path: bool = True,
    ) -> Apart:
        """The same of a larger model, of whose parameters this one's are a ``part``, at ``place``.

        path: whether the part is that entry itself, whose read-out can be changed in place.
        """
        read_out, loss = self.read_out, self.loss
        tables = tuple((*place, *table) for table in self.tables)
        own = None if self.path is None or not path else (*place, *self.path)

        def of_part(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
            if function is None:
                return None
            return lambda params, *args, **options: function(part(params), *args, **options)

        return Apart(features, of_part(read_out), own, of_part(loss), self.draw, tables)


class BaseLayer:
    """The base of every layer and model of the package, and of a fast layer of your own.

    A class adds ``init``, `output_size`, `run`, and what differs from the defaults below; it gets
    `apply` and `carries` in return. A class of your own that meets the protocol `Layer` without
    this base works as well, step by step where the carry after every step is wanted.

    Example:
      >>> import jax, rnn_jax
      >>> from dataclasses import dataclass
      >>> @dataclass(frozen=True)
      ... class Scale(rnn_jax.BaseLayer):
      ...     factor: float
      ...     def init(self, key, input_size):
      ...         return {}
      ...     def run(self, params, carry, xs, along, *, every):
      ...         return (), self.factor * xs
      >>> layer = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.elman(3)), Scale(2.0))
      >>> params = layer.init(jax.random.key(0), 5)
      >>> layer.apply(params, None, jax.numpy.ones((7, 4, 5)))[1].shape
      (7, 4, 3)
    """

    # Whether `apply` is of the class's own and not made of `run`: then `adapted` goes by it.
    own_apply: ClassVar[bool] = False
    # Whether it counts steps from the first of a call: what cuts calls must not hold it.
    counts_steps: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        first = next(c for c in cls.__mro__ if {"apply", "run"} & set(vars(c)))
        cls.own_apply = "run" not in vars(first)

    @property
    def output_size(self) -> int | None:
        """Features of one output; None where it equals the number of input features."""
        return None

    @property
    def causal(self) -> bool:
        """Whether an output depends on no later input."""
        return True

    @property
    def reverse(self) -> bool:
        """Whether it runs from the last step to the first and looks at no step before."""
        return False

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects; None: nowhere."""
        return None

    @property
    def one_output(self) -> bool:
        """Whether it gives one output for a whole sequence, ``[B, …]``."""
        return False

    @property
    def noise(self) -> str | None:
        """What it draws from the key by itself, as ``dropout(0.5)``; None: nothing."""
        return None

    @property
    def recurrent_part(self) -> Layer | None:
        """Of a model, the part besides which all acts on each step alone; None for a layer."""
        return None

    def over(self, layer: Layer) -> Any:
        """The same model with another `recurrent_part`."""
        raise TypeError(f"{type(self).__name__} is not over another layer")

    @property
    def apart(self) -> Apart | None:
        """Of a model that ends in a read-out, its two parts: a loss may want no outputs."""
        return None

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The carry before the first step; by default none, an empty tuple."""
        return ()

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The sequence ``xs`` from ``carry`` (None: the initial one): new carry and outputs.

        With ``every``, which only a causal layer is asked for, the first result holds the carry
        after every step, ``[T, B, …]``.
        """
        raise TypeError(f"{type(self).__name__} has no run: define one")

    def run_last(
        self, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        """As `run`, with the one output ``[B, …]`` for which a row's every step has been read.

        That of its last valid step, or in reverse of its first; zeros for a row without one.

        Raises:
          ValueError: the layer reads in both directions and has no such output.
        """
        if not self.causal and not self.reverse:
            raise ValueError(
                f"no output of {self!r} has read all steps, for it reads in both directions: pool "
                "the outputs by 'mean' or 'max'"
            )
        carry, ys = self.run(params, carry, xs, along, every=False)
        return carry, (at_first_valid if self.reverse else at_last_valid)(ys, along.mask)

    def apply(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        gradient_scale: Array | None = None,
        start: Array | int = 0,
        rows: Array | int | Share | None = None,
        resets: Array | None = None,
        **renamed: Never,
    ) -> tuple[Carry, Array]:
        """The sequence ``xs`` from ``carry`` (None: the initial one): new carry and outputs.

        Where ``mask`` is False the carry is held and the output is zero. ``key=None`` means
        inference: no noise. For the rest see `Along`.
        """
        check_renamed("apply", renamed)
        along = Along(mask, key, gradient_scale, start, rows, resets)
        return _laid_out(self, params, carry, xs, along, every=False)

    def carries(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        mask: Array | None = None,
        key: Array | None = None,
        gradient_scale: Array | None = None,
        start: Array | int = 0,
        rows: Array | int | Share | None = None,
        resets: Array | None = None,
        **renamed: Never,
    ) -> tuple[Carry, Array]:
        """As `apply`, but the first result holds the carry after every step, ``[T, B, …]``.

        Raises:
          ValueError: the layer is not causal.
        """
        check_renamed("carries", renamed)
        if not self.causal:
            raise ValueError(f"{self!r} is not causal: it has no carry after each step")
        along = Along(mask, key, gradient_scale, start, rows, resets)
        return _laid_out(adapted(self), params, carry, xs, along, every=True)


def _laid_out(
    layer: BaseLayer, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
) -> tuple[Carry, Array]:
    """`BaseLayer.run`, also of arrays that are laid out over Explicit axes of a mesh."""
    run, (carries, steps) = partial(layer.run, every=every), layouts_of(carry, xs, every=every)
    along = along.over(checked_steps(xs, along.steps), along.start)
    layouts = carries, steps[1:] if layer.one_output else steps
    result: tuple[Carry, Array] = in_auto_mode(run, (params, carry, xs, along), layouts)
    return result


def initial_or(layer: Layer | Model | BaseLayer, params: Params, carry: Carry, xs: Array) -> Carry:
    """``carry``, or the layer's initial one for the batch shape of ``xs`` where it is None."""
    return layer.initial_carry(batch_shape_of(xs), params) if carry is None else carry


@dataclass(frozen=True)
class _Adapted(BaseLayer):
    """A layer or model of somebody else's class, by its ``apply`` alone."""

    layer: Any

    @property
    def output_size(self) -> int | None:
        return self.layer.output_size

    @property
    def causal(self) -> bool:
        return self.layer.causal

    @property
    def reverse(self) -> bool:
        return isinstance(self.layer, BaseLayer) and self.layer.reverse

    @property
    def input_table(self) -> tuple[str, ...] | None:
        return self.layer.input_table if isinstance(self.layer, BaseLayer) else None

    @property
    def recurrent_part(self) -> Layer | None:
        return self.layer.recurrent_part if isinstance(self.layer, BaseLayer) else None

    def over(self, layer: Layer) -> Any:
        return self.layer.over(layer) if isinstance(self.layer, BaseLayer) else super().over(layer)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        return self.layer.initial_carry(batch_shape, params)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        if every:
            return self._step_by_step(params, carry, xs, along)
        default, given = Along()._asdict(), along._asdict()
        options = {name: value for name, value in given.items() if value is not default[name]}
        check_takes(self.layer, options)
        new, ys = self.layer.apply(params, carry, xs, **{"mask": None, "key": None, **options})
        return (new if carry is None else named(new, carry)), ys

    def _step_by_step(
        self, params: Params, carry: Carry, xs: Array, along: Along
    ) -> tuple[Carry, Array]:
        def body(carry: Carry, step: tuple[Array, Array, Steps]) -> tuple[Carry, tuple[Any, Any]]:
            position, x, steps = step
            read = narrow_like(wide, params)
            carry, y = self.run(read, carry, x, along.over(steps, position), every=False)
            carry = vary_over(axes, carry)
            return carry, (carry, y[0])

        axes, wide = varying_axes(params, carry, xs, along), widened(params)
        carry = vary_over(axes, initial_or(self, params, carry, xs))
        result: tuple[Carry, Array] = scan(body, carry, single_steps(xs, along))[1]
        return result


def single_steps(xs: Array, along: Along) -> tuple[Array, Array, Steps]:
    """Positions, inputs and `Steps` of the calls with one step each that ``xs`` is cut into."""
    positions = along.start + jnp.arange(xs.shape[0])
    # A masked step by itself would forget what it should hand on to the next valid one.
    steps = settled(along.steps, reverse=False)
    xs, steps = jax.tree.map(lambda leaf: leaf[:, None], (xs, steps))
    return positions, xs, steps


def adapted(layer: Layer | Model | BaseLayer) -> BaseLayer:
    """``layer`` with all members of a `BaseLayer`, and a `run` that is what its ``apply`` is.

    Itself, unless it only meets the protocol or has an ``apply`` of its own.
    """
    if isinstance(layer, BaseLayer) and not layer.own_apply:
        return layer
    return _Adapted(layer)


def run(
    layer: Layer | Model | BaseLayer,
    params: Params,
    carry: Carry,
    xs: Array,
    along: Along,
    *,
    every: bool,
) -> tuple[Carry, Array]:
    """`BaseLayer.run` of any layer: how a layer runs one inside it."""
    return adapted(layer).run(params, carry, xs, along, every=every)


def check_layer(what: str, layer: Any, *, or_model: bool = False) -> None:
    """Raise ValueError unless ``layer`` is a `Layer`, or a `Model` where that will do."""
    wanted = Layer | Model if or_model else Layer
    if isinstance(layer, type) or not isinstance(layer, wanted):
        kind = "layer or model" if or_model else "layer"
        raise ValueError(f"{what}() takes a {kind}, not {layer!r}: wrap a cell with recurrent()")


def inside(value: Any) -> Iterator[Any]:
    """A layer, and all layers, cells and kinds that it is made of."""
    yield value
    if isinstance(value, tuple):
        for part in value:
            yield from inside(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from inside(getattr(value, field.name))
