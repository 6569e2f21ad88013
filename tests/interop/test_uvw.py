"""U, V and W: the layout and the files of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import rnn_jax as r
from rnn_jax.interop import from_uvw, load_params, load_uvw, save_params, save_uvw, to_uvw
from rnn_jax.reference import NumpyRNN

RNG = np.random.default_rng(0)
U, V, W = (RNG.normal(size=shape) for shape in ((3, 7), (7, 3), (3, 3)))
MODEL = r.language_model(7, r.recurrent(r.elman(3, bias=False)), bias=False)


@pytest.mark.usefixtures("x64")
def test_round_trip_and_layout() -> None:
    params = from_uvw(U, V, W)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    for ours, theirs in zip(to_uvw(params), (U, V, W), strict=True):
        assert isinstance(ours, np.ndarray) and ours.dtype == np.float64
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("x64")
def test_the_model_computes_what_the_reference_does() -> None:
    x = np.array([0, 6, 2, 2, 5])
    params = from_uvw(U, V, W)
    carry, logits = MODEL.apply(params, MODEL.initial_carry((), params), jnp.array(x))
    o, s = NumpyRNN(U, V, W).forward(x)
    np.testing.assert_allclose(jax.nn.softmax(logits), o, rtol=1e-12)
    np.testing.assert_allclose(carry, s[len(x) - 1], rtol=1e-12)


def test_dtype_is_kept_or_becomes_float32() -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(from_uvw(U, V, W))} == {jnp.dtype("float32")}
    half = from_uvw(*(a.astype(np.float16) for a in (U, V, W)))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("float16")}


def test_files_are_the_references(tmp_path: Path) -> None:
    params = from_uvw(U, V, W)
    save_uvw(tmp_path / "new" / "weights.npz", params)
    jax.tree.map(np.testing.assert_array_equal, load_uvw(tmp_path / "new" / "weights.npz"), params)
    theirs = NumpyRNN.load(tmp_path / "new" / "weights.npz")
    np.testing.assert_array_equal(theirs.U, U.astype(np.float32))
    NumpyRNN(U, V, W).save(tmp_path / "theirs.npz")
    jax.tree.map(np.testing.assert_array_equal, load_uvw(tmp_path / "theirs.npz"), params)
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["theirs.npz", "weights.npz"]


def broken_files(folder: Path) -> dict[str, Path]:
    whole = folder / "whole.npz"
    np.savez_compressed(whole, U=U, V=V, W=W)
    data = whole.read_bytes()
    contents: dict[str, bytes] = {
        "empty": b"",
        "text": b"hello",
        "cut": data[: len(data) // 2],
        "corrupt": data[:60] + b"x" * 15 + data[75:],
    }
    paths = {"missing": folder / "missing.npz", "folder": folder}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.npz"
        paths[name].write_bytes(content)
    np.savez(folder / "no-w.npz", U=U, V=V)
    np.savez(folder / "shapes.npz", U=U, V=U, W=W)
    np.save(folder / "one.npy", U)
    objects = np.array([None])
    np.savez(folder / "objects.npz", U=objects, V=objects, W=objects)
    return paths | {
        name: folder / name for name in ("no-w.npz", "shapes.npz", "one.npy", "objects.npz")
    }


def test_broken_files_are_named(tmp_path: Path) -> None:
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(
            ValueError, match=r"is not an \.npz file with arrays U, V and W"
        ) as error:
            load_uvw(path)
        assert str(path) in str(error.value), name


def test_unwritable_paths_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for save, params in ((save_uvw, from_uvw(U, V, W)), (save_params, {"a": jnp.ones(2)})):
        with pytest.raises(ValueError, match=f"cannot write {tmp_path}/file/weights"):
            save(tmp_path / "file" / "weights", params)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    save_uvw(path, from_uvw(U, V, W))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="has the matrices"):
        save_uvw(path, {"layer": {}})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "shapes",
    (
        ((3, 7), (3, 7), (3, 3)),
        ((3, 7), (7, 3), (3, 4)),
        ((7, 3), (7, 3), (3, 3)),
        ((3,), (3,), (3,)),
        ((0, 7), (7, 0), (0, 0)),
    ),
)
def test_shapes_that_do_not_fit(shapes: Any) -> None:
    with pytest.raises(ValueError, match=r"U, V, W must have shapes \[H,V\], \[V,H\], \[H,H\]"):
        from_uvw(*(np.ones(shape) for shape in shapes))


OTHERS: tuple[Any, ...] = (
    r.language_model(7, r.recurrent(r.elman(3)), bias=False),
    r.language_model(7, r.recurrent(r.elman(3, bias=False))),
    r.language_model(7, r.recurrent(r.elman(3, bias=False)), bias=False, embedding_size=2),
    r.language_model(7, r.serial(r.recurrent(r.elman(3, bias=False))), bias=False),
)


@pytest.mark.parametrize("model", OTHERS, ids=range(len(OTHERS)))
def test_parameters_of_another_model(model: Any) -> None:
    with pytest.raises(ValueError, match="has the matrices U, V and W alone"):
        to_uvw(model.init(jax.random.key(0)))


def test_parameters_in_safetensors(tmp_path: Path) -> None:
    model = r.language_model(7, r.serial(r.dropout(0.5), r.recurrent(r.elman(3))), embedding_size=2)
    params, path = model.init(jax.random.key(0)), tmp_path / "p.safetensors"
    save_params(path, params)
    loaded = load_params(path, jax.eval_shape(model.init, jax.random.key(0)))
    assert loaded["layer"]["0"] == {}  # the file itself cannot represent it
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    np.testing.assert_array_equal(load_params(path)["readout"]["w"], params["readout"]["w"])
    with pytest.raises(ValueError, match="holds the parameters of another model"):
        load_params(path, like={"w": jnp.ones(2)})
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_params(path)
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_params(tmp_path / "missing")


def test_bfloat16_in_safetensors(tmp_path: Path) -> None:
    params = {"w": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)}
    save_params(tmp_path / "p.safetensors", params)
    loaded = load_params(tmp_path / "p.safetensors")
    assert loaded["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(loaded["w"], params["w"])


def test_files_hold_an_lstms_carry_as_the_pair_it_once_was(tmp_path: Path) -> None:
    layer = r.recurrent(r.lstm(3, learned_carry=True))
    params = layer.init(jax.random.key(0), 2)
    old = {**params, "carry": tuple(params["carry"])}
    for written, name in ((old, "old"), (params, "new")):
        save_params(tmp_path / name, written)
    same = {name: load_file(tmp_path / name) for name in ("old", "new")}  # but for the metadata
    jax.tree.map(np.testing.assert_array_equal, same["old"], same["new"])
    loaded = load_params(tmp_path / "old", like=params)
    assert isinstance(loaded["carry"], r.LSTMCarry)
