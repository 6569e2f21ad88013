"""The laws of truncation, over the table of all members: see tests/cases.py.

All in float64. Where two programs do the same arithmetic in another order (batched products,
sums over rows), 1e-10 is some 1e5 roundings, and far below any wrong term; where one does the
other's operations among its own, 1e-13 is some hundred roundings; the same program's values are
compared exactly.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnn_jax as r
from rnn_jax.arrays.masking import last_valid
from tests.cases import (
    CAUSAL,
    KEY,
    NOISY,
    PLAIN,
    STACK,
    Case,
    assert_close,
    carry_loss,
    every_path,
    gradients,
    outcome,
    outputs_loss,
    quick_jit,
    raw_outcome,
)

pytestmark = pytest.mark.usefixtures("x64")

every_causal_case = pytest.mark.parametrize("case", CAUSAL, ids=str)

KINDS = (r.full(), r.chunked(2), r.sliding(1), r.tail(2), r.randomized(0.5))


@quick_jit
def values(members: tuple[Any, ...], *args: Any, mask: Any = None, key: Any = None) -> list[Any]:
    return [member.apply(*args, mask=mask, key=key) for member in members]


@quick_jit
def outcomes(members: tuple[Any, ...], *args: Any, **options: Any) -> list[Any]:
    return [raw_outcome(member, *args, **options) for member in members]


def truncated(case: Case, *kinds: r.Truncation) -> tuple[Any, ...]:
    return tuple(r.truncate(case.member, kind) for kind in kinds)


# Law 1: truncation never changes a value.


@every_causal_case
def test_truncation_changes_no_value(case: Case) -> None:
    params, xs = case.init(), case.inputs(6, (3,))
    carry = case.carry((3,), params)
    mask = r.length_mask(jnp.array([6, 0, 4]), 6)
    members = (case.member, *truncated(case, *KINDS))
    expected, *results = values(members, params, carry, xs, mask=mask, key=KEY)
    # The same numbers, c + g (c - c), but in another program: the compiler may contract a product
    # and a sum there that it leaves apart here, and the last bit goes either way.
    for result in results:
        assert_close(result, expected, rtol=1e-13)


def test_noise_is_on_in_law_1() -> None:
    params, xs = NOISY.init(), NOISY.inputs(6, (3,))
    _, loud = NOISY.member.apply(params, None, xs, key=KEY)
    _, other = NOISY.member.apply(params, None, xs, key=jax.random.key(8))
    _, quiet = NOISY.member.apply(params, None, xs)
    assert not np.allclose(loud, quiet) and not np.allclose(loud, other)


# Law 2: large windows are no truncation, for the caller's carry, too.


@every_path
def test_large_windows_are_no_truncation(case: Case) -> None:
    T = 5
    params, xs = case.init(), case.inputs(T, (2,))
    carry = case.carry((2,), params)
    kinds = (r.full(), r.chunked(T), r.sliding(T - 1), r.tail(T), r.randomized(1.0))
    members = (case.member, *truncated(case, *kinds))
    expected, *results = outcomes(members, params, carry, xs, key=KEY)
    for result in results:
        assert_close(result, expected)


@pytest.mark.parametrize("case", (PLAIN, NOISY), ids=str)
@pytest.mark.parametrize("batch_shape", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("T", [0, 1, 3])
def test_large_windows_on_every_shape(case: Case, batch_shape: tuple[int, ...], T: int) -> None:
    params, xs = case.init(), case.inputs(T, batch_shape)
    carry = case.carry(batch_shape, params)
    kinds = (r.chunked(T + 1), r.sliding(T), r.tail(T + 1))
    members = (case.member, *truncated(case, *kinds))
    expected, *results = outcomes(members, params, carry, xs, key=KEY)
    assert expected["ys"].shape[: 1 + len(batch_shape)] == (T, *batch_shape)
    for result in results:
        assert_close(result, expected)


def test_randomized_without_a_key_is_full() -> None:
    params, xs = PLAIN.init(), PLAIN.inputs(5, (2,))
    carry = PLAIN.carry((2,), params)
    members = (PLAIN.member, r.truncate(PLAIN.member, r.randomized(0.3)))
    expected, result = outcomes(members, params, carry, xs)
    assert_close(result, expected)


def test_small_windows_are_a_truncation() -> None:
    """All the kinds differ from the full gradient and from each other, in every parameter."""
    params, xs = PLAIN.init(), PLAIN.inputs(6, (2,))
    carry = PLAIN.carry((2,), params)
    results = outcomes(truncated(PLAIN, *KINDS), params, carry, xs, key=KEY)
    for a, b in itertools.combinations(results, 2):
        for name in params:
            assert not np.allclose(a["dparams"][name], b["dparams"][name], rtol=1e-3)


# Law 3 for any member; for the word model against NumPy see test_truncation.py.


@quick_jit
def sliding_by_hand(static: Any, params: Any, carry: Any, xs: Any, mask: Any, key: Any) -> Any:
    """Every window recomputed by itself from the detached carry before it; gradients add up."""
    member, k = static

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        total, outputs = jnp.zeros(()), []
        last = last_valid(mask)
        total = total + carry_loss(carry, last < 0)
        final, _ = member.apply(params, carry, xs, mask=mask, key=key)
        for t in range(xs.shape[0]):
            a = max(0, t - k)
            before = carry
            if a:
                done, _ = member.apply(params, carry, xs[:a], mask=mask[:a], key=key)
                before = lax.stop_gradient(done)
            after, ys = member.apply(
                params, before, xs[a : t + 1], mask=mask[a : t + 1], key=key, start=a
            )
            y = jnp.where(mask[t].reshape(*mask[t].shape, 1), ys[-1], 0)
            outputs.append(y)
            total = total + outputs_loss(y[None], t) + carry_loss(after, last == t)
        return total, (final, jnp.stack(outputs))

    return gradients(loss, params, carry, xs)


def cut_by_hand(member: Any, window: int, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    """The sequence cut into windows, the carry detached between them, noise by absolute step."""

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        total, outputs = jnp.zeros(()), []
        for a in range(0, xs.shape[0], window):
            part = slice(a, a + window)
            carry = lax.stop_gradient(carry) if a else carry
            carry, ys = member.apply(params, carry, xs[part], mask=mask[part], key=KEY, start=a)
            outputs.append(jnp.where(mask[part][..., None], ys, 0))
            total = total + outputs_loss(outputs[-1], a)
        return total + carry_loss(carry), (carry, jnp.concatenate(outputs))

    return gradients(loss, params, carry, xs)


@every_path
def test_sliding_equals_every_window_by_hand(case: Case) -> None:
    T, k = 4, 1
    mask = r.length_mask(jnp.array([4, 0, 3]), T)
    params, xs = case.init(), case.inputs(T, (3,))
    carry = case.carry((3,), params)
    expected = sliding_by_hand((case.member, k), params, carry, xs, mask, KEY)
    result = outcome(r.truncate(case.member, r.sliding(k)), params, carry, xs, mask, KEY)
    assert_close(result, expected)


@pytest.mark.parametrize("case", (STACK,), ids=str)
@pytest.mark.parametrize("k", [0, 2])
def test_sliding_over_two_layers(case: Case, k: int) -> None:
    """Holes in the mask, two batch axes; windows count positions."""
    params, xs = case.init(3), case.inputs(4, (2, 2))
    carry = case.carry((2, 2), params)
    mask = jnp.asarray(np.random.default_rng(k).random((4, 2, 2)) < 0.7)
    expected = sliding_by_hand((case.member, k), params, carry, xs, mask, KEY)
    result = outcome(r.truncate(case.member, r.sliding(k)), params, carry, xs, mask, KEY)
    assert_close(result, expected)


@every_path
def test_chunked_equals_cutting_by_hand(case: Case) -> None:
    T, window = 5, 3  # a shorter last window
    params, xs = case.init(), case.inputs(T, (2,))
    carry = case.carry((2,), params)
    mask = jnp.ones((T, 2), bool)
    by_hand = quick_jit(cut_by_hand, static=(0, 1))
    expected = by_hand(case.member, window, params, carry, xs, mask)
    result = outcome(r.truncate(case.member, r.chunked(window)), params, carry, xs, mask, KEY)
    assert_close(result, expected)


# Law 4: randomized truncation has the full gradient as its expectation.


@every_path
def test_randomized_is_unbiased(case: Case) -> None:
    T, keep = 4, 0.3
    params, xs = case.init(), case.inputs(T, ())
    carry = case.carry((), params)
    draws = np.array(list(itertools.product([0.0, 1.0], repeat=T)))
    weights = np.prod(np.where(draws, keep, 1 - keep), axis=1)
    assert np.isclose(weights.sum(), 1)

    @quick_jit
    def all_draws(member: Any, params: Any, carry: Any, gates: Any) -> Any:
        def gated(gate: Any) -> Any:
            return raw_outcome(member, params, carry, xs, key=KEY, gate=gate)

        return jax.vmap(gated)(gates)

    results = all_draws(case.member, params, carry, jnp.asarray(draws / keep))
    mean = jax.tree.map(lambda a: np.tensordot(weights, np.asarray(a), 1), results)
    # The gates reach 1/keep**T = 123: a few digits cancel.
    assert_close(mean, outcome(case.member, params, carry, xs, key=KEY), rtol=1e-9)


def test_randomized_draws_gates_per_step_and_row() -> None:
    """With W = 1, no input and the identity, the carry's gradient IS the product of gates."""
    cell = r.elman(1, activation=lambda h: h, bias=False)
    layer = r.truncate(r.recurrent(cell), r.randomized(0.8))
    params = {"w_ih": jnp.zeros((1, 1)), "w_hh": jnp.ones((1, 1))}
    rows, keep = 20_000, 0.8

    def final(carry: Any, T: int) -> Any:
        return layer.apply(params, carry, jnp.zeros((T, rows, 1)), key=KEY)[0].sum()

    one, two = (np.asarray(jax.grad(final)(jnp.ones((rows, 1)), T)) for T in (1, 2))
    # A standard deviation is 0.003 for one step, and so for two.
    for gradient, power in ((one, 1), (two, 2)):
        np.testing.assert_allclose(np.unique(gradient), [0, keep**-power], rtol=1e-12)
        assert abs((gradient > 0).mean() - keep**power) < 0.015


def test_randomized_applies_the_gates_it_draws() -> None:
    """The draw that fits is one of all 2^T, and another key draws another."""
    T, keep = 4, 0.5
    params, xs = PLAIN.init(), PLAIN.inputs(T, ())
    carry = PLAIN.carry((), params)
    draws = jnp.array(list(itertools.product([0.0, 1 / keep], repeat=T)))
    by_gate = jax.jit(jax.vmap(lambda g: raw_outcome(PLAIN.member, params, carry, xs, gate=g)))
    table = np.asarray(by_gate(draws)["dparams"]["w_hh"])
    member, found = r.truncate(PLAIN.member, r.randomized(keep)), set()
    for seed in range(12):
        got = outcome(member, params, carry, xs, None, jax.random.key(seed))["dparams"]["w_hh"]
        fits = np.flatnonzero(np.abs(table - np.asarray(got)).max(axis=(1, 2)) < 1e-12)
        assert len(fits) >= 1
        found.add(int(fits[0]))
    assert len(found) > 3
