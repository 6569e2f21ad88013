"""Trees come back from a file as they were saved, or the file says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import rnn_jax as r
from rnn_jax.interop import from_uvw, load_params, save_params, to_keras, to_uvw
from rnn_jax.interop.checksums import tensor_checksums

LSTM = r.recurrent(r.lstm(4, learned_carry=True))
DEEP = r.serial(LSTM, r.dropout(0.1), r.recurrent(r.gru(4)))
XS = jax.random.normal(jax.random.key(1), (5, 2, 3))


@pytest.mark.parametrize("layer", [LSTM, DEEP, r.recurrent(r.lru(4)), r.dropout(0.5)])
def test_loaded_parameters_drive_the_same_layer(layer: Any, tmp_path: Path) -> None:
    params, file = layer.init(jax.random.key(0), 3), tmp_path / "p.safetensors"
    save_params(file, params)
    loaded = load_params(file)
    assert str(jax.tree.structure(loaded)) == str(jax.tree.structure(params))
    np.testing.assert_array_equal(
        layer.apply(loaded, None, XS)[1], layer.apply(params, None, XS)[1]
    )


@pytest.mark.parametrize(
    "tree",
    [
        {"a": (1.0, [2.0, {}]), "b": None, "c": {"d": ()}},
        (1.0, None, {"x": [3.0]}),
        [{"w": 1.0}, (None, 2.0)],
        {},
        [],
    ],
)
def test_every_container_comes_back(tree: Any, tmp_path: Path) -> None:
    tree = jax.tree.map(jnp.asarray, tree)
    save_params(tmp_path / "t.safetensors", tree)
    loaded = load_params(tmp_path / "t.safetensors")
    assert str(jax.tree.structure(loaded)) == str(jax.tree.structure(tree))
    assert jax.tree.leaves(loaded) == jax.tree.leaves(tree)


def test_files_without_a_description(tmp_path: Path) -> None:
    """Those of earlier versions: no note of an empty entry or of a carry that is a pair."""
    file = tmp_path / "old.safetensors"
    params = DEEP.init(jax.random.key(0), 3)
    save_params(file, params)
    save_file(load_file(file), file)
    np.testing.assert_array_equal(
        DEEP.apply(load_params(file), None, XS)[1], DEEP.apply(params, None, XS)[1]
    )
    incomplete = {k: v for k, v in load_file(file).items() if not k.startswith("2.")}
    save_file(incomplete, file)
    with pytest.raises(ValueError, match="the parameters lack w_ih"):
        DEEP.apply(load_params(file), None, XS)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a.b": 1.0, "a": {"b": 2.0}}, "two arrays would both be called a.b"),
        ({"0": 1.0, "a": {"1.2": 1.0, "1": [3.0, 4.0, 5.0]}}, "two arrays would both"),
        ({"a": 1.0, "a.b": 2.0}, "a would be an array in the file and hold a.b"),
    ],
)
def test_names_that_collide_are_refused(tree: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.safetensors"
    with pytest.raises(ValueError, match=message):
        save_params(file, jax.tree.map(jnp.asarray, tree))
    assert not file.exists()


def test_files_of_before_the_notes_were_one_entry(tmp_path: Path) -> None:
    file = tmp_path / "t.safetensors"
    tree: Any = {"a": (jnp.ones(2), {})}
    arrays = {"a.0": np.ones(2, np.float32)}
    two = {
        "containers": '[[["a"], "tuple"], [["a", "1"], "dict"]]',
        "checksums": json.dumps(tensor_checksums(arrays)),
    }
    save_file(arrays, file, two)
    assert str(jax.tree.structure(load_params(file))) == str(jax.tree.structure(tree))
    save_file({"a.0": np.zeros(2, np.float32)}, file, two)
    with pytest.raises(ValueError, match=r"is damaged: a\.0 in it is not what was written"):
        load_params(file)


def test_a_flipped_bit_never_gives_another_tree(tmp_path: Path) -> None:
    file = tmp_path / "t.safetensors"
    tree: Any = {
        "a": (jnp.ones(2), [jnp.arange(3)], {}),
        "b": {"0": jnp.zeros(1), "1": jnp.ones(())},
    }
    save_params(file, tree)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            loaded = load_params(file)
        except ValueError:
            noticed += 1
            continue
        assert str(jax.tree.structure(loaded)) == str(jax.tree.structure(tree)), place
        for found, wanted in zip(jax.tree.leaves(loaded), jax.tree.leaves(tree), strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
    assert noticed > 0.9 * len(whole)


def test_foreign_files_that_are_no_tree_are_refused(tmp_path: Path) -> None:
    file, one = tmp_path / "t.safetensors", np.ones(1)
    save_file({"a": one, "a.b": one}, file)
    with pytest.raises(ValueError, match="does not hold a tree of parameters"):
        load_params(file)
    for broken in ("[", "[[1]]", '[[["x"], "tuple"]]', '[[["a"], "no"]]', "{}x"):
        save_file({"a": one, "x.1": one}, file, {"containers": broken})
        with pytest.raises(ValueError, match="description of containers is broken"):
            load_params(file)


def test_arrays_are_handed_out_in_c_order(tmp_path: Path) -> None:
    U, V, W = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2), np.arange(4.0)
    matrices = to_uvw(from_uvw(U, V, W.reshape(2, 2)))
    file = tmp_path / "uvw.safetensors"
    save_file(dict(zip("UVW", matrices, strict=True)), file)
    stored = load_file(file)
    for name, array in zip("UVW", (U, V, W.reshape(2, 2)), strict=True):
        np.testing.assert_array_equal(stored[name], array)
    layer = r.recurrent(r.lstm(4))
    weights = {k: np.asfortranarray(v) for k, v in layer.init(jax.random.key(0), 3).items()}
    for array in (*matrices, *to_keras(layer, weights)):
        assert array.flags.c_contiguous and array.flags.owndata


def test_numbers_are_not_changed_by_bytes_or_bits(tmp_path: Path) -> None:
    file = tmp_path / "p.safetensors"
    for dtype in (">f8", ">f4", ">i4"):
        save_params(file, {"w": np.arange(3).astype(dtype)})
        np.testing.assert_array_equal(load_params(file)["w"], np.arange(3))
    wide = {"w": np.array([2**40 + 1])}
    save_params(file, wide)
    with pytest.raises(ValueError, match="w is int64 and does not fit into int32"):
        load_params(file)
    np.testing.assert_array_equal(load_params(file, like=wide)["w"], wide["w"])
    save_params(file, {"w": np.array([7])})
    assert int(load_params(file)["w"][0]) == 7


def test_complex_numbers_of_64_bits_are_kept(tmp_path: Path) -> None:
    carry = {"c": np.array([1 + 2j, -3j], np.complex64)}
    save_params(tmp_path / "p.safetensors", carry)
    found = load_params(tmp_path / "p.safetensors")["c"]
    assert found.dtype == np.complex64
    np.testing.assert_array_equal(found, carry["c"])


@pytest.mark.parametrize("leaf", [jax.random.key(0), "text", np.ones(2) + 0j], ids=str)
def test_what_a_file_cannot_hold_is_named(tmp_path: Path, leaf: Any) -> None:
    with pytest.raises(ValueError, match=r"^k is of dtype .* cannot hold"):
        save_params(tmp_path / "p.safetensors", {"k": leaf})
    assert not list(tmp_path.iterdir())
