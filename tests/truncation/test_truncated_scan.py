"""``truncated_scan`` against ``lax.scan``, detaching by hand and a loop over windows."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnn_jax as r
from tests.cases import assert_close, quick_jit

pytestmark = pytest.mark.usefixtures("x64")

H = 3
LENGTHS = (0, 1, 2, 7)
KINDS: dict[str, Any] = {
    "full": lambda k: r.full(),
    "chunked": lambda k: r.chunked(k + 1),
    "sliding": r.sliding,
    "tail": lambda k: r.tail(k + 1),
}


def problem(length: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Parameters, the carry before the first step and inputs; integers and a key among them."""
    rng = np.random.default_rng(seed)
    theta = {"w": rng.normal(size=(H, H)), "gain": rng.normal()}
    init = {
        "v": rng.normal(size=(2, H)),
        "log": jnp.array([-jnp.inf, 0.3]),  # a probability of zero
        "count": jnp.array(2),
        "key": jax.random.key(1),
    }
    xs = {"drive": rng.normal(size=(length, 2, H)), "row": rng.integers(0, H, length)}
    return jax.tree.map(jnp.asarray, (theta, init, xs))


def make_step(theta: Any, offset: Any) -> Any:
    """A step that closes over parameters and over an integer, traced or not."""

    def step(carry: Any, x: Any) -> Any:
        key, used = jax.random.split(carry["key"])
        noise = jax.random.normal(used, (H,))
        weight = theta["w"][(x["row"] + offset) % H]
        v = jnp.tanh(carry["v"] @ theta["w"] + theta["gain"] * x["drive"] + 0.1 * noise[None])
        new = {
            "v": v * weight[None],
            "log": carry["log"] + 0.1 * jnp.sin(v).sum(),
            "count": carry["count"] + 1,
            "key": key,
        }
        return new, {"y": (v * new["count"], new["log"][1]), "count": new["count"]}

    return step


