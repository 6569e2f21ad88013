"""Generation and compiled loops move nothing to the device without saying so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r

KEY = jax.random.key(0)
MODEL = r.language_model(9, r.serial(r.recurrent(r.gru(4)), r.dropout(0.1)), embedding_size=4)
IDS = jnp.ones((5, 2), int)
MASK = r.length_mask(jnp.array([5, 3]), 5)
DATA = r.Windows(IDS[None], IDS[None])
RUN = r.make_train_steps(r.make_train_step(MODEL, optax.sgd(0.1)))
EVALUATE = r.make_evaluate(MODEL)

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "generate": lambda params, _: r.generate(
        MODEL, params, None, IDS, mask=MASK, length=3, key=KEY,
        temperature=0.7, top_k=5, top_p=0.9, stop=1, forbidden=(2,), min_length=1,
    ),
    "stream": lambda params, _: list(r.stream(MODEL, params, None, IDS, length=3, key=KEY, stop=1)),
    "beam search": lambda params, _: r.beam_search(
        MODEL, params, None, IDS, beams=2, length=3, stop=1, length_penalty=0.5
    ),
    "steps": lambda _, state: RUN(state, DATA, 0, 1, KEY),
    "evaluation": lambda params, _: EVALUATE(params, DATA),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_moved_in_silence(name: str) -> None:
    params = MODEL.init(KEY)
    state = r.init_train_state(MODEL, optax.sgd(0.1), params)
    with jax.transfer_guard("disallow"):
        guarded = CALLS[name](params, state)
    params = MODEL.init(KEY)  # the state's were given away
    state = r.init_train_state(MODEL, optax.sgd(0.1), params)
    jax.tree.map(np.testing.assert_array_equal, guarded, CALLS[name](params, state))
