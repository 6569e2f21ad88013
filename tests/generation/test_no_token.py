"""Where no token can be chosen: an error where it can be seen, -1 under jit, never a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r

V, B = 6, 2
MODEL = r.language_model(V, r.recurrent(r.gru(4)))
PARAMS = MODEL.init(jax.random.key(0))
PREFIX = jnp.zeros((3, B), int)
KEY = jax.random.key(1)


@dataclass(frozen=True)
class Fixed(r.BaseLayer):
    """A model with the same logits everywhere."""

    logits: tuple[float, ...]

    @property
    def output_size(self) -> int:
        return len(self.logits)

    def init(self, key: Any) -> Any:
        return {}

    def run(self, params: Any, carry: Any, xs: Any, along: Any, *, every: bool) -> Any:
        return (), jnp.broadcast_to(jnp.array(self.logits), (*xs.shape, len(self.logits)))


Draw = Callable[[Any, Any], Any]
SAMPLED: dict[str, Draw] = {
    "generate": lambda m, p: r.generate(m, p, None, PREFIX, length=4, key=KEY)[1],
    "arg-max": lambda m, p: r.generate(m, p, None, PREFIX, length=4, key=KEY, temperature=0)[1],
    "top_k": lambda m, p: r.generate(m, p, None, PREFIX, length=4, key=KEY, top_k=2)[1],
    "top_p": lambda m, p: r.generate(m, p, None, PREFIX, length=4, key=KEY, top_p=0.9)[1],
}
COMPILED: dict[str, Draw] = {
    **SAMPLED,
    "beam_search": lambda m, p: r.beam_search(m, p, None, PREFIX, beams=2, length=4)[0],
    "predict": lambda m, p: r.predict(m, p, None, PREFIX)[1],
}
STREAM: Draw = lambda m, p: [*r.stream(m, p, None, PREFIX, length=4, key=KEY, block=2)]  # noqa: E731


@pytest.mark.parametrize("name", [*COMPILED, "stream"])
def test_nan_parameters_give_an_error_and_under_jit_no_token(name: str) -> None:
    draw = {**COMPILED, "stream": STREAM}[name]
    broken = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
    with pytest.raises(ValueError, match="no token can be chosen at step 0: the logits"):
        draw(MODEL, broken)
    if name != "stream":
        np.testing.assert_array_equal(jax.jit(lambda p: draw(MODEL, p))(broken), -1)
        assert (draw(MODEL, PARAMS) >= 0).all()


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_one_logit_that_is_no_number_is_enough(value: float) -> None:
    for draw in COMPILED.values():
        with pytest.raises(ValueError, match="no token can be chosen"):
            draw(Fixed((0.0, 1.0, value)), {})


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 2}, {"top_p": 0.9}])
def test_a_forbidden_token_is_never_drawn_even_if_no_other_is_left(options: Any) -> None:
    model = Fixed((0.0, -jnp.inf, -jnp.inf))

    def draw(forbidden: tuple[int, ...]) -> Any:
        return r.generate(
            model, {}, None, PREFIX, length=4, key=KEY, forbidden=forbidden, **options
        )[1]

    np.testing.assert_array_equal(draw((1,)), 0)
    with pytest.raises(ValueError, match="-inf for every allowed token"):
        draw((0,))
    np.testing.assert_array_equal(jax.jit(lambda: draw((0,)))(), -1)


def test_beams_without_a_continuation_have_no_tokens() -> None:
    model = Fixed((0.0, -jnp.inf, -jnp.inf))
    tokens, scores = r.beam_search(model, {}, None, PREFIX, beams=3, length=2)
    np.testing.assert_array_equal(scores, [[0.0, -jnp.inf, -jnp.inf]] * B)
    np.testing.assert_array_equal(tokens[..., 0], 0)
    np.testing.assert_array_equal(tokens[..., 1:], -1)
    with pytest.raises(ValueError, match="-inf for every allowed token"):
        r.beam_search(model, {}, None, PREFIX, beams=3, length=2, forbidden=(0,))


def test_padding_may_be_nan_for_predict() -> None:
    layer = r.recurrent(r.gru(4))
    mask = r.length_mask(jnp.array([3, 1]), 3)
    _, best = r.predict(r.language_model(V, layer), PARAMS, None, PREFIX, mask=mask)
    assert ((best >= 0) & (best < V)).all()
