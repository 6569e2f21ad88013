"""Generation that yields every token as soon as it is drawn."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Unpack

import jax

from rnn_jax.generation.drawn import check_drawn
from rnn_jax.generation.prefix import check_prefix
from rnn_jax.generation.sampling import SamplingOptions, State, begin, go_on, sampling
from rnn_jax.host.checks import positive
from rnn_jax.jaxprs import in_auto_mode, spec_of
from rnn_jax.recurrence.layouts import layouts_of
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["stream"]


def stream(
    model: Model,
    params: Params,
    carry: Carry,
    prefix: Array,
    *,
    length: int | None = None,
    key: Array,
    block: int = 1,
    mask: Array | None = None,
    **options: Unpack[SamplingOptions],
) -> Generator[Array, None, Carry]:
    """Draw the same tokens as `generate`, but yield them as they come.

    The concatenated blocks are the tokens of `generate` with the same arguments. A stream ends
    after ``length`` tokens, or once every row has ended, where `generate` would go on with the stop
    token. The prefix and the blocks are compiled when they are first used.

    Args:
      model: a causal `Model`.
      params: its parameters.
      carry: the carry before the prefix, or None.
      prefix: ``int[P, B]`` or ``int[P]``, at least one token per row.
      length: ``L``, the largest number of tokens; None continues until the caller or the stop
        token ends it.
      key: for the draws.
      block: ``n``, the number of steps computed at a time; larger blocks are faster overall, but
        each comes later.
      mask: ``bool[P, B]``.
      **options: ``temperature``, ``top_k``, ``top_p``, ``forbidden``, ``stop`` and ``min_length``;
        see `generate`.

    Returns:
      A generator of blocks ``int[n, B]``, the last of which may be shorter; its return value, that
      of ``yield from``, is the carry after the last token.

    Raises:
      ValueError: as `generate`, raised by the call itself; or ``block`` is not a positive integer.
        That a token cannot be drawn is raised in place of its block.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> start = model, params, None, jnp.array([3])
      >>> _, tokens = rnn_jax.generate(*start, length=5, key=jax.random.key(1))
      >>> [int(token[0]) for token in stream(*start, length=5, key=jax.random.key(1))] == [*tokens]
      True
    """
    positive(block=block)
    how, knobs = sampling(model.output_size, length, **options)
    prefix = check_prefix(model, prefix, mask)
    carries, (_, *axes) = layouts_of(carry, prefix, every=False)
    rows = tuple(axes)

    def blocks() -> Generator[Array, None, Carry]:
        layouts = carries, (*rows, None), rows, ()
        first = in_auto_mode(partial(_begin, model), (params, carry, prefix, mask), layouts)
        state, remaining = State(*first), length
        kept = list(map(spec_of, jax.tree.leaves(state)))
        while remaining is None or remaining > 0:
            steps = block if remaining is None else min(block, remaining)
            run, arguments = partial(_go_on, model, how, steps), (params, state, key, knobs)
            state, tokens = in_auto_mode(run, arguments, (kept, (None, *rows)))
            remaining = None if remaining is None else remaining - steps
            check_drawn(tokens)
            yield tokens
            if how.allowed.stop is not None and jax.device_get(state.done).all():
                break
        return state.carry

    return blocks()


_begin = partial(jax.jit, static_argnums=0)(begin)
_go_on = partial(jax.jit, static_argnums=(0, 1, 2))(go_on)
