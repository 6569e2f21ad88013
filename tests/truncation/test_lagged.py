"""Sliding windows by lagged pull-backs against the windows themselves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import assert_close, quick_jit

T, B, D, H = 7, 3, 5, 4
RNG = np.random.default_rng(0)
MASK = RNG.random((T, B)) < 0.7
SCALE = RNG.random((T, B))
RESETS = RNG.random((T, B)) < 0.25
EVERYTHING = {"mask": MASK, "gradient_scale": SCALE, "resets": RESETS, "start": 4}
LAYERS: dict[str, Any] = {
    "elman": r.recurrent(r.elman(H)),
    "gru": r.recurrent(r.gru(H, learned_carry=True)),
    "peephole": r.recurrent(r.lstm(H, peepholes=True)),
    "gru-before": r.recurrent(r.gru(H, reset="before")),
    "lru": r.recurrent(r.lru(H)),
    "learned": r.recurrent(r.lstm(H, learned_carry=True)),
    "stack": r.serial(r.recurrent(r.lstm(H)), r.dropout(0.3), r.recurrent(r.gru(H))),
    "residual": r.serial(r.recurrent(r.gru(D)), r.residual(r.recurrent(r.lstm(D)))),
    "remat": r.remat(r.recurrent(r.gru(H)), 2),
    "zoneout": r.zoneout(r.lstm(H), 0.2),
    "weight-drop": r.weight_drop(r.recurrent(r.lstm(H)), 0.3),
}


def total(tree: Any) -> Any:
    """A loss in which no two numbers weigh the same."""
    leaves = [jnp.abs(leaf - 2) for leaf in jax.tree.leaves(tree)]
    return sum((leaf * (1 + jnp.arange(leaf.size).reshape(leaf.shape))).sum() for leaf in leaves)


def both(
    layer: Any, steps: int, params: Any, carry: Any, xs: Any, options: dict[str, Any], key: Any
) -> Any:
    """Values and gradients by pull-backs, and by windows."""

    def outcome(reference: bool) -> Any:
        member = r.truncate(layer, r.sliding(steps), reference=reference)

        def loss(params: Any, carry: Any, xs: Any) -> Any:
            final = member.apply(params, carry, xs, key=key, **options)
            every = r.all_carries(member, params, carry, xs, key=key, **options)
            return total((final, every)), (final, every)

        inputs = (0, 1) if xs.dtype == jnp.int32 else (0, 1, 2)
        return jax.value_and_grad(loss, inputs, has_aux=True)(params, carry, xs)

    return outcome(False), outcome(True)


compare = quick_jit(both, (0, 1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("steps", [0, 2, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_pull_backs_are_the_windows(name: str, steps: int) -> None:
    layer = LAYERS[name]
    params = layer.init(jax.random.key(0), D)
    carry = jax.tree.map(lambda c: c + 0.1, layer.initial_carry((B,), params))
    xs, key = jax.random.normal(jax.random.key(1), (T, B, D)), jax.random.key(2)
    options = {} if steps == 0 else EVERYTHING
    lagged, windows = compare(layer, steps, params, carry, xs, options, key)
    assert_close(lagged, windows)


@pytest.mark.usefixtures("x64")
def test_halves_of_a_batch() -> None:
    """A batch that the loops compute in two halves is pulled back in two halves."""
    layer, rows = r.recurrent(r.lstm(64)), 80  # enough for halves: see recurrence/engine.py
    params = layer.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (5, rows, D))
    mask = jax.random.bernoulli(jax.random.key(2), 0.8, (5, rows))
    carry = layer.initial_carry((rows,), params)
    assert_close(*compare(layer, 1, params, carry, xs, {"mask": mask}, None))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["elman", "gru", "learned"])
def test_random_shapes_against_a_double_loop(name: str) -> None:
    """Output t's gradient is that of the steps t-k … t alone, from a carry that is a constant."""
    layer, rng = LAYERS[name], np.random.default_rng(len(name))
    for _ in range(3):
        length, rows, steps = (int(rng.integers(*span)) for span in ((2, 9), (1, 4), (0, 5)))
        params = layer.init(jax.random.key(length), D)
        xs = jnp.asarray(rng.normal(size=(length, rows, D)))
        weights = jnp.asarray(rng.normal(size=(length, rows, H)))

        def sliding(params: Any, member: Any, xs: Any = xs, weights: Any = weights) -> Any:
            return (member.apply(params, None, xs)[1] * weights).sum()

        def double_loop(params: Any, k: int, xs: Any = xs, weights: Any = weights) -> Any:
            total, before, carry = 0.0, [], layer.initial_carry(xs.shape[1:2], params)
            for t in range(len(xs)):
                before.append(carry)
                begin = max(0, t - k)
                # The initial carry may be a parameter; a later one is a constant of the window.
                state = jax.lax.stop_gradient(before[begin]) if begin else before[0]
                _, ys = layer.apply(params, state, xs[begin : t + 1])
                total += (ys[-1] * weights[t]).sum()
                carry, _ = layer.apply(params, carry, xs[t : t + 1])
            return total

        member = r.truncate(layer, r.sliding(steps))
        ours = quick_jit(jax.grad(sliding), 1)(params, member)
        assert_close(ours, quick_jit(jax.grad(double_loop), 1)(params, steps))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(), (2,), (2, 1)])
