"""Parameters from and to other layouts and files."""

from rnn_jax.interop.tensors import load_params, save_params
from rnn_jax.interop.uvw import from_uvw, load_uvw, save_uvw, to_uvw

__all__ = ["from_uvw", "load_params", "load_uvw", "save_params", "save_uvw", "to_uvw"]
