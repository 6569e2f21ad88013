"""Layers and models from ONNX files."""

from rnn_jax.interop.onnx.assembled import from_onnx

__all__ = ["from_onnx"]
