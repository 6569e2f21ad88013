"""Generation: tokens sampled step by step, compiled, batched, with the state carried along."""

from __future__ import annotations

from functools import partial

import jax

from rnn_jax.generation.drawn import check_drawn
from rnn_jax.generation.prefix import check_prefix
from rnn_jax.generation.sampling import Knobs, Sampling, begin, go_on, sampling
from rnn_jax.host.checks import not_negative
from rnn_jax.jaxprs import in_auto_mode
from rnn_jax.recurrence.layouts import layouts_of
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["generate"]


def generate(
    model: Model,
    params: Params,
    carry: Carry,
    prefix: Array,
    *,
    length: int,
    key: Array,
    mask: Array | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    forbidden: tuple[int, ...] = (),
    stop: int | None = None,
    min_length: int = 0,
) -> tuple[Carry, Array]:
    """Continue ``prefix`` by ``length`` tokens.

    The prefix warms up the carry; then one token is drawn per step,
    ``x_{t+1} ~ softmax(logits_t / temperature)`` over the allowed tokens, which has the same
    distribution as drawing again until an allowed token comes. The generation is compiled as a
    whole for the given shapes; another call with the same shapes compiles nothing, whatever its
    temperature and top_p. With the same key, a longer generation begins with the shorter one.

    Args:
      model: a causal `Model`; an `encoder_decoder` continues from the carry of its ``encode``.
      params: its parameters.
      carry: the carry before the prefix, or None.
      prefix: ``int[P, B]`` or ``int[P]``, at least one token per row.
      length: ``L``, the number of tokens to generate; with ``stop``, the largest number.
      key: for the draws.
      mask: ``bool[P, B]``, for prefixes of unequal length: a row continues from its last valid
        token.
      temperature: 1 samples from the model's distribution, lower values sharpen it, and 0 takes
        the arg-max.
      top_k: draw only from the k most probable allowed tokens.
      top_p: draw only from the smallest set of most probable tokens whose probabilities, after
        temperature, ``forbidden`` and ``top_k``, add up to at least this.
      forbidden: tokens that are never drawn.
      stop: a token that ends its row: the row repeats it from there on, and its carry is held.
      min_length: the least number of tokens before the stop token.

    Returns:
      The carry after the last token and the tokens ``int[L, B]``, without the prefix. Under jit, -1
      stands for a token that cannot be drawn.

    Raises:
      ValueError: the prefix is empty, an option is out of range, a token lies outside the
        vocabulary, ``min_length`` exceeds ``length`` or comes without ``stop``, or no token is
        allowed. Or a token cannot be drawn, because the logits are NaN or infinite, or ``-inf`` for
        every allowed token.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> prefix = jnp.zeros((1, 3), int)
      >>> carry, tokens = generate(
      ...     model, params, None, prefix, length=7, key=jax.random.key(1), top_k=10
      ... )
      >>> tokens.shape
      (7, 3)

    Reference:
      Top-k: Fan et al., Hierarchical neural story generation, ACL 2018. Top-p: Holtzman et al., The
      curious case of neural text degeneration, ICLR 2020.
    """
    not_negative(length=length)
    how, knobs = sampling(
        model.output_size, length, temperature=temperature, top_k=top_k, top_p=top_p,
        forbidden=forbidden, stop=stop, min_length=min_length,
    )  # fmt: skip
    prefix = check_prefix(model, prefix, mask)
    run = partial(_run, model, how, length)
    carries, rows = layouts_of(carry, prefix, every=False)
    arguments = params, carry, prefix, mask, key, knobs
    result: tuple[Carry, Array] = in_auto_mode(run, arguments, (carries, (None, *rows[1:])))
    check_drawn(result[1])
    return result


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    model: Model,
    how: Sampling,
    length: int,
    params: Params,
    carry: Carry,
    prefix: Array,
    mask: Array | None,
    key: Array,
    knobs: Knobs,
) -> tuple[Carry, Array]:
    state = begin(model, params, carry, prefix, mask)
    state, tokens = go_on(model, how, length, params, state, key, knobs)
    return state.carry, tokens
