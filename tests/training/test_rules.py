"""Rules of evaluation: against optax, the paper's loop, and what training did before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnn_jax as r

PARAMS = {"w": jnp.arange(3.0), "learning_rate": jnp.ones(2)}
PLAIN = r.sgd(0.5).init(PARAMS)
LOSSES = st.lists(st.sampled_from([1.0, 1.00005, 0.9, 0.5, 2.0, 0.49999, math.nan]), max_size=14)


def rates(rule: r.Rule, losses: Sequence[float], state: Any = PLAIN) -> list[float]:
    """The learning rate after each evaluation."""
    seen = []
    for end in range(1, len(losses) + 1):
        state = rule(losses[:end], state)
        seen.append(float(r.learning_rate(state)))
    return seen


def test_halve_compares_the_newest_two() -> None:
    losses = [3.0, 3.0, 3.1, 3.05, 3.06, 3.2, math.nan, 1.0]
    assert rates(r.halve(), losses) == [0.5, 0.5, 0.25, 0.25, 0.125, 0.0625, 0.0625, 0.0625]


@given(LOSSES, st.integers(1, 3), st.integers(0, 2), st.sampled_from([0.0, 0.1]))
def test_plateau_counts_as_optax(
    losses: list[float], patience: int, cooldown: int, least: float
) -> None:
    oracle = optax.contrib.reduce_on_plateau(0.5, patience, cooldown=cooldown, min_scale=least)
    state, expected = oracle.init(PARAMS), []
    with jax.disable_jit():
        for loss in losses:
            _, state = oracle.update(PARAMS, state, value=loss)
            expected.append(float(state.scale))
    rule = r.plateau(0.5, patience, cooldown=cooldown, min_rate=least * 0.5)
    np.testing.assert_allclose(rates(rule, losses), np.multiply(expected, 0.5), rtol=1e-6)


def test_plateau_raises_no_rate() -> None:
    assert rates(r.plateau(patience=1, min_rate=0.7), [1.0, 1.0, 1.0]) == [0.5, 0.5, 0.5]
    assert rates(r.plateau(patience=1, rtol=0.0), [1.0, 0.99999, 0.99999])[1:] == [0.5, 0.25]


@given(LOSSES, st.integers(0, 5))
def test_averaging_begins_where_the_papers_program_begins(losses: list[float], n: int) -> None:
    logs: list[float] = []
    begun = False
    state: Any = r.asgd(optax.sgd(0.1)).init(PARAMS)
    for end, loss in enumerate(losses, 1):
        # The list of losses is appended to after the test, and losses[:-0] would be empty.
        kept = logs[: len(logs) - n] if n <= len(logs) else []
        begun = begun or (len(logs) > n and loss > min(kept))
        logs.append(loss)
        state = r.start_averaging(n)(losses[:end], state)
        assert bool(state.averaged_steps) == begun


def test_a_rule_finds_the_rate_wherever_it_stands() -> None:
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.5)
    labels = {"w": "one", "learning_rate": "two"}
    for optimizer in (
        adam,
        r.ema(adam, 0.9),
        optax.chain(optax.clip_by_global_norm(1.0), r.asgd(adam)),
        optax.MultiSteps(r.ema(adam, 0.9), 2),
        optax.partition({"one": adam, "two": r.sgd(0.5)}, labels),
    ):
        state = r.halve()([1.0, 2.0], optimizer.init(PARAMS))
        assert float(r.learning_rate(state)) == 0.25
        updates, _ = optimizer.update(PARAMS, state, PARAMS)
        assert str(jax.tree.structure(updates)) == str(jax.tree.structure(PARAMS))
    assert float(state.inner_states["two"].inner_state.hyperparams["learning_rate"]) == 0.25
    state = r.set_learning_rate(state, 2)
    assert float(state.inner_states["one"].inner_state.hyperparams["learning_rate"]) == 2.0
    assert r.learning_rate(state).dtype == jnp.float32


def test_a_state_that_a_rule_cannot_change_is_refused() -> None:
    bare = optax.adam(0.1).init(PARAMS)
    scheduled = optax.inject_hyperparams(optax.adam)(r.schedules.constant(0.1)).init(PARAMS)
    for rule, name in ((r.halve(), r"halve\(\)"), (r.plateau(), r"plateau\(\)")):
        # From the first evaluation on, not only where a rate would fall.
        with pytest.raises(ValueError, match=r"holds no learning rate.*inject_hyperparams"):
            rule([1.0], bare)
        with pytest.raises(ValueError, match=rf"{name} changes the learning rate, but a schedule"):
            rule([1.0], scheduled)
    assert float(r.learning_rate(scheduled)) == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"set_learning_rate\(\) changes .* but a schedule"):
        r.set_learning_rate(scheduled, 1.0)
    for state in (bare, r.ema(optax.sgd(0.1), 0.9).init(PARAMS)):
        with pytest.raises(ValueError, match=r"finds no average .* wrap the optimiser in asgd"):
            r.start_averaging()([1.0], state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.plateau(1.0), r"factor must lie in \(0, 1\)"),
        (lambda: r.plateau("half"), r"factor must lie in \(0, 1\)"),  # type: ignore[arg-type]
        (lambda: r.plateau(patience=0), "patience must be an integer of at least 1"),
        (lambda: r.plateau(cooldown=-1), "cooldown must be an integer of at least 0"),
        (lambda: r.plateau(min_rate=math.inf), "min_rate must be a finite number of at least 0"),
        (lambda: r.plateau(rtol=1.0), r"rtol must lie in \[0, 1\)"),
        (lambda: r.start_averaging(-1), "patience must be an integer of at least 0"),
    ],
)
def test_numbers_without_a_meaning_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_rule_changes_the_rate_of_a_compiled_loop() -> None:
    """The state that a rule gives goes through the same compilation."""
    model = r.language_model(7, r.recurrent(r.elman(3)))
    optimizer = r.sgd(0.5)
    data = r.Windows(jnp.ones((4, 3, 2), int), jnp.ones((4, 3, 2), int))
    state = r.init_train_state(model, optimizer, model.init(jax.random.key(0)))
    run = r.make_train_steps(r.make_train_step(model, optimizer))
    state, _ = run(state, data, 0, 2)
    state = state._replace(opt_state=r.halve()([1.0, 2.0], state.opt_state))
    before = str(jax.tree.structure(state))
    state, _ = run(state, data, 2, 4)
    assert str(jax.tree.structure(state)) == before
    assert float(r.learning_rate(state.opt_state)) == 0.25
