"""Generation: tokens drawn one step at a time, compiled, batched, with the state carried along."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.checks import positive
from rnn_jax.tokens import check_ids, is_ids
from rnn_jax.types import Array, Carry, Params

__all__ = ["generate", "predict"]


def predict(
    model: Any, params: Params, carry: Carry, tokens: Array, *, mask: Array | None = None
) -> tuple[Carry, Array]:
    """The most probable next token at every step.

    ``y_t = argmax_v logits[t, b, v]``.

    Args:
      model: a `Model`.
      params: its parameters.
      carry: the carry before the first step, or None.
      tokens: ``int[T, B]``.
      mask: ``bool[T, B]``.

    Returns:
      The new carry and ``int[T, B]``.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> carry, best = predict(model, params, None, jnp.array([3, 1, 4]))
      >>> best.shape
      (3,)
    """
    carry, logits = model.apply(params, carry, tokens, mask=mask)
    return carry, logits.argmax(-1)


def generate(
    model: Any,
    params: Params,
    carry: Carry,
    prefix: Array,
    *,
    length: int,
    key: Array,
    temperature: float = 1.0,
    forbidden: tuple[int, ...] = (),
    stop: int | None = None,
) -> tuple[Carry, Array]:
    """Continue ``prefix`` by ``length`` tokens.

    The prefix warms the carry up; then, one step a token,
    ``x_{t+1} ~ softmax(logits_t / temperature)`` over the tokens that are not forbidden, which is
    the same as drawing again until an allowed token comes. Compiled as a whole for the shapes at
    hand; a second call with the same ones compiles nothing.

    Args:
      model: a causal `Model`.
      params: its parameters.
      carry: the carry before the prefix, or None.
      prefix: ``int[P, B]`` or ``int[P]``, at least one token a row.
      length: ``L``, tokens to generate.
      key: for the draws.
      temperature: 1 samples the model's distribution, lower ones sharpen it, 0 is the arg-max.
      forbidden: tokens never drawn.
      stop: a token that ends its row: the row repeats it from there on and its carry is held.

    Returns:
      The carry after the last token and the tokens ``int[L, B]``, without the prefix.

    Raises:
      ValueError: an empty prefix, a negative or non-finite temperature, ``length`` below 0, a token
        outside the vocabulary, or all tokens forbidden.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> prefix = jnp.zeros((1, 3), int)
      >>> carry, tokens = generate(model, params, None, prefix, length=7, key=jax.random.key(1))
      >>> tokens.shape
      (7, 3)
    """
    positive(least=0, length=length)
    prefix = jnp.asarray(prefix)
    vocab_size = model.output_size
    if not prefix.shape or not prefix.shape[0]:
        raise ValueError("the prefix is empty: give at least one token a row to start from")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"the temperature must be finite and at least 0, not {temperature}")
    if not is_ids(prefix):
        raise ValueError(f"the prefix must hold token ids, integers, not {prefix.dtype}")
    if not model.causal:
        raise ValueError(f"{model!r} is not causal: only a model that runs forwards can generate")
    check_ids(prefix, vocab_size)
    prefix = prefix.astype(int)  # a narrow dtype may not hold the tokens to come
    special = jnp.array([*forbidden, *([] if stop is None else [stop])], int)
    check_ids(special, vocab_size, what="forbidden or stop token")
    if len(set(forbidden)) >= vocab_size:
        raise ValueError("every token is forbidden: allow at least one")
    if carry is None:
        carry = model.initial_carry(prefix.shape[1:], params)
    run = _run_greedy if temperature == 0 else _run_sampled
    banned = tuple(sorted(set(forbidden)))
    result: tuple[Carry, Array] = run(
        model, length, banned, stop, params, carry, prefix, key, max(temperature, 1e-6)
    )
    return result


def _run(
    model: Any,
    length: int,
    forbidden: tuple[int, ...],
    stop: int | None,
    params: Params,
    carry: Carry,
    prefix: Array,
    key: Array,
    temperature: Array,
    *,
    greedy: bool,
) -> tuple[Carry, Array]:
    def choose(logits: Array, key: Array) -> Array:
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if forbidden:
            logits = logits.at[..., jnp.array(forbidden)].set(-jnp.inf)
        if greedy:
            return logits.argmax(-1)
        return jax.random.categorical(key, logits / temperature)

    def body(loop: tuple[Carry, Array, Array], key: Array) -> Any:
        carry, logits, done = loop
        token = choose(logits, key).astype(prefix.dtype)
        if stop is not None:
            token = jnp.where(done, stop, token)
        carry, out = model.apply(
            params, carry, token[None], mask=None if stop is None else ~done[None]
        )
        return (carry, out[-1], done if stop is None else done | (token == stop)), token

    carry, logits = model.apply(params, carry, prefix)
    done = jnp.zeros(prefix.shape[1:], bool)
    keys = jax.random.split(key, length)
    (carry, _, _), tokens = lax.scan(body, (carry, logits[-1], done), keys)
    return carry, tokens


_STATIC = ("model", "length", "forbidden", "stop")
_run_greedy = jax.jit(partial(_run, greedy=True), static_argnames=_STATIC)
_run_sampled = jax.jit(partial(_run, greedy=False), static_argnames=_STATIC)
