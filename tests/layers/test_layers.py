"""Layers by themselves: what each adds to the layer it is built from; for laws see cases.py."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from tests.cases import KEY, SIZE, assert_close, outcome, quick_jit, raw_outcome

pytestmark = pytest.mark.usefixtures("x64")
ANY: Any = r  # for calls that the types already forbid

ELMAN, GRU = r.recurrent(r.elman(3)), r.recurrent(r.gru(3))
IDS = jnp.array([[3, 1], [4, 1], [0, 2], [2, 0]])
FEATURES: Any = np.random.default_rng(0).normal(size=(4, 2, SIZE))


@pytest.mark.parametrize("merge, xs", [("concat", FEATURES), ("sum", IDS)], ids=["concat", "sum"])
def test_bidirectional_is_one_layer_and_another_on_the_flipped_sequence(
    merge: Any, xs: Any
) -> None:
    both = r.bidirectional(ELMAN, r.recurrent(r.gru(3), reverse=True), merge=merge)
    params = both.init(KEY, SIZE)
    halves = both.initial_carry((2,), params)

    class ByHand:
        @staticmethod
        def apply(params: Any, carry: Any, xs: Any, **_: Any) -> Any:
            first, ahead = ELMAN.apply(params["forward"], carry[0], xs)
            second, back = GRU.apply(params["backward"], carry[1], xs[::-1])
            back = back[::-1]
            ys = ahead + back if merge == "sum" else jnp.concatenate([ahead, back], -1)
            return (first, second), ys

    assert both.output_size == (3 if merge == "sum" else 6)
    assert_close(outcome(both, params, halves, xs), outcome(ByHand, params, halves, xs))


def test_halves_of_a_bidirectional_layer_meet_their_own_noise() -> None:
    dropping = r.residual(r.serial(r.dropout(0.5), ELMAN))
    backward = r.residual(r.serial(r.dropout(0.5), r.recurrent(r.elman(3), reverse=True)))
    both = r.bidirectional(dropping, backward)
    params = jax.tree.map(jnp.ones_like, both.init(KEY, 3))
    _, ys = both.apply(params, None, jnp.ones((1, 40, 3)), key=KEY)
    assert not np.allclose(ys[..., :3], ys[..., 3:])


def test_residual_adds_its_input() -> None:
    layer, xs = r.residual(GRU), FEATURES[..., :3]
    params = layer.init(KEY, 3)
    mask = r.length_mask(jnp.array([4, 2]), 4)
    carry, ys = layer.apply(params, None, xs, mask=mask)
    inner_carry, inner = GRU.apply(params, None, xs, mask=mask)
    assert_close((carry, ys), (inner_carry, jnp.where(mask[..., None], xs, 0) + inner))
    carries, again = r.all_carries(layer, params, None, xs, mask=mask)
    assert_close((carries[-1], again), (carry, ys))


def test_variational_dropout_keeps_its_mask_over_the_steps() -> None:
    layer, xs = r.dropout(0.25, variational=True), jnp.ones((6, 50, 40))
    _, ys = layer.apply({}, (), xs, key=KEY)
    np.testing.assert_allclose(np.unique(ys), [0, 1 / 0.75])
    assert abs(float((ys[0] == 0).mean()) - 0.25) < 0.05  # 2000 draws: deviation 0.01
    assert (ys == ys[:1]).all() and len(np.unique(ys[0], axis=0)) == 50
    _, later = layer.apply({}, (), xs[:2], key=KEY, start=3)
    np.testing.assert_array_equal(later, ys[3:5])
    np.testing.assert_array_equal(layer.apply({}, (), xs)[1], xs)


def test_embedding_looks_rows_up() -> None:
    layer = r.embedding(4)
    params = layer.init(KEY, SIZE)
    mask = r.length_mask(jnp.array([4, 1]), 4)
    poisoned = jnp.where(mask, IDS, 99)
    grads = outcome(layer, params, (), poisoned, mask)
    one_hot = jnp.where(mask[..., None], jax.nn.one_hot(IDS, SIZE), 0)

    class Product:
        @staticmethod
        def apply(params: Any, carry: Any, xs: Any, **_: Any) -> Any:
            return (), one_hot @ params["embedding"]

    assert_close(grads, outcome(Product, params, (), IDS))
    assert_close(layer.apply(params, (), poisoned, mask=mask)[1], grads["ys"])
    _, ys = jax.jit(layer.apply)(params, (), jnp.array([SIZE, -1, 0]))
    assert np.isnan(ys[:2]).all() and np.isfinite(ys[2]).all()


def test_fresh_embeddings_are_standard_normal() -> None:
    table = r.embedding(50).init(KEY, 400)["embedding"]
    assert abs(float(table.mean())) < 0.03 and abs(float(table.std()) - 1) < 0.03


def test_weight_drop_drops_entries_once_for_all_steps() -> None:
    """Without input, with the identity and unit vectors as carry, y_t is the matrix's power."""
    rate, size = 0.3, 40
    cell = r.elman(size, activation=lambda h: h, bias=False)
    layer = r.weight_drop(r.recurrent(cell), rate)
    params = layer.init(KEY, 1)
    xs, carry = jnp.zeros((3, size, 1)), jnp.eye(size)
    (_, ys), w = layer.apply(params, carry, xs, key=KEY), params["w_hh"]
    dropped = ys[0] == 0
    assert abs(float(dropped.mean()) - rate) < 0.06  # 1600 draws: deviation 0.011
    assert_close(ys[0], jnp.where(dropped, 0, w / (1 - rate)))
    assert_close(ys[2], ys[0] @ ys[0] @ ys[0])
    _, later = layer.apply(params, carry, xs[:1], key=KEY, start=7)
    assert_close(later[0], ys[0])
    assert not np.allclose(layer.apply(params, carry, xs, key=jax.random.key(1))[1], ys)
    assert_close(layer.apply(params, carry, xs)[1][0], w)
    grad = jax.grad(lambda p: layer.apply(p, carry, xs, key=KEY)[1].sum())(params)["w_hh"]
    np.testing.assert_array_equal(np.asarray(grad) == 0, dropped)


