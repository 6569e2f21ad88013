"""The laws of masks, steps and carries, over the table of all members: see tests/cases.py.

All in float64. Where two programs do the same arithmetic in another order (batched products,
sums over rows), 1e-10 is some 1e5 roundings, and far below any wrong term; where one does the
other's operations among its own, 1e-13 is some hundred roundings; the same program's values are
compared exactly.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnn_jax as r
from tests.cases import (
    CASES,
    CAUSAL,
    KEY,
    MODEL,
    NOISY,
    PLAIN,
    SIZE,
    STACK,
    Case,
    assert_close,
    carry_loss,
    every_case,
    every_path,
    gradients,
    outcome,
    outputs_loss,
    quick_jit,
    raw_outcome,
)

pytestmark = pytest.mark.usefixtures("x64")

few_cases = pytest.mark.parametrize("case", (PLAIN, STACK, NOISY, MODEL), ids=str)

# Law 5: a masked sequence equals the same sequence run alone.


@quick_jit
def rows_alone(static: Any, params: Any, carry: Any, xs: Any, key: Any) -> list[Any]:
    member, lengths = static
    row = lambda tree, b: jax.tree.map(lambda leaf: leaf[b], tree)  # noqa: E731
    return [
        raw_outcome(member, params, row(carry, b), xs[:n, b], key=key)
        for b, n in enumerate(lengths)
    ]


def poisoned(xs: jax.Array, mask: jax.Array) -> jax.Array:
    """What may stand in the padding: NaN, or ids far outside the vocabulary on both sides."""
    bad = np.array(xs)
    if jnp.issubdtype(xs.dtype, jnp.floating):
        bad[~np.asarray(mask)] = np.nan
    else:
        bad[~np.asarray(mask)] = np.resize([-3, 10**6, -1, SIZE], (~np.asarray(mask)).sum())
    return jnp.asarray(bad)


def assert_masked_equals_alone(member: Any, case: Case, lengths: tuple[int, ...]) -> None:
    T, B = max(lengths), len(lengths)
    params, xs = case.init(), case.inputs(T, (B,))
    carry = case.carry((B,), params)
    mask = r.length_mask(jnp.array(lengths), T)
    masked = outcome(member, params, carry, poisoned(xs, mask), mask)
    alone = rows_alone((member, lengths), params, carry, xs, None)
    for b, n in enumerate(lengths):
        row = jax.tree.map(lambda leaf, b=b: leaf[b], (masked["carry"], masked["dcarry"]))
        assert_close(row, (alone[b]["carry"], alone[b]["dcarry"]))
        assert_close(masked["ys"][:n, b], alone[b]["ys"])
        assert not np.any(masked["ys"][n:, b])
        if not isinstance(masked["dxs"], tuple):
            assert_close(masked["dxs"][:n, b], alone[b]["dxs"])
            assert not np.any(masked["dxs"][n:, b])
    total = jax.tree.map(lambda *parts: sum(parts), *[a["dparams"] for a in alone])
    assert_close(masked["dparams"], total)


@every_case
def test_masked_equals_alone(case: Case) -> None:
    assert_masked_equals_alone(case.member, case, (3, 0, 2))


@every_path
def test_masked_equals_alone_under_sliding(case: Case) -> None:
    assert_masked_equals_alone(r.truncate(case.member, r.sliding(1)), case, (4, 0, 2, 3))


@pytest.mark.parametrize("case", (PLAIN, MODEL), ids=str)
@pytest.mark.parametrize("kind", (r.chunked(2), r.tail(2), r.tail(1)), ids=str)
def test_masked_equals_alone_under_truncation(case: Case, kind: r.Truncation) -> None:
    assert_masked_equals_alone(r.truncate(case.member, kind), case, (5, 0, 1, 2, 3))


@pytest.mark.parametrize(
    ("case", "kind"),
    ((NOISY, r.full()), (NOISY, r.sliding(1)), (PLAIN, r.randomized(0.5))),
    ids=str,
)
def test_masked_equals_cut_short_under_noise(case: Case, kind: r.Truncation) -> None:
    """Noise is drawn for a whole batch, so here the whole batch is cut to one row's length."""
    T, n = 5, 3
    member, params = r.truncate(case.member, kind), case.init()
    xs, carry = case.inputs(T, (2,)), case.carry((2,), params)
    mask = r.length_mask(jnp.array([n, n]), T)
    masked = outcome(member, params, carry, poisoned(xs, mask), mask, KEY)
    short = outcome(member, params, carry, xs[:n], None, KEY)
    masked["ys"] = masked["ys"][:n]
    masked["dxs"] = jax.tree.map(lambda d: d[:n], masked["dxs"])
    assert_close(masked, short)


