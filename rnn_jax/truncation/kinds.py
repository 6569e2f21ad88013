"""The kinds of truncation, as values: which gradients each of them lets through."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import last_valid
from rnn_jax.arrays.noise import every_step
from rnn_jax.host.checks import not_negative, positive
from rnn_jax.types import Along, Array

__all__ = [
    "Chunked",
    "Full",
    "Randomized",
    "Sliding",
    "Tail",
    "Truncation",
    "check_kind",
    "chunked",
    "full",
    "parse_truncation",
    "randomized",
    "sliding",
    "tail",
]

# Keeps the draws of `randomized` apart from the noise that the layer draws from the same key.
_SCALE_STREAM = 0x67617465


def _positions(shape: tuple[int, ...]) -> Array:
    """``int[T, 1, …]``, counted from the first step of this call."""
    return jnp.arange(shape[0]).reshape((-1,) + (1,) * (len(shape) - 1))


@dataclass(frozen=True)
class Truncation:
    """A kind of truncation; by itself the one that cuts nothing.

    ``shape`` is ``[T, B]``, of the steps and rows of one call.
    """

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "gate" in vars(cls):  # which nothing would call
            raise TypeError(f"{cls.__name__}.gate: it is called gradient_scale now")

    @property
    def noise(self) -> str | None:
        """What it draws from the key, as ``randomized(0.9)``; None: nothing."""
        return None

    def gradient_scale(self, shape: tuple[int, ...], along: Along) -> Array | None:
        """``float[T, B]``, the factor on the carry's gradient before each step; None for ones."""
        return None

    def live_outputs(self, shape: tuple[int, ...], along: Along) -> Array | None:
        """``bool[T, B]``, which outputs send back a gradient at all; None for all."""
        return None


def check_kind(kind: Truncation) -> None:
    """Raise ValueError unless ``kind`` is a kind of truncation."""
    if not isinstance(kind, Truncation) or type(kind) is Truncation:
        raise ValueError(f"{kind!r} is not a truncation: use full(), chunked(35), sliding(4), …")


@dataclass(frozen=True)
class Full(Truncation):
    """See `full`."""

    def __str__(self) -> str:
        return "full"


@dataclass(frozen=True)
class Chunked(Truncation):
    """See `chunked`."""

    window: int

    def __post_init__(self) -> None:
        positive(window=self.window)

    def gradient_scale(self, shape: tuple[int, ...], along: Along) -> Array:
        """Zero where a window begins, the first one excepted."""
        t = _positions(shape)
        return jnp.broadcast_to(jnp.where((t > 0) & (t % self.window == 0), 0.0, 1.0), shape)

    def __str__(self) -> str:
        return f"chunked:{self.window}"


@dataclass(frozen=True)
class Sliding(Truncation):
    """See `sliding`."""

    steps: int

    def __post_init__(self) -> None:
        not_negative(steps=self.steps)

    def __str__(self) -> str:
        return f"sliding:{self.steps}"


@dataclass(frozen=True)
class Tail(Truncation):
    """See `tail`."""

    steps: int

    def __post_init__(self) -> None:
        positive(steps=self.steps)

    def _first(self, shape: tuple[int, ...], mask: Array | None) -> Array:
        last = shape[0] - 1 if mask is None else last_valid(mask)[None]
        return jnp.asarray(last - self.steps + 1)

    def gradient_scale(self, shape: tuple[int, ...], along: Along) -> Array:
        """Zero at the first of the last steps, unless that is the first of all."""
        t, first = _positions(shape), self._first(shape, along.mask)
        return jnp.broadcast_to(jnp.where((t > 0) & (t == first), 0.0, 1.0), shape)

    def live_outputs(self, shape: tuple[int, ...], along: Along) -> Array:
        """True on the last steps."""
        return jnp.broadcast_to(_positions(shape) >= self._first(shape, along.mask), shape)

    def __str__(self) -> str:
        return f"tail:{self.steps}"