def test_weight_drop_hands_noise_on() -> None:
    layer = r.weight_drop(r.zoneout(r.elman(3), 0.5), 0.0)
    params = layer.init(KEY, SIZE)
    loud, quiet = (layer.apply(params, None, FEATURES, key=key)[1] for key in (KEY, None))
    assert not np.allclose(loud, quiet)


TIED = r.language_model(SIZE, r.recurrent(r.elman(3)), embedding_size=3, tied=True)


def test_tied_weights_by_hand() -> None:
    params = TIED.init(KEY)
    assert set(params["readout"]) == {"b"} and TIED.input_table is None

    class ByHand:
        @staticmethod
        def apply(params: Any, carry: Any, xs: Any, **_: Any) -> Any:
            vectors = jax.nn.one_hot(xs, SIZE) @ params["embedding"]
            carry, ys = ELMAN.apply(params["layer"], carry, vectors)
            return carry, ys @ params["embedding"].T + params["readout"]["b"][None, None]

    carry = TIED.initial_carry((2,), params)
    assert_close(outcome(TIED, params, carry, IDS), outcome(ByHand, params, carry, IDS))


def test_tied_weights_without_a_bias_have_no_read_out() -> None:
    model = r.language_model(SIZE, r.dropout(0.1), embedding_size=3, tied=True, bias=False)
    params = model.init(KEY)
    assert set(params) == {"embedding", "layer"}
    table = params["embedding"]
    assert_close(model.apply(params, None, IDS)[1], table[IDS] @ table.T)


@pytest.mark.parametrize(
    "model",
    (TIED, r.truncate(TIED, r.tail(2)), r.language_model(SIZE, r.serial(r.embedding(4), ELMAN))),
    ids=["tied", "tied-tail", "embedding-layer"],
)
def test_sgd_on_rows_is_sgd(model: Any) -> None:
    """Rows of the table that a batch does not use have a gradient when it is the read-out, too."""
    params = model.init(KEY)
    batch = r.Batch(IDS[:-1], IDS[1:])
    states = []
    for optimizer in (r.sgd(0.5), optax.sgd(0.5)):
        step = quick_jit(r.make_train_step(model, optimizer), static=())
        states.append(step(r.init_train_state(model, optimizer, params), batch)[0].params)
    assert_close(*states)


