"""The table of all cells, layers and models: one more member is one more row.

Sizes are tiny and shared, so that every member reads the same inputs: `SIZE` features, or ids
below `SIZE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.arrays.masking import expand, fill_masked
from tests.quick import QUICK as QUICK

SIZE = 5
KEY = jax.random.key(7)

# name: cell
CELLS: dict[str, r.Cell] = {
    "elman-tanh": r.elman(3),
    "elman-tanh-no-bias": r.elman(3, bias=False),
    "elman-relu": r.elman(3, activation=jax.nn.relu),
    "elman-relu-no-bias": r.elman(3, activation=jax.nn.relu, bias=False),
    "elman-sigmoid": r.elman(3, activation=jax.nn.sigmoid),
    "gru-after": r.gru(3),
    "gru-before": r.gru(3, reset="before"),
    "lstm": r.lstm(3, forget_bias=1.0),
    "lstm-peepholes": r.lstm(3, peepholes=True),
    "lstm-projected": r.lstm(4, proj_size=3, recurrent_bias=True),
    "elman-layer-norm": r.elman(3, layer_norm=True),
    "gru-layer-norm": r.gru(3, layer_norm=True),
    "lstm-layer-norm": r.lstm(3, layer_norm=True, forget_bias=1.0),
    "elman-sigmoid-no-bias": r.elman(3, activation=jax.nn.sigmoid, bias=False),
    "min-gru": r.min_gru(3),
    "min-lstm": r.min_lstm(3, positive=True, learned_carry=True),
    "lru": r.lru(3, output_size=2, learned_carry=True),
    "echo-state": r.echo_state(3, leak=0.7, bias_scale=0.1),
}

_STACK = r.serial(r.recurrent(r.elman(3)), r.recurrent(r.elman(4, activation=jax.nn.sigmoid)))
_NOISY = r.serial(r.recurrent(r.elman(3)), r.dropout(0.4), r.recurrent(r.elman(2)))

# name: layer, whether it reads ids
LAYERS: dict[str, tuple[r.Layer, bool]] = {
    "stack": (_STACK, False),
    "stack-ids-dropout": (_NOISY, True),
    "stack-reverse": (r.serial(_STACK, r.recurrent(r.elman(2), reverse=True)), False),
    "nested": (r.serial(r.serial(r.recurrent(r.elman(3)))), False),
    "zoneout-residual": (
        r.serial(
            r.zoneout(r.elman(3), 0.3),
            r.residual(r.serial(r.dropout(0.4, variational=True), r.recurrent(r.elman(3)))),
        ),
        False,
    ),
    "linear": (
        r.serial(r.residual(r.linear(SIZE)), r.recurrent(r.elman(3)), r.linear(2, bias=False)),
        False,
    ),
    # Without a penalty, whose gradient is of a whole call: see tests/layers.
    "activation-penalty": (r.serial(r.recurrent(r.elman(3)), r.activation_penalty()), False),
    "pre-norm": (
        r.serial(
            r.recurrent(r.elman(3)),
            r.residual(r.serial(r.layer_norm(), r.recurrent(r.gru(3)))),
            r.layer_norm(bias=False),
        ),
        True,
    ),
    "linear-ids": (r.serial(r.linear(4), r.recurrent(r.elman(3))), True),
    "remat-embedding-weight-drop": (
        r.remat(r.serial(r.embedding(4), r.weight_drop(r.recurrent(r.elman(3)), 0.4)), 2),
        True,
    ),
    "bidirectional-remat": (
        r.bidirectional(r.recurrent(r.elman(2)), r.remat(r.recurrent(r.elman(3), reverse=True), 2)),
        False,
    ),
}

# name: model, whether it reads ids
MODELS: dict[str, tuple[Any, bool]] = {
    "tagger": (r.sequence_tagger(2, r.recurrent(r.elman(3)), input_size=SIZE), False),
    "tagger-ids-dropout": (
        r.sequence_tagger(
            2,
            r.serial(r.embedding(4), r.dropout(0.2), r.recurrent(r.elman(3))),
            input_size=SIZE,
            bias=False,
        ),
        True,
    ),
    "tagger-bidirectional": (
        r.sequence_tagger(
            2,
            r.bidirectional(r.recurrent(r.elman(2)), r.recurrent(r.elman(3), reverse=True)),
            input_size=SIZE,
        ),
        False,
    ),
    "lm": (r.language_model(SIZE, r.recurrent(r.elman(3, bias=False)), bias=False), True),
    "lm-embedding-dropout": (
        r.language_model(SIZE, r.serial(r.dropout(0.2), r.recurrent(r.elman(3))), embedding_size=4),
        True,
    ),
    "lm-adaptive-softmax": (
        r.language_model(
            SIZE, r.recurrent(r.elman(3)), readout=r.adaptive_softmax([1, 3], factor=1.5)
        ),
        True,
    ),
}


@dataclass(frozen=True)
class Case:
    """One member and how to feed it."""

    name: str
    member: Any
    ids: bool
    model: bool = False

    def __str__(self) -> str:
        return self.name

    def init(self, seed: int = 0) -> Any:
        """Random parameters, biases included, larger than at the start of training."""
        init = self.member.init if self.model else lambda key: self.member.init(key, SIZE)
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(init, jax.random.key(seed))
        return jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 0.7, p.shape), p.dtype), shapes)

    def carry(self, batch_shape: tuple[int, ...], params: Any, seed: int = 1) -> Any:
        """A random carry handed in by the caller."""
        rng = np.random.default_rng(seed)
        zeros = jax.eval_shape(lambda: self.member.initial_carry(batch_shape, params))

        def normal(c: Any) -> jax.Array:
            values = rng.normal(0, 0.5, c.shape)
            turned = values * np.exp(1j * rng.normal(size=c.shape)) if _is_complex(c) else values
            return jnp.asarray(turned, c.dtype)

        return jax.tree.map(normal, zeros)

    def inputs(self, length: int, batch_shape: tuple[int, ...], seed: int = 2) -> jax.Array:
        """``int[T, B]`` or ``float[T, B, SIZE]``."""
        rng = np.random.default_rng(seed)
        if self.ids:
            return jnp.asarray(rng.integers(0, SIZE, (length, *batch_shape)))
        return jnp.asarray(rng.normal(size=(length, *batch_shape, SIZE)))


def is_variant(name: str) -> bool:
    """Whether another row takes the same path through windows and directions."""
    return any(word in name for word in ("no-bias", "peepholes", "layer-norm"))


CASES = (
    *(Case(name, r.recurrent(cell), ids=False) for name, cell in CELLS.items()),
    *(
        Case(f"{name}-reverse", r.recurrent(cell, reverse=True), ids=True)
        for name, cell in CELLS.items()
        if not is_variant(name)  # which direction it runs in is nothing to a bias or a norm
    ),
    *(Case(name, layer, ids) for name, (layer, ids) in LAYERS.items()),
    *(Case(name, model, ids, model=True) for name, (model, ids) in MODELS.items()),
)
CAUSAL = tuple(case for case in CASES if case.member.causal)
# For what is tried on many shapes: the members that between them take every path.
PLAIN, STACK, NOISY, MODEL = (
    next(case for case in CASES if case.name == name)
    for name in ("elman-tanh", "stack", "stack-ids-dropout", "lm-embedding-dropout")
)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
# For the costliest laws.
every_path = pytest.mark.parametrize(
    "case", [case for case in CAUSAL if not is_variant(case.name)], ids=str
)


def _is_complex(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.complexfloating))


def _waves(a: jax.Array, *axes: int, start: Any = 0) -> jax.Array:
    """Irregular weights of the shape of ``a`` that vary along the given axes only."""
    phase = jnp.asarray(start, a.dtype) * 1.3 + 0.5
    for axis in axes:
        shape = [a.shape[axis] if i == axis % a.ndim else 1 for i in range(a.ndim)]
        steps = jnp.arange(a.shape[axis], dtype=a.dtype).reshape(shape)
        phase = phase + jnp.broadcast_to(steps * (1.3 if axis == 0 else 2.1), a.shape)
    return jnp.sin(phase)


def outputs_loss(ys: jax.Array, start: Any = 0) -> jax.Array:
    """``Σ w·y``, with weights that depend on the absolute step and the feature, not on the row.

    No step has the weight of another, so that a gradient in the wrong place cannot hide, and a row
    alone has the weights that it has in a batch.
    """
    return (ys * _waves(ys, 0, -1, start=start)).sum()


def carry_loss(carry: Any, rows: Any = None) -> jax.Array:
    """``Σ w·c`` over the carry's features, of some rows or of all."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(carry):
        if _is_complex(leaf):
            leaf = jnp.concatenate([leaf.real, leaf.imag], axis=-1)
        kept = leaf if rows is None else jnp.where(expand(rows, leaf), leaf, 0)
        total = total + (kept * _waves(leaf, -1)).sum()
    return total