@every_case
def test_layers_put_zeros_where_the_mask_is_false(case: Case) -> None:
    params, xs = case.init(), case.inputs(4, (3,))
    mask = jnp.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
    carry = case.carry((3,), params)
    after, ys = case.member.apply(params, carry, poisoned(xs, mask), mask=mask)
    if not case.model:
        assert not np.any(np.asarray(ys)[~np.asarray(mask)])
    assert np.isfinite(ys).all()
    # A row without one valid step hands the carry on untouched.
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2], b[2]), after, carry)


@pytest.mark.parametrize(
    "case", (PLAIN, next(case for case in CASES if not case.member.causal)), ids=str
)
def test_masked_steps_in_the_middle_are_skipped(case: Case) -> None:
    params, xs = case.init(), case.inputs(6, ())
    carry = case.carry((), params)
    mask = jnp.array([0, 1, 1, 0, 1, 0], bool)
    after, ys = case.member.apply(params, carry, xs, mask=mask)
    valid = np.flatnonzero(mask)
    alone = case.member.apply(params, carry, xs[valid])
    assert_close((after, ys[valid]), alone)


# Law 6: T steps at once equal T calls with one step.


@pytest.mark.parametrize(
    ("case", "kind"),
    (*((case, None) for case in CAUSAL), (PLAIN, r.randomized(0.5)), (STACK, r.randomized(0.5))),
    ids=str,
)
def test_steps_at_once_equal_one_at_a_time(case: Case, kind: r.Truncation | None) -> None:
    """Gradients, too: `randomized` draws its gates by the absolute step, told by `start=`."""
    T = 4
    member = case.member if kind is None else r.truncate(case.member, kind)
    params, xs = case.init(), case.inputs(T, (2,))
    carry = case.carry((2,), params)

    @quick_jit
    def one_at_a_time(member: Any, params: Any, carry: Any, xs: Any) -> Any:
        def loss(params: Any, carry: Any, xs: Any) -> Any:
            def body(carry: Any, step: Any) -> Any:
                t, x = step
                carry, ys = member.apply(params, carry, x[None], key=KEY, start=t)
                return carry, ys[0]

            carry, ys = lax.scan(body, carry, (jnp.arange(T), xs))
            return outputs_loss(ys) + carry_loss(carry), (carry, ys)

        return gradients(loss, params, carry, xs)

    assert_close(
        one_at_a_time(member, params, carry, xs), outcome(member, params, carry, xs, None, KEY)
    )


@few_cases
def test_a_sequence_may_be_cut_anywhere(case: Case) -> None:
    params, xs = case.init(), case.inputs(5, (2,))
    apply = quick_jit(case.member.apply, static=())
    whole = apply(params, None, xs, key=KEY)
    carry, first = apply(params, None, xs[:2], key=KEY)
    after, second = apply(params, carry, xs[2:], key=KEY, start=2)
    assert_close((after, np.concatenate([first, second])), whole)
    # Told no start, the second part meets the noise of the first.
    _, again = apply(params, carry, xs[2:], key=KEY)
    assert np.allclose(again, second) == (case in (PLAIN, STACK))


# None means the initial carry; the members are values.


@every_case
def test_no_carry_means_the_initial_one(case: Case) -> None:
    params, xs = case.init(), case.inputs(3, (2,))
    initial = case.member.initial_carry((2,), params)
    apply = quick_jit(case.member.apply, static=())
    assert_close(apply(params, None, xs), apply(params, initial, xs), rtol=1e-13)


@every_case
def test_dtypes_follow_the_parameters(case: Case) -> None:
    xs = case.inputs(3, (2,))
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        params = jax.tree.map(lambda p, d=dtype: p.astype(d), case.init())
        carry, ys = jax.eval_shape(case.member.apply, params, None, xs)
        # State and accumulated logits are float32 at the least.
        wide = jnp.promote_types(dtype, jnp.float32)
        assert ys.dtype == (wide if case.model else dtype)
        assert {jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(wide)}
