"""How the next token is drawn: temperature, top-k, top-p, and the loop over the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from jax import lax

from rnn_jax.generation.allowed import Allowed, allowed_tokens
from rnn_jax.generation.drawn import NO_TOKEN, any_choice
from rnn_jax.generation.prefix import read_prefix
from rnn_jax.host.checks import positive
from rnn_jax.jaxprs import scan, vary_over, varying_axes
from rnn_jax.types import Array, Carry, Model, Params

__all__ = ["Knobs", "Sampling", "SamplingOptions", "State", "begin", "go_on", "sampling"]


class SamplingOptions(TypedDict, total=False):
    """The options of `generate` and `stream` that determine how a token is drawn."""

    temperature: float
    top_k: int | None
    top_p: float | None
    forbidden: tuple[int, ...]
    stop: int | None
    min_length: int


class Knobs(NamedTuple):
    """The options that can change without recompilation."""

    temperature: Array | float
    top_p: Array | float


class State(NamedTuple):
    """The state of a generation: carry, logits of the next token, rows that have ended, step."""

    carry: Carry
    logits: Array
    done: Array
    step: Array


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen from logits: the options that are fixed at compile time."""

    allowed: Allowed
    greedy: bool
    top_k: int | None
    nucleus: bool

    def choose(self, logits: Array, key: Array, step: Array, knobs: Knobs) -> Array:
        """``int[B]`` from ``float[B, V]``; `NO_TOKEN` where none can be chosen."""
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        logits = self.allowed.only(logits, step)
        return jnp.where(any_choice(logits), self._draw(logits, key, knobs), NO_TOKEN)

    def _draw(self, logits: Array, key: Array, knobs: Knobs) -> Array:
        if self.greedy:
            return logits.argmax(-1)
        logits = logits / knobs.temperature
        if self.top_k is None and not self.nucleus:
            return jax.random.categorical(key, logits)
        size = logits.shape[-1]
        logits, ids = lax.top_k(logits, size if self.top_k is None else min(self.top_k, size))
        if self.nucleus:
            probs = jax.nn.softmax(logits)
            above = jnp.cumsum(probs, -1) - probs
            # The most probable token always stays, however the sum is rounded.
            kept = (above < knobs.top_p).at[..., 0].set(True)
            logits = jnp.where(kept, logits, -jnp.inf)
        index = jax.random.categorical(key, logits)
        return jnp.take_along_axis(ids, index[..., None], -1)[..., 0]


def sampling(
    vocab_size: int,
    length: int | None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    forbidden: tuple[int, ...] = (),
    stop: int | None = None,
    min_length: int = 0,
) -> tuple[Sampling, Knobs]:
    """The options, checked, as a `Sampling` and its `Knobs`."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"the temperature must be finite and at least 0, not {temperature}")
    if top_k is not None:
        positive(top_k=top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in 0 … 1, excluding 0, not {top_p}")
    allowed = allowed_tokens(vocab_size, length, forbidden, stop, min_length)
    kept = 1.0 if top_p is None or top_p >= 1 else top_p
    how = Sampling(allowed, temperature == 0, top_k, nucleus=kept < 1)
    return how, jax.device_put(Knobs(max(temperature, 1e-6), kept))


def begin(model: Model, params: Params, carry: Carry, prefix: Array, mask: Array | None) -> State:
    """The state after the prefix."""
    carry, logits = read_prefix(model, params, carry, prefix, mask)
    return State(carry, logits, jnp.zeros(prefix.shape[1:], bool), jnp.zeros((), jnp.int32))


def go_on(
    model: Model, how: Sampling, steps: int, params: Params, state: State, key: Array, knobs: Knobs
) -> tuple[State, Array]:
    """``steps`` more tokens ``int[steps, B]``, and the state after them."""
    stop = how.allowed.stop

    def body(state: State, _: None) -> tuple[State, Array]:
        carry, logits, done, step = state
        # The key depends on the step alone: a longer generation begins with the shorter one.
        token = how.choose(logits, jax.random.fold_in(key, step), step, knobs).astype(int)
        if stop is not None:
            token = jnp.where(done, stop, token)
        live = None if stop is None else ~done[None]
        carry, out = model.apply(params, carry, token[None], mask=live)
        done = done if stop is None else done | (token == stop)
        carry, logits, done = vary_over(axes, (carry, out[-1], done))
        return State(carry, logits, done, step + 1), token

    axes = varying_axes(params, state, key)
    carry, logits, done = vary_over(axes, tuple(state[:3]))
    state = State(carry, logits, done, state.step)
    return scan(body, state, None, steps)
