"""Whatever is handed in, the outcome is a result or one sentence: a fuzz over the API."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r

T, B, D, H, V = 3, 2, 3, 4, 9
KEY = jax.random.key(0)
XS, IDS = jnp.ones((T, B, D)), jnp.ones((T, B), int)
GRU = r.recurrent(r.gru(H))

LAYERS: dict[str, r.Layer] = {
    "elman": r.recurrent(r.elman(H)),
    "gru": GRU,
    "lstm": r.recurrent(r.lstm(H, learned_carry=True)),
    "layer norm": r.recurrent(r.lstm(H, layer_norm=True)),
    "min_gru": r.recurrent(r.min_gru(H)),
    "lru": r.recurrent(r.lru(H)),
    "echo state": r.recurrent(r.echo_state(H)),
    "serial": r.serial(GRU, r.dropout(0.1), r.recurrent(r.lstm(H))),
    "bidirectional": r.bidirectional(GRU, r.recurrent(r.gru(H), reverse=True)),
    "remat": r.remat(GRU),
    "sliding": r.truncate(GRU, r.sliding(1)),
    "chunked": r.truncate(GRU, r.chunked(2)),
    "weight drop": r.weight_drop(GRU, 0.5),
    "pre-norm": r.serial(r.layer_norm(), GRU, r.layer_norm()),
    "residual": r.serial(r.recurrent(r.gru(D)), r.residual(r.recurrent(r.gru(D)))),
}
MODELS: dict[str, r.Model] = {
    "language model": r.language_model(V, GRU, embedding_size=D),
    "tied": r.language_model(V, GRU, embedding_size=H, tied=True),
    "classifier": r.sequence_classifier(3, GRU, input_size=D),
}
WRONG: dict[str, list[Any]] = {
    "params": [None, [1], {}, jnp.ones(3), "weights", r.lstm(H).init(KEY, D), {"w_ih": 1}, 3.0],
    "carry": [[[0.0] * H] * B, XS[0] + 0j, (XS[0],), "carry", 0.0, jnp.ones((B + 1, H)), ()],
    "xs": [XS + 0j, [[1.0]], [[1]], None, "text", 3, np.array([None] * T), XS[0, 0], XS[..., :1]],
    "mask": [jnp.ones((T, B), int), [[1]], jnp.ones(T, bool), "mask", True],
    "gradient_scale": [jnp.ones((T, B, 1)), "full", [[1.0]]],
    "resets": [jnp.ones((T, B), int), jnp.ones((T + 1, B), bool), "never"],
}


def one_call(draw: random.Random) -> tuple[str, Callable[[], Any]]:
    """A call with one argument that is wrong, and what it is called in a failure."""
    name = draw.choice([*LAYERS, *MODELS])
    layer: Any = {**LAYERS, **MODELS}[name]
    ids = name in ("language model", "tied")
    params = layer.init(KEY) if name in MODELS else layer.init(KEY, D)
    given: dict[str, Any] = {"params": params, "carry": None, "xs": IDS if ids else XS}
    argument = draw.choice(list(WRONG))
    wrong = draw.choice(WRONG[argument])
    given[argument] = wrong
    entry = draw.choice(["apply", "jit", "gradient"])

    def call() -> Any:
        # Traced and not compiled; arrays that are closed over are known all the same.
        options = {k: v for k, v in given.items() if k not in ("params", "carry", "xs")}
        apply = layer.apply
        if entry == "jit":
            apply = jax.jit(apply)
        if entry == "gradient" and argument != "params":
            return jax.eval_shape(
                lambda: jax.grad(
                    lambda p: apply(p, given["carry"], given["xs"], **options)[1].sum()
                )(params)
            )
        return jax.eval_shape(
            lambda: apply(given["params"], given["carry"], given["xs"], **options)
        )

    return f"{name}, {entry}, {argument}={wrong!r}", call


@pytest.mark.parametrize("seed", range(8))
def test_a_result_or_one_sentence(seed: int) -> None:
    draw, failures = random.Random(seed), []
    for _ in range(40):
        what, call = one_call(draw)
        try:
            call()
        except ValueError as error:
            message = str(error)
            if "\n" in message or len(message) > 500 or "unpack" in message:
                failures.append(f"{what}: {message}")
        except TypeError as error:
            # What is no array gets no further than JAX itself.
            if not any(words in str(error) for words in ("a valid JAX", "Error interpreting")):
                failures.append(f"{what}: TypeError: {error}")
        except Exception as error:
            failures.append(f"{what}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
