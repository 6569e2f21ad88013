"""Generation that hands every token over as soon as it is drawn."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, Unpack

import jax

from rnn_jax.generation.prefix import check_prefix
from rnn_jax.generation.sampling import SamplingOptions, begin, go_on, sampling
from rnn_jax.host.checks import positive
from rnn_jax.types import Array, Carry, Params

__all__ = ["stream"]


def stream(
    model: Any,
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
    """As `generate`, with the same draws, but yielding tokens as they come.

    The blocks one after the other are the tokens of `generate` with the same arguments. A stream
    ends after ``length`` tokens, or once every row has ended; `generate` would fill up with the
    stop token. The prefix and the blocks are compiled at their first use.

    Args:
      model: a causal `Model`.
      params: its parameters.
      carry: the carry before the prefix, or None.
      prefix: ``int[P, B]`` or ``int[P]``, at least one token a row.
      length: ``L``, tokens at most; None goes on until the caller or the stop token ends it.
      key: for the draws.
      block: ``n``, steps computed at a time; a larger one is faster and comes later.
      mask: ``bool[P, B]``.
      **options: ``temperature``, ``top_k``, ``top_p``, ``forbidden``, ``stop``, ``min_length``, as
        of `generate`.

    Returns:
      A generator of blocks ``int[n, B]``, the last one possibly shorter; its return value, that of
      ``yield from``, is the carry after the last token.

    Raises:
      ValueError: as `generate`, at the call; or ``block`` is not a positive integer.

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
    carry, prefix = check_prefix(model, params, carry, prefix, mask)

    def blocks() -> Generator[Array, None, Carry]:
        state, left = _begin(model, params, carry, prefix, mask), length
        while left is None or left > 0:
            steps = block if left is None else min(block, left)
            state, tokens = _go_on(model, how, steps, params, state, key, knobs)
            left = None if left is None else left - steps
            yield tokens
            if how.allowed.stop is not None and state.done.all():
                break
        return state.carry

    return blocks()


_begin = partial(jax.jit, static_argnums=0)(begin)
_go_on = partial(jax.jit, static_argnums=(0, 1, 2))(go_on)
