"""The three matrices U, V and W of the reference word model, and their ``.npz`` files."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rnn_jax.host.files import atomic_path, reason
from rnn_jax.types import Params

__all__ = ["from_uvw", "load_uvw", "save_uvw", "to_uvw"]


def from_uvw(U: ArrayLike, V: ArrayLike, W: ArrayLike) -> Params:
    """Parameters of the reference word model from its three matrices.

    ``s_t = tanh(U[:, x_t] + W s_{t-1})``, ``o_t = softmax(V s_t)``. The parameters are those of
    ``language_model(V, recurrent(elman(H, bias=False)), bias=False)``.

    Args:
      U: ``[H, V]``, input to hidden.
      V: ``[V, H]``, hidden to output.
      W: ``[H, H]``, hidden to hidden.

    Returns:
      ``{"layer": {"w_ih": Uᵀ, "w_hh": Wᵀ}, "readout": {"w": Vᵀ}}`` in the dtype of the matrices
      (float64 becomes float32 unless JAX runs with x64).

    Raises:
      ValueError: the shapes do not fit together.

    Example:
      >>> import numpy as np
      >>> params = from_uvw(np.zeros((3, 8)), np.zeros((8, 3)), np.zeros((3, 3)))
      >>> params["layer"]["w_ih"].shape, params["readout"]["w"].shape
      ((8, 3), (3, 8))
    """
    U, V, W = jnp.asarray(U), jnp.asarray(V), jnp.asarray(W)
    shapes = (U.shape, V.shape, W.shape)
    hidden, vocab = U.shape if U.ndim == 2 else (0, 0)
    if shapes != ((hidden, vocab), (vocab, hidden), (hidden, hidden)) or not U.size:
        raise ValueError(f"U, V, W must have shapes [H,V], [V,H], [H,H], not {shapes}")
    return {"layer": {"w_ih": U.T, "w_hh": W.T}, "readout": {"w": V.T}}


def to_uvw(params: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices ``(U, V, W)`` of the word model's parameters, or gradients, as NumPy arrays.

    Raises:
      ValueError: the parameters are those of another model.

    Example:
      >>> import numpy as np
      >>> U, V, W = to_uvw(from_uvw(np.ones((3, 8)), np.zeros((8, 3)), np.eye(3)))
      >>> U.shape, V.shape, W.shape
      ((3, 8), (8, 3), (3, 3))
    """
    try:
        ((w_ih, w_hh), w) = (params["layer"][k] for k in ("w_ih", "w_hh")), params["readout"]["w"]
        plain = (
            w_hh.shape[0] == w_hh.shape[1]
            and len(params) == 2
            and len(params["layer"]) == 2
            and len(params["readout"]) == 1
        )
    except (KeyError, TypeError):
        plain = False
    if not plain:
        raise ValueError(
            "only language_model(V, recurrent(elman(H, bias=False)), bias=False) has the matrices "
            "U, V and W alone"
        )
    # Copies in C order: a writer of raw memory, such as safetensors, takes no heed of strides.
    U, V, W = (np.array(np.asarray(array).T, order="C") for array in (w_ih, w, w_hh))
    return U, V, W


def save_uvw(path: str | os.PathLike[str], params: Params) -> None:
    """Write U, V and W to an ``.npz`` file, whole or not at all.

    Raises:
      ValueError: the parameters are those of another model, or the file cannot be written.
    """
    U, V, W = to_uvw(params)
    try:
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez(file, U=U, V=V, W=W)
    except OSError as error:
        raise ValueError(
            f"cannot write {os.fspath(path)} ({reason(error)}): choose another path"
        ) from None


def load_uvw(path: str | os.PathLike[str]) -> Params:
    """Parameters from an ``.npz`` file that holds U, V and W.

    Raises:
      ValueError: there is no such file, or it lacks these three arrays in shapes that fit.
    """
    # np.load fails in many ways on broken files, and may leave a file open that it opened itself.
    broken = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return from_uvw(file["U"], file["V"], file["W"])
    except broken as error:
        raise ValueError(
            f"{os.fspath(path)} is not an .npz file with arrays U, V and W: {error}"
        ) from None