def test_gradients_reach_a_learned_carry() -> None:
    """It is as if the same carry were handed in, through a stack of every kind of layer."""
    cells = r.lstm(3, learned_carry=True), r.gru(3, reset="before", learned_carry=True)
    layer = r.serial(
        r.recurrent(cells[0]),
        r.residual(r.weight_drop(r.recurrent(cells[1]), 0.2)),
        r.remat(r.zoneout(cells[0], 0.2), 2),
        r.bidirectional(r.recurrent(cells[0]), r.recurrent(cells[1], reverse=True)),
    )
    params = jax.tree.map(lambda p: p + 0.3, layer.init(KEY, SIZE))
    initial = layer.initial_carry((2,), params)

    @quick_jit
    def both(_: Any, params: Any) -> Any:
        return [raw_outcome(layer, params, carry, FEATURES, key=KEY) for carry in (None, initial)]

    learned, handed_in = both(None, params)
    p = learned["dparams"]
    halves = p["3"]["forward"]["carry"], p["3"]["backward"]["carry"]
    found = (p["0"]["carry"], p["1"]["carry"], p["2"]["carry"], halves)
    assert_close(found, jax.tree.map(lambda c: c.sum(0), handed_in["dcarry"]))
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    "make, message",
    (
        (lambda: ANY.bidirectional(r.elman(3), GRU), "takes a layer, not Elman.*wrap a cell"),
        (lambda: r.bidirectional(ELMAN, GRU), "one that runs in reverse: pass recurrent"),
        (
            lambda: r.bidirectional(r.recurrent(r.elman(3), reverse=True), GRU),
            "runs forwards and one that runs in reverse",
        ),
        (
            lambda: ANY.bidirectional(ELMAN, r.recurrent(r.gru(3), reverse=True), merge="mean"),
            "merge must be one of .*'sum'.*, not 'mean'",
        ),
        (
            lambda: r.bidirectional(ELMAN, r.recurrent(r.gru(2), reverse=True), merge="sum"),
            r"outputs of sizes \(3, 2\) by 'sum'",
        ),
        (lambda: ANY.residual(r.elman(3)), r"residual\(\) takes a layer"),
        (lambda: r.residual(ELMAN).init(KEY, 4), "inputs of size 4 to outputs of size 3"),
        (
            lambda: r.residual(GRU).apply(GRU.init(KEY, SIZE), None, FEATURES),
            "inputs of size 5 to outputs of size 3: give the layer",
        ),
        (lambda: r.residual(ELMAN).apply({}, None, IDS), "token ids .* are no features"),
        (lambda: r.embedding(0), "embedding_size must be an integer of at least 1"),
        (lambda: r.embedding(3).init(KEY, 0), "input_size must be an integer of at least 1"),
        (lambda: r.embedding(3).apply({}, (), FEATURES), "reads token ids, integers, not float64"),
        (
            lambda: r.embedding(3).apply(r.embedding(3).init(KEY, 4), (), IDS),
            "token id 4 lies outside the vocabulary of 4",
        ),
        (lambda: ANY.weight_drop(r.elman(3), 0.1), r"weight_drop\(\) takes a layer"),
        (lambda: r.weight_drop(ELMAN, 1.0), r"weight drop rate must lie in \[0, 1\), not 1\.0"),
        (lambda: r.weight_drop(r.serial(ELMAN), 0.1).init(KEY, 4), "one recurrent matrix w_hh"),
        (
            lambda: r.language_model(SIZE, ELMAN, tied=True),
            "tied weights need an embedding_size that is the layer's output size, 3, not None",
        ),
        (
            lambda: r.language_model(SIZE, ELMAN, embedding_size=4, tied=True),
            "output size, 3, not 4",
        ),
    ),
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