@dataclass(frozen=True)
class Randomized(Truncation):
    """See `randomized`."""

    keep: float

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be a probability in (0, 1], not {self.keep}")

    @property
    def noise(self) -> str | None:
        """What it draws, unless it keeps everything."""
        return f"randomized({self.keep})" if self.keep < 1 else None

    def gradient_scale(self, shape: tuple[int, ...], along: Along) -> Array | None:
        """``1/keep`` with probability ``keep``, else 0, for every step and row; none unkeyed."""
        if along.key is None:
            return None
        apart = along._replace(key=jax.random.fold_in(along.key, _SCALE_STREAM))

        def draw(key: Array, rows: tuple[int, ...]) -> Array:
            return jax.random.bernoulli(key, self.keep, rows)

        kept = every_step(draw, apart, shape[0], shape[1:])
        return jnp.where(kept, 1 / self.keep, 0.0)

    def __str__(self) -> str:
        return f"randomized:{self.keep}"


def full() -> Full:
    """No truncation: every loss sends its gradient back to the first step and the carry before it.

    Example:
      >>> print(full())
      full
    """
    return Full()


def chunked(window: int) -> Chunked:
    """Windows of fixed length, counted from the start; gradients stop between them.

    ``g_t = 0`` where ``t`` is a positive multiple of ``window``. The same as cutting the sequence
    and detaching the carry, without the remainder: the last window may be shorter. With a mask,
    windows count positions, and a cut that falls on a masked step takes effect at the next valid
    one.

    Args:
      window: steps in a window, at least 1.

    Raises:
      ValueError: the window is not a positive integer.

    Reference:
      Williams and Peng, An efficient gradient-based algorithm for on-line training of recurrent
      network trajectories, Neural Computation 2 (1990).
    """
    return Chunked(window)


def sliding(steps: int) -> Sliding:
    """Every step has its own window: loss ``t`` reaches the steps ``t, t-1, …, t-steps``.

    ``steps + 1`` applications of the recurrence for every loss, from the detached carry before the
    window. No window is run for it: backwards all of them advance together, one lag at a time, see
    `rnn_jax.truncation.lagged`. Where windows reach back to the first step, the carry that was
    handed in takes part. Derivatives of second order need ``truncate(…, reference=True)``.

    Args:
      steps: how many further steps a loss reaches back, at least 0.

    Raises:
      ValueError: ``steps`` is not an integer of at least 0.

    Reference:
      Britz, Recurrent neural networks tutorial, part 3: backpropagation through time (2015).
    """
    return Sliding(steps)


def tail(steps: int) -> Tail:
    """Only the last ``steps`` steps are differentiated; losses before them send back nothing.

    The outputs before the last ``steps`` are detached, too: with a model, a loss on an early step
    does not even train the read-out. This is ``truncate_gradient`` of Theano's ``scan`` with the
    softmax inside the scanned step. With a mask, the steps are counted back from each row's last
    valid one.

    Args:
      steps: how many steps at the end, at least 1.

    Raises:
      ValueError: ``steps`` is not a positive integer.
    """
    return Tail(steps)


def randomized(keep: float) -> Randomized:
    """Windows of random length, re-weighted: an unbiased estimate of the full gradient.

    ``g_t = 1/keep`` with probability ``keep``, else 0, drawn for every step and row from the key
    given to ``apply``; without a key (inference) it is `full`.

    Args:
      keep: the probability that the gradient passes a step, in ``(0, 1]``.

    Raises:
      ValueError: ``keep`` lies outside.

    Reference:
      Tallec and Ollivier, Unbiasing truncated backpropagation through time, arXiv:1705.08209;
      Zhang et al., Dive into Deep Learning, section "Backpropagation through time".
    """
    return Randomized(keep)


def parse_truncation(text: str) -> Truncation:
    """The truncation that ``text`` writes: the inverse of ``str``.

    Args:
      text: ``full``, ``chunked:35``, ``sliding:4``, ``tail:4`` or ``randomized:0.9``.

    Raises:
      ValueError: it does not parse.

    Example:
      >>> parse_truncation("sliding:4")
      Sliding(steps=4)
    """
    kinds = {"chunked": (Chunked, int), "sliding": (Sliding, int), "tail": (Tail, int)}
    name, colon, number = text.strip().partition(":")
    if name == "full" and not colon:
        return Full()
    make, convert = {**kinds, "randomized": (Randomized, float)}.get(name, (None, None))
    try:
        return make(convert(number))  # type: ignore[misc]
    except (TypeError, ValueError) as error:
        detail = f": {error}" if make and "must" in str(error) else ""
        raise ValueError(
            f"{text!r} is not a truncation{detail}; write full, chunked:35, sliding:4, tail:4 or "
            "randomized:0.9 (a window or number of steps, or a probability)"
        ) from None
