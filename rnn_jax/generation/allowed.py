"""Which tokens may come next."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from rnn_jax.arrays.tokens import check_ids
from rnn_jax.host.checks import positive
from rnn_jax.types import Array

__all__ = ["Allowed", "allowed_tokens"]


@dataclass(frozen=True)
class Allowed:
    """Tokens that never come, and the stop token, which comes after ``min_length`` others."""

    forbidden: tuple[int, ...]
    stop: int | None
    min_length: int

    def only(self, scores: Array, step: Array) -> Array:
        """``scores [..., V]`` of the token at ``step``, ``-inf`` for those that may not come."""
        if self.forbidden:
            scores = scores.at[..., jnp.array(self.forbidden)].set(-jnp.inf)
        if self.min_length:
            early = jnp.where(step < self.min_length, -jnp.inf, scores[..., self.stop])
            scores = scores.at[..., self.stop].set(early)
        return scores


def allowed_tokens(
    vocab_size: int,
    length: int | None,
    forbidden: Iterable[Any],
    stop: Any,
    min_length: int,
) -> Allowed:
    """`Allowed` of options that have been checked.

    Tokens may be whatever Python takes for an index, scalars of JAX and NumPy among them.

    Raises:
      ValueError: options that contradict each other, or tokens that are none.
    """
    positive(least=0, min_length=min_length, **({} if length is None else {"length": length}))
    min_length = operator.index(min_length)
    forbidden = _tokens("forbidden", forbidden)
    if stop is not None:
        (stop,) = _tokens("stop", (stop,))
    special = [*forbidden, *([] if stop is None else [stop])]
    check_ids(jnp.array(special, int), vocab_size, what="forbidden or stop token")
    if min_length and stop is None:
        raise ValueError(f"min_length={min_length} needs a stop token to hold back: pass stop")
    if length is not None and min_length > length:
        raise ValueError(
            f"min_length={min_length} exceeds length={length}: lower the one or raise the other"
        )
    if len(set(special if min_length else forbidden)) >= vocab_size:
        before = " before min_length" if min_length else ""
        raise ValueError(f"every token is forbidden{before}: allow at least one")
    return Allowed(tuple(sorted(set(forbidden))), stop, min_length)


def _tokens(name: str, tokens: Iterable[Any]) -> tuple[int, ...]:
    """Token ids as integers of Python, which the compiler can tell apart."""
    try:
        return tuple(map(operator.index, tokens))
    except TypeError:
        raise ValueError(f"{name} takes token ids, integers, not {tokens!r}") from None
