"""Conversion of parameters to and from other libraries, layouts and files."""

from rnn_jax.interop.flax import from_flax, to_flax
from rnn_jax.interop.flax_trees import from_flax_tree
from rnn_jax.interop.keras import from_keras, to_keras
from rnn_jax.interop.keras_files import load_keras
from rnn_jax.interop.onnx import from_onnx
from rnn_jax.interop.pytorch import from_torch, load_torch, save_torch, to_torch
from rnn_jax.interop.pytorch_models import from_torch_model, load_torch_model
from rnn_jax.interop.tensors import load_params, save_params
from rnn_jax.interop.uvw import from_uvw, load_uvw, save_uvw, to_uvw

__all__ = [
    "from_flax",
    "from_flax_tree",
    "from_keras",
    "from_onnx",
    "from_torch",
    "from_torch_model",
    "from_uvw",
    "load_keras",
    "load_params",
    "load_torch",
    "load_torch_model",
    "load_uvw",
    "save_params",
    "save_torch",
    "save_uvw",
    "to_flax",
    "to_keras",
    "to_torch",
    "to_uvw",
]