def test_ids_and_any_batch_shape(shape: tuple[int, ...]) -> None:
    layer = LAYERS["elman"]
    params = layer.init(jax.random.key(0), D)
    xs = jax.random.randint(jax.random.key(1), (T, *shape), 0, D, jnp.int32)
    carry = layer.initial_carry(shape, params)
    assert_close(*compare(layer, 2, params, carry, xs, {}, None))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("cell", [r.gru(H), r.lstm(H)], ids=["gru", "lstm"])
def test_an_encoder_decoder(cell: r.Cell) -> None:
    """Windows of the decoder; what reaches its first carry goes on into the whole source."""
    layer = r.recurrent(cell)
    model = r.encoder_decoder(D, layer, r.language_model(D, layer, embedding_size=3), bridge=True)
    params = model.init(jax.random.key(0))
    source, ids = jax.random.randint(jax.random.key(1), (2, T, B), 0, D)

    def loss(params: Any, member: Any) -> Any:
        carry = member.encode(params, source, MASK)
        return total(member.apply(params, carry, ids, mask=MASK))

    grad = quick_jit(jax.grad(loss), 1)
    short = [r.truncate(model, r.sliding(2), reference=reference) for reference in (False, True)]
    lagged, windows = (grad(params, member) for member in short)
    assert_close(lagged, windows)
    assert np.abs(lagged["encoder"]["w_ih"]).max() > 0
    full = grad(params, model)
    assert (
        np.abs(full["decoder"]["layer"]["w_hh"] - lagged["decoder"]["layer"]["w_hh"]).max() > 1e-6
    )


@pytest.mark.usefixtures("x64")
def test_under_vmap_scan_and_checkpoint() -> None:
    layer = LAYERS["learned"]
    params = layer.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (2, T, B, D))

    def outcome(reference: bool) -> Any:
        member = r.truncate(layer, r.sliding(2), reference=reference)

        def loss(params: Any) -> Any:
            def part(carry: Any, xs: Any) -> Any:
                return jax.checkpoint(member.apply)(params, carry, xs)

            ensemble = jax.vmap(lambda xs: member.apply(params, None, xs))(xs)
            return total((jax.lax.scan(part, layer.initial_carry((B,), params), xs), ensemble))

        return jax.value_and_grad(loss)(params)

    assert_close(*quick_jit(lambda: (outcome(False), outcome(True)), ())())


def test_second_derivatives_are_refused_and_those_of_the_windows_exist() -> None:
    layer = LAYERS["elman"]
    params = layer.init(jax.random.key(0), D)
    xs = jnp.ones((T, B, D))

    def squared(params: Any, reference: Any) -> Any:
        member = r.truncate(layer, r.sliding(2), reference=reference)
        grads = jax.grad(lambda p: total(member.apply(p, None, xs)))(params)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(grads))

    with pytest.raises(ValueError, match=r"first derivatives only.*reference=True"):
        jax.grad(squared)(params, False)
    second = jax.grad(squared)(params, True)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(second))


@pytest.mark.parametrize("name", ["elman", "lru"])
def test_forward_mode_names_the_form_that_has_it(name: str) -> None:
    layer = LAYERS[name]
    params, xs = layer.init(jax.random.key(0), D), jnp.ones((T, B, D))
    member = r.truncate(layer, r.sliding(1))
    with pytest.raises(ValueError, match=r"reverse mode only.*reference=True"):
        jax.jvp(lambda p: member.apply(p, None, xs)[1], (params,), (params,))


@pytest.mark.parametrize("backend", ["auto", "scan"])
def test_an_infinite_gradient_does_not_cross_a_cut(backend: Any) -> None:
    layer = r.recurrent(r.elman(1, activation=lambda x: x), backend=backend)
    params, xs = layer.init(jax.random.key(0), 1), jnp.ones((4, 1, 1))
    scale = jnp.ones((4, 1)).at[2].set(0.0)

    def loss(xs: Any) -> Any:
        ys = layer.apply(params, None, xs, gradient_scale=scale)[1][:, 0, 0]
        return jnp.sqrt(ys[2] - jax.lax.stop_gradient(ys[2]))  # whose slope is infinite

    gradient = jax.grad(loss)(xs)[:, 0, 0]
    assert not jnp.isfinite(gradient[2])
    assert (gradient[:2] == 0).all() and gradient[3] == 0


def test_no_window_is_run_again() -> None:
    """However far windows reach, the compiled program has the work of one step for each lag."""
    layer = LAYERS["elman"]
    params, xs = layer.init(jax.random.key(0), D), jnp.ones((64, B, D))

    def temporaries(steps: int, reference: bool) -> int:
        member = r.truncate(layer, r.sliding(steps), reference=reference)
        grad: Any = jax.jit(jax.grad(lambda p, xs: total(member.apply(p, None, xs))))
        return int(grad.lower(params, xs).compile().memory_analysis().temp_size_in_bytes)

    assert temporaries(35, False) < 2 * temporaries(2, False)
    assert temporaries(16, True) > 3 * temporaries(2, True)
