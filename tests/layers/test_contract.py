"""What the package asks of cells and layers: declared in base classes, optional for one's own."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.cells import form_of
from rnn_jax.layers.base import adapted
from tests.cases import quick_jit

ROOT = Path(__file__).parents[2]
LAYER = r.recurrent(r.lstm(3))
PARAMS = LAYER.init(jax.random.key(0), 2)
XS = jnp.arange(40.0).reshape(5, 4, 2) / 40
MASK = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)


@dataclass(frozen=True)
class OnlyApply:
    """A layer of somebody's own that meets the protocol and nothing else."""

    layer: Any
    causal: bool = True
    output_size: int = 3

    def init(self, key: Any, input_size: int) -> Any:
        return self.layer.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Any = None) -> Any:
        return self.layer.initial_carry(batch_shape, params)

    def apply(
        self, params: Any, carry: Any, xs: Any, *, mask: Any = None, key: Any = None, **rest: Any
    ) -> Any:
        assert set(rest) <= {"gradient_scale", "start", "resets"}
        return self.layer.apply(params, carry, xs, mask=mask, key=key, **rest)


@pytest.mark.parametrize(
    "around",
    [
        lambda layer: layer,
        lambda layer: r.serial(layer),
        lambda layer: r.remat(layer, 2),
        lambda layer: r.residual(layer),
        lambda layer: r.truncate(layer, r.chunked(2)),
        lambda layer: r.truncate(layer, r.sliding(1)),
        lambda layer: r.truncate(r.serial(layer, r.dropout(0.5)), r.tail(2)),
    ],
)
def test_a_layer_with_only_apply_does_as_well(around: Any) -> None:
    xs = jnp.concatenate([XS, XS[..., :1]], -1)
    layer = r.recurrent(r.lstm(3))
    own, ours = around(OnlyApply(layer)), around(layer)
    params, key = ours.init(jax.random.key(0), 3), jax.random.key(1)

    def loss(params: Any, member: Any) -> Any:
        carries, ys = r.all_carries(member, params, None, xs, mask=MASK, key=key)
        carry, _ = adapted(member).apply(params, None, xs, mask=MASK, key=key)
        leaves = jax.tree.leaves((carries, ys, carry))
        return sum((leaf**2).sum() for leaf in leaves)

    both = quick_jit(jax.value_and_grad(loss), 1)
    for theirs, expected in zip(
        jax.tree.leaves(both(params, own)), jax.tree.leaves(both(params, ours)), strict=True
    ):
        np.testing.assert_allclose(theirs, expected, rtol=2e-5, atol=1e-6)


