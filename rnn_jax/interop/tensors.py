"""Parameters, or any other tree of arrays, saved in a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells import LSTMCarry
from rnn_jax.host.files import atomic_path, reason
from rnn_jax.interop.checksums import check_tensors
from rnn_jax.interop.containers import nested
from rnn_jax.interop.metadata import read_notes, written_notes
from rnn_jax.types import Params

__all__ = [
    "DamagedFile",
    "OtherTree",
    "load_noted",
    "load_params",
    "load_tensors",
    "named_leaves",
    "save_noted",
    "save_params",
]


class DamagedFile(ValueError):
    """A file that cannot be read, or holds something else than what was written."""


class OtherTree(ValueError):
    """A file whose arrays have other names or shapes than those that are wanted.

    name: of the first one that differs.
    difference: what of it.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, difference: str) -> None:
        super().__init__(f"{os.fspath(path)} holds the parameters of another model: {difference}")
        self.name, self.difference = name, difference


def save_params(path: str | os.PathLike[str], params: Params) -> None:
    """Write a tree of arrays to a safetensors file, whole or not at all.

    An array is named by its path, joined with dots: ``layer.w_ih``. The file's metadata hold a
    checksum of each, by which `load_params` notices damage, and note pairs, lists and empty
    entries. Equal trees make equal files, byte for byte.

    Args:
      path: the file.
      params: nested dicts of arrays, whose names contain no dots. Other trees, such as a
        `TrainState`, can be written as well, and read back with ``like``.

    Raises:
      ValueError: the file cannot be written, two arrays would have one name there, or a leaf is
        nothing that it can hold: a typed key, a text, a complex number of more than 64 bits.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> file = tempfile.mkdtemp() + "/parameters.safetensors"
      >>> save_params(file, {"layer": {"w": jnp.ones((2, 3))}})
      >>> load_params(file)["layer"]["w"].shape
      (2, 3)
    """
    save_noted(path, params, None)


def save_noted(
    path: str | os.PathLike[str], params: Params, beside: Mapping[str, Any] | None
) -> None:
    """As `save_params`, with a JSON object beside the tensors, under the same checksum."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    named = named_leaves(params)
    flat = {name: _storable(name, leaf) for name, leaf in named}
    _check_names([name for name, _ in named])
    try:
        with atomic_path(Path(path)) as temporary:
            # From the arrays to the disk: all of them are at no time one array of bytes.
            save_file(flat, temporary, written_notes(params, flat, beside))
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot write {os.fspath(path)} ({why}): choose another path") from None


def load_params(path: str | os.PathLike[str], like: Params = None) -> Params:
    """A tree of arrays from a safetensors file, as `save_params` wrote it; else nested dicts.

    Args:
      path: the file.
      like: a tree, or its shapes from ``jax.eval_shape``. The file must match its names, shapes
        and dtypes, and the result has its structure: containers other than dicts, empty ones, and
        NumPy arrays where it has no JAX arrays.

    Raises:
      ValueError: there is no such file, it is not a safetensors file, it is damaged, or it does not
        match ``like``. A file without checksums, from elsewhere or from before there were any, is
        read as it is.
    """
    return load_noted(path, like)[0]


def load_noted(
    path: str | os.PathLike[str], like: Params = None, *, extra: str | None = None
) -> tuple[Params, dict[str, Any] | None]:
    """As `load_params`, and the JSON object beside the tensors, None where there is none.

    Args:
      path: the file.
      like: as for `load_params`.
      extra: a name under which the file may hold scalars that ``like``, a dict, does not have.
    """
    flat, notes = _read(path)
    if like is not None:
        if found := [name for name in flat if extra and name.startswith(f"{extra}.")]:
            like = {**like, extra: {name.removeprefix(f"{extra}."): flat[name] for name in found}}
        wanted = named_leaves(like)
        _check_match(path, {n: np.shape(leaf) for n, leaf in wanted}, flat)
        for name, leaf in wanted:
            dtype = np.dtype(getattr(leaf, "dtype", None) or np.asarray(leaf).dtype)
            if flat[name].dtype != dtype:
                raise ValueError(
                    f"{os.fspath(path)} holds {name} in {flat[name].dtype}, and {dtype} is wanted: "
                    "give like= in the file's dtypes, and convert what is loaded"
                )
        restored = (_restored(flat[name], leaf) for name, leaf in wanted)
        return jax.tree.unflatten(jax.tree.structure(like), restored), notes.beside
    try:
        loaded = {name: _loaded(name, a) for name, a in flat.items()}
        return nested(loaded, notes.containers), notes.beside
    except ValueError as error:
        raise ValueError(
            f"{os.fspath(path)} does not hold a tree of parameters: {error}; pass like="
        ) from None


def load_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file under the names that they have there.

    Raises:
      ValueError: as `load_params`.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays by name, and what the file's metadata say of them."""
    from safetensors import SafetensorError, safe_open

    try:
        # Tensor by tensor, because safetensors.numpy.load does not know bfloat16.
        with safe_open(os.fspath(path), "numpy") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DamagedFile(
            f"{os.fspath(path)} is not a readable safetensors file: {error}; restore it from a copy"
        ) from None
    try:
        notes = read_notes(metadata)
        if notes.checksums is not None:
            check_tensors(flat, notes.checksums)
    except ValueError as error:
        raise DamagedFile(
            f"{os.fspath(path)} is damaged: {error}; restore the file from a copy"
        ) from None
    return flat, notes


