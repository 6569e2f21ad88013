"""Several sequences in one row, against each alone; one sequence in chunks, against it whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.arrays.masking import expand
from tests.cases import (
    KEY,
    SIZE,
    Case,
    assert_close,
    carry_loss,
    gradients,
    outcome,
    outputs_loss,
    quick_jit,
)

pytestmark = pytest.mark.usefixtures("x64")
ANY: Any = r  # for calls that the types already forbid

CELL = r.gru(3, learned_carry=True)
FORWARD, REVERSE = r.recurrent(CELL), r.recurrent(CELL, reverse=True)
ZONEOUT = r.zoneout(r.lstm(3, learned_carry=True), 0.3, cell_rate=0.1)


@quick_jit
def outcome_along(
    member: Any, params: Any, carry: Any, xs: Any, key: Any = None, along: Any = None
) -> Any:
    def loss(params: Any, carry: Any, xs: Any) -> Any:
        carry, ys = member.apply(params, carry, xs, key=key, **along)
        return outputs_loss(ys) + carry_loss(carry), (carry, ys)

    return gradients(loss, params, carry, xs)


def travellers(shape: tuple[int, ...]) -> dict[str, Any]:
    """Holes in the mask, gates that are no idempotents, resets on masked steps, too."""
    rng = np.random.default_rng(5)
    return {
        "mask": jnp.asarray(rng.random(shape) < 0.6),
        "gradient_scale": jnp.asarray(rng.random(shape) * 2),
        "resets": jnp.asarray(rng.random(shape) < 0.4),
    }


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "layer",
    (
        r.serial(FORWARD, r.residual(ZONEOUT)),
        r.bidirectional(FORWARD, REVERSE),
        r.remat(r.serial(r.weight_drop(FORWARD, 0.2), r.dropout(0.2, variational=True)), 2),
        r.remat(REVERSE, 2),
    ),
    ids=["stack", "bidirectional", "remat", "remat-reverse"],
)
def test_sequences_in_one_row_are_sequences_alone(layer: Any, gaps: bool) -> None:
    """The learned carry has a gradient from each of them."""
    params = Case("", layer, ids=False).init()
    xs = jnp.asarray(np.random.default_rng(1).normal(size=(8, SIZE)))
    # The second sequence begins on a masked step, behind another.
    parts = ([0, 1], [4, 5, 6], [7]) if gaps else ([0, 1, 2], [3, 4, 5, 6], [7])
    resets = jnp.zeros(8, bool).at[jnp.array([3, 7])].set(True)
    mask = jnp.zeros(8, bool).at[np.concatenate(parts)].set(True)
    along = {"resets": resets, "mask": mask if gaps else None}

    @quick_jit
    def ways(_: Any, params: Any, xs: Any) -> Any:
        def alone(params: Any, xs: Any) -> Any:
            ys = jnp.zeros((8, layer.output_size))
            for part in map(np.array, parts):
                ys = ys.at[part].set(layer.apply(params, None, xs[part])[1])
            return outputs_loss(ys), ys

        def packed(params: Any, xs: Any) -> Any:
            ys = layer.apply(params, None, xs, **along)[1]
            return outputs_loss(ys), ys

        return [jax.grad(f, argnums=(0, 1), has_aux=True)(params, xs) for f in (packed, alone)]

    packed, alone = ways(None, params, xs)
    assert_close(packed, alone)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(packed[0][0]))


@dataclass(frozen=True)
class ByHand:
    """One step after the other; a reset waits for the next valid step of the walk."""

    reverse: bool

    def apply(self, params: Any, carry: Any, xs: Any, *, key: Any, **along: Any) -> Any:
        mask, resets = along["mask"], along["resets"]
        zs: Any = CELL.project(params, xs)
        ys: list[Any] = [None] * len(xs)
        initial, waiting = CELL.initial_carry(xs.shape[1:-1], params), jnp.zeros(xs.shape[1], bool)
        for t in range(len(xs))[:: -1 if self.reverse else 1]:
            waiting = waiting if self.reverse else waiting | resets[t]
            new, y = CELL.step(params, jnp.where(expand(waiting, carry), initial, carry), zs[t])
            carry = jnp.where(expand(mask[t], carry), new, carry)
            ys[t] = jnp.where(expand(mask[t], y), y, 0)
            waiting &= ~mask[t]
            waiting = waiting | resets[t] if self.reverse else waiting
        return carry, jnp.stack(ys)


@pytest.mark.parametrize("layer", (FORWARD, REVERSE), ids=["forward", "reverse"])
def test_resets_and_masks_by_hand(layer: Any) -> None:
    case = Case("", layer, ids=False)
    params, xs = case.init(), case.inputs(7, (4,))
    carry = case.carry((4,), params)
    along = {**travellers((7, 4)), "gradient_scale": None}
    expected = outcome_along(ByHand(layer.reverse), params, carry, xs, None, along)
    assert_close(outcome_along(layer, params, carry, xs, None, along), expected)


@pytest.mark.parametrize(
    "layer",
    (r.serial(FORWARD, r.dropout(0.3), ZONEOUT), r.weight_drop(REVERSE, 0.3)),
    ids=["stack", "reverse-weight-drop"],
)
def test_remat_is_the_layer(layer: Any) -> None:
    case, B = Case("", layer, ids=False), (3,)
    params, xs = case.init(), case.inputs(7, B)
    carry, along = case.carry(B, params), travellers((7, *B))
    member = r.remat(layer, 3)  # an odd step and two chunks
    for options in ({"start": 2}, {"start": 2, **along}):
        expected = outcome_along(layer, params, carry, xs, KEY, options)
        assert_close(outcome_along(member, params, carry, xs, KEY, options), expected)


@pytest.mark.parametrize("layer", (FORWARD, REVERSE), ids=["forward", "reverse"])
@pytest.mark.parametrize("T", [0, 1, 2, 4])
def test_remat_of_every_length(layer: Any, T: int) -> None:
    case = Case("", layer, ids=True)
    params, xs = case.init(), case.inputs(T, ())
    carry = case.carry((), params)
    assert_close(outcome(r.remat(layer), params, carry, xs), outcome(layer, params, carry, xs))
    assert_close(r.remat(layer).apply(params, None, xs), layer.apply(params, None, xs))


@pytest.mark.parametrize("T", [0, 5])
def test_remat_has_all_carries(T: int) -> None:
    layer = r.serial(FORWARD, r.dropout(0.3))
    case = Case("", layer, ids=False)
    params, xs = case.init(), case.inputs(T, (2,))
    carry, mask = case.carry((2,), params), r.length_mask(jnp.array([T, T // 2]), T)
    chunks, whole = (
        quick_jit(r.all_carries)(member, params, carry, xs, mask=mask, key=KEY)
        for member in (r.remat(layer, 2), layer)
    )
    assert_close(chunks, whole)


def test_remat_of_a_model_is_the_model_over_it() -> None:
    model = r.language_model(5, FORWARD, embedding_size=2)
    assert r.remat(model, 3) == r.language_model(5, r.remat(FORWARD, 3), embedding_size=2)
    truncated = r.truncate(r.remat(model, 3), r.chunked(4))
    assert truncated == model.over(r.truncate(r.remat(FORWARD, 3), r.chunked(4)))


@pytest.mark.parametrize("reverse", [False, True])
def test_remat_takes_a_fifth_of_the_memory(reverse: bool) -> None:
    """Of the compiler's temporary bytes, which it knows without a run."""
    layer = r.recurrent(r.lstm(16), reverse=reverse)
    params, xs = layer.init(KEY, 16), jnp.zeros((1600, 4, 16))

    def temporary_bytes(layer: Any) -> Any:
        def loss(params: Any, xs: Any) -> Any:
            return (layer.apply(params, None, xs)[1] ** 2).sum()

        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, xs).compile()
        analysis: Any = compiled.memory_analysis()
        return analysis.temp_size_in_bytes

    assert temporary_bytes(r.remat(layer)) <= temporary_bytes(layer) / 5


@pytest.mark.parametrize(
    "make, message",
    (
        (lambda: ANY.remat(CELL), r"remat\(\) takes a layer, not GRU.*wrap a cell"),
        (lambda: r.remat(FORWARD, 0), "chunk must be an integer of at least 1"),
        (lambda: r.remat(r.bidirectional(FORWARD, REVERSE)), "put remat on its parts"),
        (lambda: r.remat(r.serial(FORWARD, REVERSE)), "reads in both directions"),
        (
            lambda: r.remat(r.serial(r.truncate(FORWARD, r.chunked(2)))),
            r"write truncate\(remat\(layer\), kind\)",
        ),
        (
            lambda: r.remat(r.truncate(r.language_model(5, FORWARD), r.tail(2))),
            r"write truncate\(remat\(layer\), kind\)",
        ),
        (lambda: r.truncate(r.remat(REVERSE), r.chunked(2)), "is not causal"),
    ),
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