def test_nothing_is_fetched_from_layers_by_name() -> None:
    members = {"carries", "input_table", "reverse", "over", "counts_steps", "recurrent_part"}
    members |= {"causal", "form", "layer", "apply", "run"}
    for path in sorted((ROOT / "rnn_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
                "getattr",
                "hasattr",
            }:
                name = node.args[1]
                assert not (isinstance(name, ast.Constant) and name.value in members), path


def test_a_renamed_keyword_names_its_new_name() -> None:
    gate: Any = {"gate": jnp.ones((5, 4))}
    for call in (
        lambda: LAYER.apply(PARAMS, None, XS, **gate),
        lambda: LAYER.carries(PARAMS, None, XS, **gate),
        lambda: r.all_carries(LAYER, PARAMS, None, XS, **gate),
        lambda: r.unroll(LAYER.cell, PARAMS, None, XS, **gate),
        lambda: r.linear_scan(XS, XS, XS[0], **gate),
    ):
        with pytest.raises(TypeError, match="'gate': it is called gradient_scale now"):
            call()
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'masks'$"):
        LAYER.apply(PARAMS, None, XS, masks=MASK)  # type: ignore[arg-type]


def test_the_carry_of_an_lstm_is_a_pair_with_names() -> None:
    carry, ys = LAYER.apply(PARAMS, None, XS)
    h, c = carry
    assert isinstance(carry, r.LSTMCarry)
    assert carry.h is h and carry.c is c
    np.testing.assert_array_equal(h, ys[-1])


@pytest.mark.parametrize(
    "layer",
    [
        LAYER,
        r.recurrent(r.lstm(3), backend="scan"),
        r.recurrent(r.lstm(3, layer_norm=True)),
        r.recurrent(r.lstm(3, proj_size=2)),
        r.remat(LAYER, 2),
        r.zoneout(r.lstm(3), 0.2),
        r.truncate(LAYER, r.sliding(1)),
        r.truncate(LAYER, r.chunked(2)),
    ],
    ids=["engine", "scan", "norm", "projection", "remat", "zoneout", "sliding", "chunked"],
)
def test_a_plain_pair_goes_in_and_comes_out(layer: Any) -> None:
    params = layer.init(jax.random.key(0), 2)
    names = layer.initial_carry((4,), params)

    def by_steps(carry: Any) -> Any:
        def body(carry: Any, x: Any) -> Any:
            return layer.apply(params, carry, x[None])

        return jax.lax.scan(body, carry, XS)

    for apply in (lambda carry: layer.apply(params, carry, XS), by_steps):
        pair, ys = apply(tuple(names))
        expected, others = apply(names)
        assert type(pair) is tuple and type(expected) is r.LSTMCarry
        for leaf, other in zip((*pair, ys), (*expected, others), strict=True):
            np.testing.assert_array_equal(leaf, other)
    if isinstance(layer, r.Recurrent):
        zs = layer.cell.project(params, XS)
        assert type(layer.cell.step(params, tuple(names), zs[0])[0]) is tuple


@dataclass(frozen=True)
class Doubled(r.Recurrent):
    """A class of somebody's own that derives from one of ours and changes ``apply``."""

    def apply(self, *args: Any, **options: Any) -> Any:
        carry, ys = super().apply(*args, **options)
        return carry, 2 * ys


@dataclass(frozen=True)
class ApplyOnly(r.BaseLayer):
    layer: Any = LAYER

    def init(self, key: Any, input_size: int) -> Any:
        return self.layer.init(key, input_size)

    def initial_carry(self, batch_shape: tuple[int, ...], params: Any = None) -> Any:
        return self.layer.initial_carry(batch_shape, params)

    def apply(self, params: Any, carry: Any, xs: Any, **options: Any) -> Any:
        (h, c), ys = self.layer.apply(params, carry, xs, **options)
        return (h, c), 2 * ys


@pytest.mark.parametrize("own", [Doubled(r.lstm(3)), ApplyOnly()], ids=["derived", "base"])
def test_an_apply_of_ones_own_is_not_passed_over(own: Any) -> None:
    plain = 2 * LAYER.apply(PARAMS, None, XS)[1]
    for around in (
        r.serial,
        lambda layer: r.truncate(layer, r.sliding(1)),
        lambda x: r.remat(x, 2),
    ):
        layer = around(own)
        params = {"0": PARAMS} if around is r.serial else PARAMS
        np.testing.assert_allclose(layer.apply(params, None, XS)[1], plain, rtol=1e-6)
        np.testing.assert_allclose(r.all_carries(layer, params, None, XS)[1], plain, rtol=1e-6)


def test_a_kind_of_truncation_with_the_old_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Old\.gate: it is called gradient_scale now"):

        class Old(r.Truncation):
            def gate(self, steps: Any) -> Any:
                return None


def test_noise_of_one_row_depends_on_its_index() -> None:
    xs = jnp.ones((5, 4, 8))
    layer, key = r.dropout(0.5), jax.random.key(0)
    rows = layer.apply({}, (), xs, key=key, rows=0)[1]
    alone = jax.vmap(lambda i: layer.apply({}, (), xs[:, 0], key=key, rows=i)[1], out_axes=1)
    np.testing.assert_array_equal(alone(jnp.arange(4)), rows)


@dataclass(frozen=True)
class PlainPair(r.LSTM):
    """A cell of somebody's own that returns the pair without names."""

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        (h, c), y = super().pointwise(theta, carry, z, r)
        return (h, c), y


@dataclass(frozen=True)
class PlainPairStep(PlainPair):
    def step(self, params: Any, carry: Any, z: Any) -> Any:
        (h, c), y = super().step(params, carry, z)
        return (h, c), y


@pytest.mark.parametrize("cell", [PlainPair(3), PlainPairStep(3)], ids=["pointwise", "step"])
def test_a_cell_derived_from_an_lstm_may_return_a_plain_pair(cell: Any) -> None:
    def loss(params: Any, cell: Any) -> Any:
        (h, c), ys = r.unroll(cell, params, None, XS, mask=MASK)
        return (h + c).sum() + (ys**2).sum()

    both = quick_jit(jax.value_and_grad(loss), 1)
    for leaf, expected in zip(
        jax.tree.leaves(both(PARAMS, cell)), jax.tree.leaves(both(PARAMS, r.LSTM(3))), strict=True
    ):
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-6)


