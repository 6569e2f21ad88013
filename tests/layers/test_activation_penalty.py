"""AR and TAR: the gradient of a penalty added by hand, and values that stay, in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.diagnostics import gradient_flow, state_jacobians
from rnn_jax.layers.activation_penalty import without_penalties
from rnn_jax.runs.gradients import check_gradients
from tests.cases import assert_close, quick_jit

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
XS, WEIGHTS = RNG.normal(size=(6, 3, 4)), RNG.normal(size=(6, 3, 4))
MASK = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
RESETS = np.zeros((6, 3), bool)
RESETS[3, 0] = RESETS[0, 1] = RESETS[4, 1] = True


def by_hand(h: Any, ar: float, tar: float, mask: Any = None, resets: Any = None) -> Any:
    """Step by step and row by row, as in the docstring."""
    T, B, H = h.shape
    squares, changes = [], []
    for t in range(T):
        for b in range(B):
            if mask is None or mask[t, b]:
                squares.append((h[t, b] ** 2).sum())
                joined = t and (mask is None or mask[t - 1, b])
                if joined and (resets is None or not resets[t, b]):
                    changes.append(((h[t, b] - h[t - 1, b]) ** 2).sum())
    mean = [sum(parts) / max(len(parts) * H, 1) for parts in (squares, changes)]
    return ar * mean[0] + tar * mean[1]


@pytest.mark.parametrize(
    ("ar", "tar", "mask", "resets"),
    [
        (2.0, 0.0, None, None),
        (0.0, 1.5, None, None),
        (2.0, 1.5, MASK, None),
        (2.0, 1.5, None, RESETS),
        (2.0, 1.5, MASK, RESETS),
        (2.0, 1.5, np.zeros_like(MASK), None),
    ],
    ids=["ar", "tar", "mask", "resets", "both", "no-step"],
)
def test_the_gradient_is_that_of_the_penalty_added_by_hand(
    ar: float, tar: float, mask: Any, resets: Any
) -> None:
    layer = r.activation_penalty(ar, tar)
    given = None if mask is None else jnp.asarray(mask)
    marks = None if resets is None else jnp.asarray(resets)

    def loss(ys: Any) -> Any:
        return (WEIGHTS * ys**3).sum()

    def with_layer(xs: Any) -> Any:
        carry, ys = layer.apply({}, (), xs, mask=given, resets=marks)
        assert carry == ()
        return loss(ys), ys

    def added(xs: Any) -> Any:
        held = xs if mask is None else jnp.where(mask[..., None], xs, 0)
        return loss(held) + by_hand(held, ar, tar, mask, resets)

    xs = jnp.asarray(XS if mask is None else np.where(mask[..., None], XS, np.nan))
    (value, ys), gradient = jax.jit(jax.value_and_grad(with_layer, has_aux=True))(xs)
    held = XS if mask is None else np.where(mask[..., None], XS, 0)
    np.testing.assert_array_equal(ys, held)
    np.testing.assert_allclose(value, loss(held), rtol=1e-14)
    np.testing.assert_allclose(
        gradient, quick_jit(jax.grad(added), ())(held), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(
        layer.penalty(xs, given, marks), by_hand(held, ar, tar, mask, resets), rtol=1e-12
    )


def test_where_the_awd_lstm_has_them() -> None:
    """TAR of the last layer's outputs, AR of them after their dropout: one gradient of all."""
    drop, key = r.dropout(0.5, variational=True), jax.random.key(3)
    below = r.serial(r.recurrent(r.lstm(3)), r.recurrent(r.lstm(3)))
    plain = r.serial(below, r.activation_penalty(), drop, r.activation_penalty())
    layer = r.serial(below, r.activation_penalty(tar=1.5), drop, r.activation_penalty(ar=2.0))
    params = jax.tree.map(lambda p: p.astype(jnp.float64), layer.init(jax.random.key(0), 4))
    xs, mask = jnp.asarray(XS), jnp.asarray(MASK)

    def mean_loss(ys: Any) -> Any:
        return (WEIGHTS[..., :3] * ys).sum() / MASK.sum()

    def by_layer(params: Any) -> Any:
        return mean_loss(layer.apply(params, None, xs, mask=mask, key=key)[1])

    def added(params: Any) -> Any:
        keys = jax.random.split(key, 4)  # as serial() hands them out
        _, raw = below.apply(params["0"], None, xs, mask=mask, key=keys[0])
        _, ys = drop.apply({}, (), raw, mask=mask, key=keys[2])
        return mean_loss(ys) + by_hand(raw, 0.0, 1.5, MASK) + by_hand(ys, 2.0, 0.0, MASK)

    assert_close(jax.jit(jax.grad(by_layer))(params), jax.jit(jax.grad(added))(params))
    np.testing.assert_allclose(
        by_layer(params), mean_loss(plain.apply(params, None, xs, mask=mask, key=key)[1])
    )


def test_it_is_minimised_by_a_train_step() -> None:
    """A step of `sgd`, row-sparse and under a truncation, is one on loss plus penalty."""
    penalty, ids = r.activation_penalty(3.0, 2.0), jnp.asarray(RNG.integers(0, 7, (6, 2)))
    bare = r.language_model(7, r.recurrent(r.elman(3)))
    model = r.language_model(7, r.serial(r.recurrent(r.elman(3)), penalty))
    params = jax.tree.map(lambda p: p.astype(jnp.float64), model.init(jax.random.key(0)))
    batch = r.Batch(ids[:-1], ids[1:])

    def added(params: Any) -> Any:
        inner = {**params, "layer": params["layer"]["0"]}
        _, logits = bare.apply(inner, None, batch.inputs)
        _, hs = r.recurrent(r.elman(3)).apply(inner["layer"], None, batch.inputs)
        return r.cross_entropy(logits, batch.targets) + penalty.penalty(hs)

    expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(added)(params))
    for member in (model, r.truncate(model, r.chunked(5))):
        step = r.make_train_step(member, r.sgd(0.5))
        state, metrics = jax.jit(step)(r.init_train_state(model, r.sgd(0.5), params), batch)
        assert_close(state.params, expected)
        bare_loss = r.cross_entropy(model.apply(params, None, batch.inputs)[1], batch.targets)
        np.testing.assert_allclose(metrics["loss"], bare_loss, rtol=1e-12)