def gradients(loss: Any, params: Any, carry: Any, xs: jax.Array) -> dict[str, Any]:
    """Values and gradients of ``loss(params, carry, xs) -> (scalar, (carry, ys))``."""
    if jnp.issubdtype(xs.dtype, jnp.floating):
        grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        (dparams, dcarry, dxs), (carry, ys) = grad(params, carry, xs)
    else:
        grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (dparams, dcarry), (carry, ys) = grad(params, carry, xs)
        dxs = ()
    return {"carry": carry, "ys": ys, "dparams": dparams, "dcarry": dcarry, "dxs": dxs}


def raw_outcome(
    member: Any, params: Any, carry: Any, xs: jax.Array, mask: Any = None, key: Any = None,
    start: Any = 0, gate: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Values, and gradients (parameters, the caller's carry, features) of outputs AND carry."""
    along = {"start": start} if gate is None else {"start": start, "gradient_scale": gate}

    def loss(params: Any, carry: Any, xs: Any) -> Any:
        carry, ys = member.apply(params, carry, xs, mask=mask, key=key, **along)
        # A model's logits at masked steps are whatever its read-out makes of zeros.
        ys = fill_masked(ys, mask)
        return outputs_loss(ys, start) + carry_loss(carry), (carry, ys)

    return gradients(loss, params, carry, xs)


def quick_jit(f: Any, static: int | tuple[int, ...] = 0) -> Any:
    """Jit with members as static arguments, which they can be as values; NumPy arrays come back.

    Tests compile far more than they compute, hence the compiler's quickest options.
    """
    jitted = jax.jit(f, static_argnums=static, compiler_options=QUICK)
    return lambda *args, **options: jax.device_get(jitted(*args, **options))


outcome = quick_jit(raw_outcome)


def assert_close(a: Any, b: Any, rtol: float = 1e-10) -> None:
    """Two trees agree leaf by leaf to ``rtol`` (of the leaf's largest entry, too), NaN nowhere."""
    assert str(jax.tree.structure(a)) == str(jax.tree.structure(b))
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, f"{jax.tree_util.keystr(path)}: {x.shape} and {y.shape}"
        largest = max(np.abs(y).max(initial=0), 1e-3)
        np.testing.assert_allclose(
            x, y, rtol=rtol, atol=rtol * largest, equal_nan=False, err_msg=str(path)
        )
