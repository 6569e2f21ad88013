"""Trained layers and models as programs that run without this package."""

from rnn_jax.export.onnx import to_onnx

__all__ = ["to_onnx"]