def weighted(tree: Any, seed: float) -> Any:
    """A loss in which no two numbers weigh the same; infinite ones do not count."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            weights = jnp.sin(seed + jnp.arange(leaf.size)).reshape(leaf.shape)
            total += (weights * jnp.where(jnp.isfinite(leaf), leaf, 0) ** 2).sum()
    return total


def loss_of(carry: Any, ys: list[Any], last: int) -> Any:
    """Of a carry and of outputs, a list by step."""
    own = {name: leaf for name, leaf in carry.items() if name != "key"}
    return weighted(own, 0.5) + sum(weighted(y, float(n)) for n, y in enumerate(ys[:last]))


def by_step(ys: Any, length: int, reverse: bool) -> list[Any]:
    order = reversed(range(length)) if reverse else range(length)
    return [jax.tree.map(lambda leaf, t=t: leaf[t], ys) for t in order]


def detached(tree: Any) -> Any:
    return jax.tree.map(lax.stop_gradient, tree)


def by_hand(name: str, k: int, step: Any, init: Any, xs: list[Any]) -> Any:
    """The last carry and the outputs of each step, in a loop of Python that cuts gradients."""
    carry, ys, befores = init, [], []
    first = max(len(xs) - (k + 1), 0) if name == "tail" else 0
    for t, x in enumerate(xs):
        befores.append(carry)
        cut = {"chunked": t > 0 and t % (k + 1) == 0, "tail": 0 < t == first}.get(name, False)
        carry, y = step(detached(carry) if cut else carry, x)
        ys.append(detached(y) if t < first else y)
    if name == "sliding":
        for t in range(len(xs)):
            begin = max(t - k, 0)
            carry = detached(befores[begin]) if begin else init
            for x in xs[begin : t + 1]:
                carry, y = step(carry, x)
            ys[t] = y
    return carry, ys


@partial(quick_jit, static=(0, 1, 2, 3))
def outcomes(name: str, k: int, length: int, reverse: bool, data: Any, offset: Any) -> Any:
    theta, init, xs = data
    floats, others = ({n: xs[n]} for n in ("drive", "row"))
    rest = {n: init[n] for n in ("count", "key")}
    given = theta, {n: init[n] for n in ("v", "log")}, floats

    def ours(theta: Any, init: Any, floats: Any) -> Any:
        carry, ys = r.truncated_scan(
            make_step(theta, offset), init | rest, floats | others, KINDS[name](k), reverse=reverse
        )
        return loss_of(carry, by_step(ys, length, reverse), length), values(carry, ys)

    def theirs(theta: Any, init: Any, floats: Any) -> Any:
        steps = by_step(floats | others, length, reverse)
        carry, ys = by_hand(name, k, make_step(theta, offset), init | rest, steps)
        plain = lax.scan(make_step(theta, offset), init | rest, floats | others, reverse=reverse)
        return loss_of(carry, ys, length), values(*plain)

    def values(carry: Any, ys: Any) -> Any:
        return carry | {"key": jax.random.key_data(carry["key"])}, ys

    return tuple(jax.value_and_grad(f, (0, 1, 2), has_aux=True)(*given) for f in (ours, theirs))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", KINDS)
def test_equal_to_cutting_by_hand(name: str, length: int, reverse: bool) -> None:
    for k in (0,) if name == "full" else (2,) if reverse else (0, 1, 4, 9):
        (ours, grads), (theirs, expected) = outcomes(
            name, k, length, reverse, problem(length), jnp.array(1)
        )
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10)
        for a, b in zip(*map(jax.tree.leaves, (ours[1], theirs[1])), strict=True):
            # What the compiler fuses with what decides how the last bit is rounded.
            np.testing.assert_allclose(a, b, rtol=1e-14)
        assert_close(grads, expected)


def leak(decay: Any, v: Any, x: Any) -> Any:
    return decay * v + x, jnp.sin(v)


@pytest.mark.parametrize("reverse", [False, True])
def test_randomized_is_the_full_gradient_in_expectation(reverse: bool) -> None:
    xs, keep = jnp.arange(1.0, 4.0), 0.6

    def loss(decay: Any, kind: Any, key: Any = None) -> Any:
        v, ys = r.truncated_scan(leak, 0.5, xs, kind, key=key, params=decay, reverse=reverse)
        return v**2 + (ys * xs).sum()

    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: jax.grad(loss)(0.9, r.randomized(keep), key))(keys)
    # One gradient for each of the 2^T draws: the mean of the distinct ones by their probability.
    assert len(np.unique(np.round(drawn, 9))) <= 2**3
    expected = jax.grad(loss)(0.9, r.full())
    np.testing.assert_allclose(drawn.mean(), expected, atol=4 * drawn.std() / 4000**0.5)
    total = 0.0
    for kept in itertools.product((0, 1), repeat=3):
        probability = np.prod([keep if kept_ else 1 - keep for kept_ in kept])
        total += probability * jax.grad(scaled_by_hand)(0.9, xs, np.array(kept) / keep, reverse)
    np.testing.assert_allclose(total, expected, rtol=1e-10)
    everything = jax.grad(loss)(0.9, r.randomized(1.0))
    np.testing.assert_allclose(everything, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"randomized\(0\.6\) draws from a key: pass key="):
        loss(0.9, r.randomized(keep))


def scaled_by_hand(decay: Any, xs: Any, factors: Any, reverse: bool) -> Any:
    v, total = jnp.asarray(0.5), 0.0
    for x, g in zip(xs[::-1] if reverse else xs, factors, strict=True):
        held = lax.stop_gradient(v)
        v, y = leak(decay, held + g * (v - held), x)
        total += y * x
    return v**2 + total


@pytest.mark.parametrize("name", KINDS)
def test_under_jit_vmap_scan_and_checkpoint(name: str) -> None:
    theta, _, _ = problem(0)
    drives = jax.random.normal(jax.random.key(3), (2, 6, H))

    def loss(theta: Any, offset: Any, scan: Any) -> Any:
        def window(carry: Any, inputs: Any) -> Any:
            drive, shift = inputs

            # Closes over a carry, a counter and parameters, all of them traced by the outer scan.
            def step(v: Any, x: Any) -> Any:
                v = jnp.tanh(v @ theta["w"] + x) * carry.sum()
                return v, v[(shift + offset) % H]

            v, ys = jax.checkpoint(lambda v: scan(step, v, drive))(carry)
            return v, ys

        v, ys = lax.scan(window, jnp.ones(H), (drives, jnp.arange(2)))
        many = jax.vmap(lambda drive: scan(lambda v, x: (0.5 * v * x, v), jnp.ones(H), drive))
        return weighted((v, ys, many(drives)), 0.3)

    ours = quick_jit(jax.value_and_grad(partial(loss, scan=scan_with(KINDS[name](2)))), ())
    plain = quick_jit(jax.value_and_grad(partial(loss, scan=cut_by_hand(name, 2))), ())
    assert_close(ours(theta, 1), plain(theta, 1))


def scan_with(kind: Any) -> Any:
    return lambda f, init, xs: r.truncated_scan(f, init, xs, kind)


def cut_by_hand(name: str, k: int) -> Any:
    def scan(f: Any, init: Any, xs: Any) -> Any:
        carry, ys = by_hand(name, k, f, init, list(xs))
        return carry, jnp.stack(ys)

    return scan


def test_params_are_an_alternative_to_a_closure() -> None:
    xs = jnp.arange(5.0)
    for kind in (r.full(), r.sliding(1), r.chunked(2)):

        def closed(decay: Any, kind: Any = kind) -> Any:
            return weighted(r.truncated_scan(partial(leak, decay), 0.1, xs, kind), 0.0)

        def given(decay: Any, kind: Any = kind) -> Any:
            return weighted(r.truncated_scan(leak, 0.1, xs, kind, params=decay), 0.0)

        assert_close(jax.value_and_grad(given)(0.7), jax.value_and_grad(closed)(0.7))


@pytest.mark.parametrize("kind", [make(2) for make in KINDS.values()], ids=str)
def test_carries_and_inputs_of_every_form(kind: Any) -> None:
    scan = partial(r.truncated_scan, kind=kind)

    def same(f: Any, init: Any, xs: Any, **options: Any) -> None:
        ours, plain = scan(f, init, xs, **options), lax.scan(f, init, xs, **options)
        assert str(jax.tree.structure(ours)) == str(jax.tree.structure(plain))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_array_equal(a, b)

    same(lambda c, x: (2 * c, None), 1.5, None, length=6)  # no inputs, no outputs
    same(lambda c, x: ((), 2 * x), (), jnp.arange(6.0))  # no carry
    same(lambda c, x: (c + 1, c), 0, None, length=6)  # nothing with a gradient
    same(lambda c, x: (c, None), None, None, length=6, reverse=True)
    same(lambda c, x: (c + x, (c, x)), 0.0, np.ones((6, 2)).sum(1), unroll=3)
    same(lambda c, x: (c + x, c * x), 0.0, jnp.ones(6, jnp.bfloat16))  # takes the dtype it meets
    same(lambda c, x: (c + x["a"], c), 0, {"a": jnp.arange(6), "b": None}, reverse=True)
    same(lambda c, x: (c * x, c), jnp.ones(2, complex), 1j * jnp.ones((6, 2)), unroll=True)
    same(lambda c, x: (c ^ x, c), False, jnp.arange(6) % 2 == 0)


def test_an_infinite_carry_stays_and_an_infinite_slope_is_cut() -> None:
    def loss(init: Any, kind: Any) -> Any:
        return r.truncated_scan(lambda c, p: (c**p, c), init, jnp.array([1.0, 0.5]), kind)[0]

    assert not jnp.isfinite(jax.grad(loss)(0.0, r.full()))
    for kind in (r.chunked(1), r.tail(1), r.sliding(0)):
        assert jax.value_and_grad(loss)(0.0, kind) == (0.0, 0.0)
        filtered, _ = r.truncated_scan(lambda c, x: (c - 1, c), -jnp.inf, jnp.ones(4), kind)
        assert filtered == -jnp.inf


@pytest.mark.parametrize("kind", [r.full(), r.chunked(2), r.tail(2), r.sliding(1)], ids=str)
def test_a_key_travels_along(kind: Any) -> None:
    def f(carry: Any, x: Any) -> Any:
        key, v = carry
        key, noise = jax.random.split(key)
        v = 0.5 * v + x + jax.random.normal(noise)
        return (key, v), v

    def loss(v: Any, scan: Any) -> Any:
        return scan(f, (jax.random.key(0), v), jnp.ones(5))[1].sum()

    ours = partial(r.truncated_scan, kind=kind)
    value, gradient = jax.value_and_grad(loss)(1.0, ours)
    np.testing.assert_allclose(value, loss(1.0, lax.scan), rtol=1e-6)
    assert 0 <= gradient < 1


def test_no_step_where_jit_is_disabled() -> None:
    with jax.disable_jit():
        carry, ys = r.truncated_scan(lambda c, x: (c + x, c), 1.0, jnp.ones(0), r.sliding(1))
    assert (carry, ys.shape) == (1.0, (0,))


def test_higher_derivatives() -> None:
    def loss(decay: Any, kind: Any) -> Any:
        return weighted(r.truncated_scan(leak, 0.1, jnp.arange(5.0), kind, params=decay), 0.0)

    def plain(decay: Any) -> Any:
        return weighted(lax.scan(partial(leak, decay), 0.1, jnp.arange(5.0)), 0.0)

    for kind in (r.full(), r.chunked(5), r.sliding(4)):
        for derivative in (jax.hessian, jax.jacfwd):
            np.testing.assert_allclose(
                derivative(loss)(0.7, kind), derivative(plain)(0.7), rtol=1e-12
            )
    with pytest.raises(
        ValueError, match="first derivatives only: for higher ones use another kind"
    ):
        jax.grad(jax.grad(loss))(0.7, r.sliding(2))
    with pytest.raises(ValueError, match="no forward mode"):
        jax.jacfwd(loss)(0.7, r.sliding(2))


ONES = jnp.ones(4)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((leak, 0.0, ONES, r.full()), {}, r"f must be a function of \(carry, x\)"),
        ((lambda c: c, 0.0, ONES, r.full()), {}, r"f must be a function of \(carry, x\)"),
        ((lambda c, x: (c, x), 0.0, ONES, r.full()), {"params": 1}, r"of \(params, carry, x\)"),
        ((3, 0.0, ONES, r.full()), {}, "f must be a function"),
        ((lambda c, x: c, 0.0, ONES, r.full()), {}, r"must return a pair \(carry, y\)"),
        ((lambda c, x: (c, x), 0.0, ONES, "sliding:4"), {}, "'sliding:4' is not a truncation"),
        ((lambda c, x: (c, x), 0.0, ONES, r.sliding), {}, "is not a truncation"),
        ((lambda c, x: (c, x), 0.0, ONES, r.Truncation()), {}, "is not a truncation"),
        ((lambda c, x: (c, x), 0.0, None, r.full()), {}, "pass length="),
        ((lambda c, x: (c, x), 0.0, ONES, r.full()), {"length": 3}, "length is 3, but xs has 4"),
        ((lambda c, x: (c, x), 0.0, None, r.full()), {"length": -1}, "length must be an integer"),
        ((lambda c, x: (c, x), 0.0, (ONES, ONES[:2]), r.full()), {}, r"but have \[4, 2\]"),
        ((lambda c, x: (c, x), 0.0, 1.0, r.full()), {}, "must have a first axis of time"),
        ((lambda c, x: ((c, c), x), 0.0, ONES, r.full()), {}, "a carry of the structure"),
        (
            (lambda c, x: ({"h": c["h"][None]}, x), {"h": ONES}, ONES, r.sliding(1)),
            {},
            r"shape and dtype of the carry\['h'\]: it is given float32\[4\] and returns",
        ),
        ((lambda c, x: (c * 1.5, x), jnp.arange(2), ONES, r.tail(1)), {}, "and returns float"),
    ],
)
def test_bad_input_is_one_sentence(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        r.truncated_scan(*arguments, **options)
    assert "\n" not in str(raised.value)


def test_negative_steps() -> None:
    with pytest.raises(ValueError, match="steps must be an integer of at least 0, not -1"):
        r.sliding(-1)


def test_an_error_of_the_step_itself_comes_through() -> None:
    def step(c: Any, x: Any) -> Any:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        r.truncated_scan(step, 0.0, ONES, r.full())


@pytest.mark.parametrize("name", KINDS)
def test_inside_shard_map(name: str) -> None:
    """Parameters are the same on every device, inputs and half of the carry are not."""
    w, xs = (
        jax.random.normal(jax.random.key(0), (H, H)),
        jax.random.normal(jax.random.key(1), (6, 2, H)),
    )

    def loss(w: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            v, clock = carry
            return (jnp.tanh(v @ w + x) * clock, jnp.sin(clock + w[0, 0])), v

        return weighted(r.truncated_scan(step, (0 * xs[0], w[1, 1]), xs, KINDS[name](2)), 0.2)

    def on_a_device(w: Any, xs: Any) -> Any:
        return jax.grad(lambda w: lax.psum(loss(w, xs), "data"))(w)

    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec, rows = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(None, "data")
    over = jax.shard_map(on_a_device, mesh=mesh, in_specs=(spec, rows), out_specs=spec)
    assert_close(quick_jit(over, ())(w, xs), quick_jit(jax.grad(loss), ())(w, xs))
