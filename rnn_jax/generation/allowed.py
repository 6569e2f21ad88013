"""Which tokens may come next."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.tokens import check_ids
from rnn_jax.host.checks import not_negative
from rnn_jax.types import Array

__all__ = ["Allowed", "allowed_tokens"]


@dataclass(frozen=True)
class Allowed:
    """Tokens that are never chosen, and the stop token, which needs ``min_length`` others first."""

    forbidden: tuple[int, ...]
    stop: int | None
    min_length: int

    def only(self, scores: Array, step: Array) -> Array:
        """``scores [..., V]`` of the token at ``step``, with ``-inf`` for those not allowed."""
        if self.forbidden:
            scores = scores.at[..., jnp.array(self.forbidden)].set(-jnp.inf)
        if self.min_length:
            early = jnp.where(step < self.min_length, -jnp.inf, scores[..., self.stop])
            scores = scores.at[..., self.stop].set(early)
        return scores


def allowed_tokens(
    vocab_size: int,
    length: int | None,
    forbidden: Iterable[SupportsIndex],
    stop: SupportsIndex | None,
    min_length: int,
) -> Allowed:
    """The options, checked, as an `Allowed`.

    Tokens may be anything that Python accepts as an index, JAX and NumPy scalars included.

    Raises:
      ValueError: the options contradict each other, or a token is not a token id.
    """
    not_negative(min_length=min_length, **({} if length is None else {"length": length}))
    min_length = operator.index(min_length)
    forbidden_ids = _token_ids("forbidden", forbidden)
    stop_id = None if stop is None else _token_ids("stop", (stop,))[0]
    special = [*forbidden_ids, *([] if stop_id is None else [stop_id])]
    check_ids(np.array(special, np.int64), vocab_size, what="forbidden or stop token")
    if min_length and stop_id is None:
        raise ValueError(f"min_length={min_length} needs a stop token to delay: pass stop")
    if length is not None and min_length > length:
        raise ValueError(
            f"min_length={min_length} exceeds length={length}: lower one or raise the other"
        )
    if len(set(special if min_length else forbidden_ids)) >= vocab_size:
        before = " before min_length" if min_length else ""
        raise ValueError(f"every token is forbidden{before}: allow at least one")
    return Allowed(tuple(sorted(set(forbidden_ids))), stop_id, min_length)


def _token_ids(name: str, tokens: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Token ids as Python integers, which hash, as static arguments must."""
    try:
        return tuple(map(operator.index, tokens))
    except TypeError:
        raise ValueError(f"{name} takes token ids, integers, not {tokens!r}") from None
