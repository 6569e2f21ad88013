"""``lax.scan`` with a truncation, for any step function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.host.checks import not_negative
from rnn_jax.jaxprs import hoisted, reverse_mode_only, scan
from rnn_jax.recurrence.gradient_scale import scale_gradient
from rnn_jax.truncation.kinds import Sliding, Truncation, check_kind
from rnn_jax.truncation.lagged import lagged
from rnn_jax.types import Along, Array, Carry

__all__ = ["truncated_scan"]

Step = Callable[[Carry, Any], tuple[Carry, Any]]

_OTHER_KIND = "use another kind, or run every window"


def truncated_scan(
    f: Callable[..., tuple[Carry, Any]],
    init: Carry,
    xs: Any,
    kind: Truncation,
    *,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    key: Array | None = None,
    params: Any = None,
) -> tuple[Carry, Any]:
    """``jax.lax.scan(f, init, xs)`` with truncated gradients: no value changes, whatever the kind.

    ``c_t, y_t = f(c_{t-1}, x_t)`` for any pure ``f``: a neuron model, an integrator of a
    differential equation, a filter, a cell of another library. `chunked`, `tail` and `randomized`
    multiply the gradient of ``c_{t-1}`` by ``g_t`` before step ``t``; `sliding` pulls the
    cotangents of all steps back together, one lag at a time, ``k + 1`` steps in place of ``T``
    (`rnn_jax.truncation.lagged`). Each kind means what it means to `truncate`; steps are counted in
    the order in which they are taken.

    Args:
      f: ``(carry, x) -> (carry, y)``. It may close over arrays, whose gradients are truncated as
        those of ``params`` are.
      init: the carry before the first step, any tree of arrays. What is not a floating-point array
        in it (a counter, a key) travels along. It is not detached by itself: a truncation that
        reaches the first step lets the gradient through to it.
      xs: a tree of ``[T, …]``, or None with ``length``.
      kind: `full`, `chunked`, `sliding`, `tail` or `randomized`.
      length: ``T``; may be left out where ``xs`` tells it.
      reverse: from the last step to the first; outputs stay in place. ``tail(k)`` then
        differentiates the first k places, which are the last steps.
      unroll: as for ``lax.scan``.
      key: what `randomized` draws from, one factor for every step. All rows of a batch inside the
        carry share it; for factors of their own, map over rows with ``jax.vmap`` and a key each.
      params: a first argument of ``f``, any tree or object: ``f(params, carry, x)`` is scanned. It
        is an alternative to closing over parameters, for an ``f`` that is defined once and for
        methods such as ``MyNeuron.step``.

    Returns:
      The carry after the last step, and the outputs, a tree of ``[T, …]``.

    Raises:
      ValueError: ``kind`` is not a truncation; ``f`` is not a function of ``(carry, x)`` or does
        not return a pair; the carry changes its structure, shapes or dtypes; the leaves of ``xs``
        differ in length, or none is given; `randomized` has no key; `sliding` is differentiated
        twice or in forward mode.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> def final(decay, kind):
      ...     def leak(v, current):
      ...         return decay * v + current, None
      ...     return rnn_jax.truncated_scan(leak, 0.0, jnp.ones(4), kind)[0]
      >>> # v = 1 + d + d² + d³, whose derivative is 1 + 2d + 3d²
      >>> [round(float(jax.grad(final)(0.5, kind)), 3) for kind in
      ...     (rnn_jax.full(), rnn_jax.sliding(1), rnn_jax.sliding(0))]
      [2.75, 2.5, 1.75]
    """
    check_kind(kind)
    if kind.noise and key is None:
        raise ValueError(f"{kind.noise} draws from a key: pass key=, or scan with full()")
    step = _bound(f, params)
    xs = jax.tree.map(jnp.asarray, xs)
    count = _count(xs, length)
    init = _settled(step, init, xs, count)
    if isinstance(kind, Sliding) and count > kind.steps + 1:
        with reverse_mode_only(
            "sliding() by lagged pull-backs has no forward mode: use jax.grad or jax.vjp"
        ):
            return _lagged(step, kind.steps, init, xs, count, reverse, unroll)
    along = Along(key=key)
    scale, live = kind.gradient_scale((count,), along), kind.live_outputs((count,), along)
    if reverse:  # into the order of places
        scale, live = (None if a is None else jnp.flip(a) for a in (scale, live))

    def body(carry: Carry, inputs: Any) -> tuple[Carry, Any]:
        x, scale, live = inputs
        carry, y = step(carry if scale is None else scale_gradient(carry, scale), x)
        if live is not None:
            y = jax.tree.map(lambda leaf: jnp.where(live, leaf, lax.stop_gradient(leaf)), y)
        return carry, y

    return scan(body, init, (xs, scale, live), count, reverse=reverse, unroll=unroll)


def _lagged(
    step: Step, lags: int, init: Carry, xs: Any, count: int, reverse: bool, unroll: int | bool
) -> tuple[Carry, Any]:
    """The scan with windows of ``lags + 1`` steps, fewer than ``count``."""
    if reverse:
        xs = _reversed(xs)
    # With types that a step keeps: `0.0` has none of its own yet.
    init = jax.tree.map(lambda c: c.astype(c.dtype) if _has_no_type(c) else c, init)
    one, closed = hoisted(step, init, jax.tree.map(lambda leaf: leaf[0], xs))

    def every_step(closed: Any, carry: Carry, xs: Any) -> tuple[Carry, Any]:
        def body(carry: Carry, x: Any) -> Any:
            carry, y = one(closed, carry, x)
            return carry, (carry, y)

        _, (carries, ys) = scan(body, carry, xs, count, unroll=unroll)
        return carries, ys

    at_once = jax.vmap(one, (None, 0, 0))
    carries, ys = lagged(
        every_step, at_once, lags, closed, init, xs, remedy=_OTHER_KIND, cast=False
    )
    return jax.tree.map(lambda leaf: leaf[-1], carries), _reversed(ys) if reverse else ys


def _reversed(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[::-1], tree)


def _bound(f: Callable[..., tuple[Carry, Any]], params: Any) -> Step:
    """``f`` as a function of ``(carry, x)``, checked to be one as far as its signature tells."""
    wanted = "(carry, x)" if params is None else "(params, carry, x)"
    try:
        inspect.signature(f).bind(*wanted.split(","))
    except TypeError:
        raise ValueError(f"f must be a function of {wanted}, which {f!r} is not") from None
    except ValueError:  # it does not tell
        pass
    return f if params is None else lambda carry, x: f(params, carry, x)


def _count(xs: Any, length: int | None) -> int:
    """``T``."""
    leaves = jax.tree.leaves(xs)
    if any(leaf.ndim == 0 for leaf in leaves):
        raise ValueError("every array in xs must have a first axis of time, but one has none")
    lengths = list(dict.fromkeys(leaf.shape[0] for leaf in leaves))
    if len(lengths) > 1:
        raise ValueError(f"the arrays in xs must all have T steps, but have {lengths}")
    if length is None:
        if not lengths:
            raise ValueError("xs holds no array that tells the number of steps: pass length=")
        return lengths[0]
    not_negative(length=length)
    if lengths and lengths[0] != length:
        raise ValueError(f"length is {length}, but xs has {lengths[0]} steps: leave out length=")
    return length


def _has_no_type(leaf: Array) -> bool:
    """Whether it is a Python number, which takes the type that it meets; keys have no such mark."""
    return bool(getattr(leaf, "weak_type", False))


def _settled(step: Step, init: Carry, xs: Any, count: int) -> Carry:
    """``init`` as arrays in the dtypes that a step keeps, or an error where it keeps none."""
    init = jax.tree.map(jnp.asarray, init)

    def one(carry: Carry, xs: Any) -> Any:
        first = jax.tree.map(lambda x: x[0] if count else jnp.empty(x.shape[1:], x.dtype), xs)
        pair = step(carry, first)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"f must return a pair (carry, y), not {type(pair).__name__}")
        return pair[0]

    after = jax.eval_shape(one, init, xs)
    before, structure = jax.tree.flatten(init)
    kept = jax.tree.structure(after)
    if str(structure) != str(kept):
        raise ValueError(
            "f must return a carry of the structure that it is given: it is given "
            f"{structure} and returns {kept}"
        )
    # As in lax.scan, Python's numbers take the dtype that they meet.
    new = jax.tree.leaves(after)
    pairs = list(zip(before, new, strict=True))
    if any(_has_no_type(c) and c.dtype != n.dtype for c, n in pairs):
        before = [c.astype(n.dtype) if _has_no_type(c) else c for c, n in pairs]
        init = jax.tree.unflatten(structure, before)
        new = jax.tree.leaves(jax.eval_shape(one, init, xs))
    for (path, c), n in zip(jax.tree.leaves_with_path(init), new, strict=True):
        if (c.shape, c.dtype) != (n.shape, n.dtype):
            raise ValueError(
                f"f must keep the shape and dtype of the carry{jax.tree_util.keystr(path)}: it "
                f"is given {c.dtype}{list(c.shape)} and returns {n.dtype}{list(n.shape)}"
            )
    return init