def _check_match(
    path: str | os.PathLike[str],
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, np.ndarray],
) -> None:
    """Raise OtherTree unless a file has arrays of these names and shapes, and no others."""
    # Parameters first, because they say most.
    for name in sorted(wanted.keys() | found, key=lambda name: (".params." not in name, name)):
        if name not in wanted or name not in found:
            where = "the file has" if name in found else "the model wants"
            difference = f"only {where} {name}"
        elif found[name].shape != wanted[name]:
            shapes = list(found[name].shape), list(wanted[name])
            difference = f"its {name} is of shape {shapes[0]}, the model's of shape {shapes[1]}"
        else:
            continue
        raise OtherTree(path, name, difference)


def _storable(name: str, leaf: Any) -> np.ndarray:
    """A leaf as the file holds it: in C order, and in the byte order of all such files."""
    kinds = jnp.bool_, jnp.integer, jnp.floating
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.extended):
        array = np.asarray(leaf, order="C")
        if array.dtype == np.complex64 or any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
            return array.astype(array.dtype.newbyteorder("="), copy=False)
        dtype = array.dtype
    raise ValueError(
        f"{name} is of dtype {dtype}, which a safetensors file cannot hold: leave it out, or save "
        "jax.random.key_data(…) of a key, and complex numbers as complex64 or by their parts"
    )


def _loaded(name: str, leaf: np.ndarray) -> jax.Array:
    """A leaf on the device, or an error where 64 bits would be cut to 32 and change it."""
    array = jnp.asarray(leaf)
    wide = leaf.dtype.kind in "iu" and leaf.dtype.itemsize > array.dtype.itemsize
    if wide and not np.array_equal(np.asarray(array).astype(leaf.dtype), leaf):
        raise ValueError(
            f"{name} is {leaf.dtype} and does not fit into {array.dtype}: enable jax_enable_x64, "
            "or pass like= with NumPy arrays"
        )
    return array


def _check_names(names: list[str]) -> None:
    """Raise ValueError if two arrays have one name, or one's name is another's container."""
    seen = set(names)
    if len(seen) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"two arrays would both be called {twice} in the file: use names without dots"
        )
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            if (outer := ".".join(parts[:end])) in seen:
                raise ValueError(
                    f"{outer} would be an array in the file and hold {name}: use names without dots"
                )


def _restored(
    leaf: np.ndarray, like: jax.Array | jax.ShapeDtypeStruct | np.ndarray
) -> jax.Array | np.ndarray:
    """``leaf`` as the kind of array that ``like`` is."""
    return jnp.asarray(leaf) if isinstance(like, (jax.Array, jax.ShapeDtypeStruct)) else leaf


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree in their order, each with its path joined by dots."""

    def unnamed(node: Any) -> Any:
        # In files an LSTM's carry is the pair that it once was: "carry.0", "carry.1".
        return tuple(node) if isinstance(node, LSTMCarry) else node

    plain = jax.tree.map(unnamed, tree, is_leaf=lambda node: isinstance(node, LSTMCarry))
    return [
        (jax.tree_util.keystr(keys, simple=True, separator="."), leaf)
        for keys, leaf in jax.tree.leaves_with_path(plain)
    ]