@dataclass(frozen=True)
class Own(r.PointwiseCell):
    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = jnp.tanh(z[0] + r[0])
        return h, h


@dataclass(frozen=True)
class OwnStep(Own):
    def step(self, params: Any, carry: Any, z: Any) -> Any:
        return super().step(params, carry, z)


@dataclass(frozen=True)
class OwnProject(Own):
    def project(self, params: Any, xs: Any) -> Any:
        return 2 * super().project(params, xs)


def test_the_form_of_a_cell_is_settled_with_its_class() -> None:
    forms = {
        r.lstm(3): "pointwise", r.gru(3): "pointwise", r.gru(3, reset="before"): "plain",
        r.lru(3): "linear", r.min_gru(3): "linear", r.echo_state(3): "plain",
        Own(3): "pointwise", OwnStep(3): "plain", OwnProject(3): "pointwise",
    }  # fmt: skip
    assert {cell: form_of(cell) for cell in forms} == forms
    assert Own.bias_by_step and not OwnProject.bias_by_step

    class Plain(Own):
        form: ClassVar[Any] = "plain"

    assert form_of(Plain(3)) == "plain"
    params = Own(3).init(jax.random.key(0), 2)
    plain, own = (r.unroll(cell, params, None, XS)[1] for cell in (Own(3), OwnStep(3)))
    np.testing.assert_allclose(plain, own, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        r.dropout(0.5),
        r.dropout(0.5, variational=True),
        r.serial(r.zoneout(r.lstm(2), 0.3, cell_rate=0.6), r.dropout(0.2)),
        r.truncate(r.recurrent(r.gru(2)), r.randomized(0.5)),
        r.truncate(r.zoneout(r.gru(2), 0.4), r.sliding(1)),
        r.remat(r.serial(r.recurrent(r.gru(2)), r.dropout(0.3)), 2),
    ],
    ids=["plain", "variational", "zoneout", "randomized", "sliding", "remat"],
)
def test_noise_by_global_row_does_not_depend_on_how_a_batch_is_cut(layer: Any) -> None:
    params, key = layer.init(jax.random.key(0), 2), jax.random.key(7)

    def loss(params: Any, xs: Any, first: int) -> Any:
        ys = layer.apply(params, None, xs, key=key, rows=first)[1]
        return (ys**2).sum(), ys

    both = quick_jit(jax.value_and_grad(loss, has_aux=True), ())
    (_, whole), gradient = both(params, XS, 3)
    parts = [both(params, XS[:, :1], 3), both(params, XS[:, 1:], 4)]
    np.testing.assert_allclose(np.concatenate([ys for (_, ys), _ in parts], 1), whole, rtol=1e-5)
    summed = jax.tree.map(np.add, parts[0][1], parts[1][1])
    for leaf, expected in zip(jax.tree.leaves(summed), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)
