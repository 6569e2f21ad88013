"""Values and gradients against files that `tests/golden/make_golden.py` wrote."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.interop import from_keras, from_torch, to_keras, to_torch
from tests.interop.libraries import assert_equal, run, stacked, unstacked

FOLDER = Path(__file__).parents[1] / "golden"
TORCH = sorted(path.stem for path in FOLDER.glob("torch-*.npz"))
KERAS = sorted(path.stem for path in FOLDER.glob("keras-*.npz"))

pytestmark = pytest.mark.usefixtures("x64")


def read(name: str) -> dict[str, Any]:
    """The arrays of one file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def group(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin with ``prefix/``, by the rest of the name."""
    return {
        name.removeprefix(f"{prefix}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{prefix}/")
    }


def members(arrays: dict[str, Any], prefix: str) -> list[Any]:
    """``prefix/0``, ``prefix/1``, …"""
    return list(group(arrays, prefix).values())


@pytest.mark.parametrize("name", TORCH)
def test_pytorch(name: str) -> None:
    golden = read(name)
    layer, params = from_torch(group(golden, "weights"), kind=str(golden["kind"]))
    mask = r.length_mask(golden["lengths"], len(golden["inputs"]))
    initial, v = (unstacked(layer, members(golden, prefix)) for prefix in ("initial", "v"))
    (dparams, dinitial, dxs), (ys, final) = run(
        layer, params, initial, jnp.asarray(golden["inputs"]), mask, golden["w"], v
    )
    assert_equal(ys, golden["ys"])
    assert_equal(dxs, golden["gradients/inputs"])
    for prefix, carry in (("final", final), ("gradients/initial", dinitial)):
        for ours, theirs in zip(stacked(layer, carry), members(golden, prefix), strict=True):
            assert_equal(ours, theirs)
    gradients = to_torch(layer, dparams)
    assert gradients.keys() == group(golden, "weights").keys()
    for key, theirs in group(golden, "gradients/weights").items():
        assert_equal(gradients[key], theirs)


def keras_layer(kind: str, weights: list[Any]) -> Any:
    """The part of a Keras layer that `from_keras` reads."""
    functions = (SimpleNamespace(__name__=name) for name in ("tanh", "sigmoid"))
    layer = type(kind, (SimpleNamespace,), {})(get_weights=lambda: weights, go_backwards=False)
    layer.activation, layer.recurrent_activation = functions
    layer.units, layer.reset_after = weights[1].shape[0], weights[-1].ndim == 2
    return layer


@pytest.mark.parametrize("name", KERAS)
def test_keras(name: str) -> None:
    golden = read(name)
    weights = members(golden, "weights")
    layer, params = from_keras(keras_layer(str(golden["kind"]), weights))
    xs, w = (jnp.asarray(golden[key].swapaxes(0, 1)) for key in ("inputs", "w"))
    params, xs, w = jax.tree.map(lambda a: a.astype(float), (params, xs, w))
    initial, v = (
        jax.tree.unflatten(
            jax.tree.structure(layer.initial_carry(())),
            [array.astype(float) for array in members(golden, prefix)],
        )
        for prefix in ("initial", "v")
    )
    mask = r.length_mask(golden["lengths"], len(xs))
    (dparams, dinitial, dxs), (ys, final) = run(layer, params, initial, xs, mask, w, v)
    assert_equal(ys.swapaxes(0, 1), golden["ys"])
    assert_equal(dxs.swapaxes(0, 1), golden["gradients/inputs"])
    for prefix, carry in (("final", final), ("gradients/initial", dinitial)):
        for ours, theirs in zip(jax.tree.leaves(carry), members(golden, prefix), strict=True):
            assert_equal(ours, theirs)
    for ours, theirs in zip(
        to_keras(layer, dparams), members(golden, "gradients/weights"), strict=True
    ):
        assert_equal(ours, theirs)
    for ours, theirs in zip(to_keras(layer, params), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_classifier_reads_pytorchs_final_states() -> None:
    golden = read("torch-gru-2-bidirectional")
    layer, params = from_torch(group(golden, "weights"), kind="gru")
    model = r.sequence_classifier(8, layer, input_size=3, bias=False)
    carry = unstacked(layer, members(golden, "initial"))
    mask = r.length_mask(golden["lengths"], len(golden["inputs"]))
    params = {"layer": params, "readout": {"w": jnp.eye(8)}}
    _, got = model.apply(params, carry, jnp.asarray(golden["inputs"]), mask=mask)
    forward, backward = golden["final/0"][-2:]
    assert_equal(got, np.concatenate([forward, backward], axis=-1))