@pytest.mark.parametrize("kind", [r.chunked(2), r.tail(2), r.randomized(0.5), r.full()])
def test_values_are_those_of_the_layer_below(kind: Any) -> None:
    below, key = r.recurrent(r.gru(3)), jax.random.key(1)
    layer = r.serial(below, r.activation_penalty(1.0, 2.0))
    params = jax.tree.map(lambda p: p.astype(jnp.float64), layer.init(jax.random.key(0), 4))
    xs, mask, resets = jnp.asarray(XS), jnp.asarray(MASK), jnp.asarray(RESETS)
    options: Any = {"mask": mask, "resets": resets}
    expected = below.carries(params["0"], None, xs, **options)
    truncated = r.truncate(layer, kind)
    (carries, _), ys = r.all_carries(truncated, params, None, xs, key=key, **options)
    assert_close((carries, ys), expected, rtol=1e-13)
    carry, parts = layer.initial_carry((3,), params), []
    for t in range(6):  # T steps at once equal T single calls
        here = {name: value[t : t + 1] for name, value in options.items()}
        carry, y = layer.apply(params, carry, xs[t : t + 1], start=t, **here)
        parts.append(y)
    np.testing.assert_allclose(jnp.concatenate(parts), expected[1], rtol=1e-13)


def test_second_derivatives_hold_the_penalty() -> None:
    layer, xs = r.activation_penalty(2.0, 1.5), jnp.asarray(XS[:3, :1, :2])

    def with_layer(xs: Any) -> Any:
        return (layer.apply({}, (), xs)[1] ** 3).sum()

    def added(xs: Any) -> Any:
        return (xs**3).sum() + layer.penalty(xs)

    twice = jax.jacrev(jax.grad(with_layer))(xs)
    np.testing.assert_allclose(twice, jax.jacrev(jax.grad(added))(xs), rtol=1e-12, atol=1e-14)
    rows = jax.vmap(jax.grad(with_layer), 1, 1)(jnp.asarray(XS)[:, :, None])
    np.testing.assert_allclose(
        rows, jax.vmap(jax.grad(added), 1, 1)(jnp.asarray(XS)[:, :, None]), rtol=1e-12
    )


def test_low_precision_and_no_steps() -> None:
    layer = r.activation_penalty(2.0, 1.0)
    gradient = jax.grad(lambda xs: layer.apply({}, (), xs)[1].sum())
    assert gradient(jnp.ones((3, 2, 4), jnp.bfloat16)).dtype == jnp.bfloat16
    for shape in ((0, 2, 4), (1, 2, 4), (3, 4)):
        assert np.isfinite(gradient(jnp.ones(shape))).all()


def test_what_takes_a_sequence_apart_refuses_it() -> None:
    layer = r.serial(r.recurrent(r.elman(3)), r.activation_penalty(tar=1.0))
    model = r.language_model(5, layer)
    for inner in (layer, model):
        with pytest.raises(
            ValueError, match=r"remat\(\) cuts .*tar=1.0\) is of all its steps: put"
        ):
            r.remat(inner)
        with pytest.raises(ValueError, match=r"sliding\(\) takes .* truncate the layers below"):
            r.truncate(inner, r.sliding(2))
    above = r.serial(r.truncate(r.remat(r.recurrent(r.elman(3))), r.sliding(1)), layer.layers[1])
    params = above.init(jax.random.key(0), 4)
    assert above.apply(params, None, jnp.asarray(XS))[1].shape == (6, 3, 3)
    r.truncate(r.serial(r.recurrent(r.elman(3)), r.activation_penalty()), r.sliding(1))


def test_diagnostics_measure_the_network_without_it() -> None:
    layers = [
        r.serial(r.recurrent(r.elman(3)), penalty, r.recurrent(r.elman(2)))
        for penalty in (r.activation_penalty(), r.activation_penalty(5.0, 3.0))
    ]
    params = layers[0].init(jax.random.key(0), 4)
    for measure in (
        partial(state_jacobians, params=params, carry=None, xs=jnp.asarray(XS)),
        lambda layer: gradient_flow(layer, params, None, jnp.asarray(XS)).norms,
        lambda layer: (
            gradient_flow(r.truncate(layer, r.chunked(3)), params, None, jnp.asarray(XS)).norms
        ),
    ):
        plain, penalised = (measure(layer) for layer in layers)
        np.testing.assert_array_equal(plain, penalised)
    model = r.language_model(6, r.serial(r.recurrent(r.elman(2)), r.activation_penalty(1.0)))
    assert check_gradients(model).passed
    assert without_penalties(model) == r.language_model(
        6, r.serial(r.recurrent(r.elman(2)), r.activation_penalty())
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.activation_penalty(-1.0), "ar must be a finite number of at least 0, not -1.0"),
        (lambda: r.activation_penalty(tar=float("nan")), "tar must be a finite number"),
        (lambda: r.activation_penalty("2"), "ar must be a finite number"),  # type: ignore[arg-type]
        (
            lambda: r.activation_penalty(1.0).apply({}, (), jnp.ones((2, 3), int)),
            r"activation_penalty\(\) is for features, not token ids",
        ),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
